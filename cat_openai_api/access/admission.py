"""Admitting requests: the rate limit of each person and the concurrency limit of the Cat."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..domain.log import Log
from ..domain.people import Caller, Person
from ..domain.usage import Usage
from ..hosts.port import Host
from .budgets import Budgets, Charge
from .concurrency import ConcurrencyLimit
from .rate_limiter import BoundedMemoryStorage, RateLimiter, RateStatus, SharedRateLimiter

if TYPE_CHECKING:
    from ...settings import Settings


class RateLimiters:
    """Provides the rate limiter of the settings: one in memory, or one in a Redis that several Cats share."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._in_memory = RateLimiter(BoundedMemoryStorage())
        self._shared: SharedRateLimiter | None = None
        self._shared_uri: str | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, settings: "Settings") -> RateLimiter | SharedRateLimiter:
        uri = settings.rate_limit_storage_uri()
        if uri != self._shared_uri:
            self._close_shared()
            self._shared_uri = uri
            self._shared = SharedRateLimiter(uri, self._log) if uri else None
        return self._shared or self._in_memory

    async def close(self) -> None:
        """Close the connections to Redis, also those that are still being closed after a change of the settings."""
        self._close_shared()
        await asyncio.gather(*self._closing)

    def _close_shared(self) -> None:
        if self._shared:
            closing = asyncio.create_task(self._shared.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        self._shared = self._shared_uri = None


@dataclass(frozen=True)
class Admitted:
    """An admitted request.

    `headers`: response headers with the state of the rate limit. `release`: to be called once, when the request ends,
    with what it has used.
    """

    headers: Mapping[str, str]
    release: Callable[[Usage | None], None]


class Admission:
    def __init__(self, host: Host) -> None:
        self.budgets = Budgets(host)
        self._rate_limiters = RateLimiters(host)
        self._concurrency = ConcurrencyLimit()

    async def admit(
        self,
        person: Person,
        caller: Caller,
        settings: "Settings",
        bucket: str,
        *,
        generations: int = 1,
        size: int = 0,
    ) -> Admitted:
        """Admit a request of `caller` for `person`, and count it in the rate limit's `bucket`.

        `generations`: slots of the concurrency limit that the request takes. `size`: bytes of the request. Raises
        `Overloaded`, `RateLimitExceeded` or `InsufficientQuota`.
        """
        self._concurrency.acquire(settings.max_concurrent_requests, generations)
        try:
            status = None
            if settings.rate_limit_per_minute:
                limiter = self._rate_limiters.get(settings)
                status = await limiter.hit(person.key, settings.rate_limit_per_minute, bucket)
            charge = await self.budgets.try_reserve(caller.key, size) if caller.key else Charge()
        except BaseException:
            self._concurrency.release(generations)
            raise
        if charge is None and caller.key:
            # Nobody takes a slot while waiting.
            self._concurrency.release(generations)
            charge = await self.budgets.reserve(caller.key, size)
            try:
                self._concurrency.acquire(settings.max_concurrent_requests, generations)
            except BaseException:
                charge.settle(0)
                raise
        return Admitted(_headers(status), partial(self._release, generations, charge or Charge()))

    def _release(self, generations: int, charge: Charge, usage: Usage | None) -> None:
        self._concurrency.release(generations)
        # A total may include thoughts that are not among the tokens of the completion.
        charge.settle(max(usage.total, usage.prompt + usage.completion) if usage else 0)

    async def rate_limit_headers(self, person: Person, settings: "Settings", bucket: str) -> Mapping[str, str]:
        """Response headers with the state of the rate limit. Nothing is counted."""
        if not settings.rate_limit_per_minute:
            return {}
        limiter = self._rate_limiters.get(settings)
        return _headers(await limiter.peek(person.key, settings.rate_limit_per_minute, bucket))

    async def close(self) -> None:
        await self.budgets.close()
        await self._rate_limiters.close()


def _headers(status: RateStatus | None) -> Mapping[str, str]:
    """`status`: None where there is no rate limit or its storage is unavailable."""
    return status.headers() if status else {}
