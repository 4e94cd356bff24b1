"""Whether one more request is let in: the rate limit of its person, and the concurrency limit of this Cat."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..domain.log import Log
from ..domain.people import Person
from .concurrency import ConcurrencyLimit
from .rate_limiter import BoundedMemoryStorage, RateLimiter, RateStatus, SharedRateLimiter

if TYPE_CHECKING:
    from ...settings import Settings


class RateLimiters:
    """The rate limiter that the settings ask for: one in memory, or one on a Redis that several Cats share."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._in_memory = RateLimiter(BoundedMemoryStorage())
        self._shared: SharedRateLimiter | None = None
        self._shared_uri: str | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, settings: "Settings") -> RateLimiter | SharedRateLimiter:
        uri = settings.shared_rate_limit_storage()
        if uri != self._shared_uri:
            self._close_shared()
            self._shared_uri = uri
            self._shared = SharedRateLimiter(uri, self._log) if uri else None
        return self._shared or self._in_memory

    async def close(self) -> None:
        """Close the connections to Redis; those of former settings as well."""
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
    """A request that was let in. `headers`: of its rate limit. `release`: call it once, when the request has ended."""

    headers: Mapping[str, str]
    release: Callable[[], None]


class Admission:
    def __init__(self, log: Log) -> None:
        self._rate_limiters = RateLimiters(log)
        self._concurrency = ConcurrencyLimit()

    async def admit(self, person: Person, settings: "Settings", bucket: str, generations: int = 1) -> Admitted:
        """Let in a request of `person` and count it against the rate limit of `bucket`.

        `generations`: how many slots of the concurrency limit the request takes. Raises `Overloaded` or
        `RateLimitExceeded`.
        """
        self._concurrency.acquire(settings.max_concurrent_requests, generations)
        release = partial(self._concurrency.release, generations)
        try:
            status = None
            if settings.rate_limit_per_minute:
                limiter = self._rate_limiters.get(settings)
                status = await limiter.hit(person.key, settings.rate_limit_per_minute, bucket)
        except BaseException:
            release()
            raise
        return Admitted(_headers(status), release)

    async def rate_limit_headers(self, person: Person, settings: "Settings", bucket: str) -> Mapping[str, str]:
        """The headers that say how much of the rate limit is left. Nothing is counted."""
        if not settings.rate_limit_per_minute:
            return {}
        limiter = self._rate_limiters.get(settings)
        return _headers(await limiter.peek(person.key, settings.rate_limit_per_minute, bucket))

    async def close(self) -> None:
        await self._rate_limiters.close()


def _headers(status: RateStatus | None) -> Mapping[str, str]:
    """None is the answer of a rate limiter whose storage cannot be reached."""
    return status.headers() if status else {}
