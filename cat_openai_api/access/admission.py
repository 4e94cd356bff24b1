"""Who a request is for, and whether one more of theirs is let in."""

import asyncio
from typing import TYPE_CHECKING

from ..domain.people import Person
from ..hosts.current import host
from .rate_limiter import BoundedMemoryStorage, RateLimiter, SharedRateLimiter

if TYPE_CHECKING:
    from ...settings import Settings


class RateLimiters:
    """The rate limiter that the settings ask for: this Cat's own, or one that it shares with others."""

    def __init__(self) -> None:
        self._own = RateLimiter(BoundedMemoryStorage())
        self._shared: SharedRateLimiter | None = None
        self._shared_at: str | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def of(self, settings: "Settings") -> RateLimiter | SharedRateLimiter:
        uri = settings.shared_rate_limit_storage()
        if uri != self._shared_at:
            if self._shared:
                closing = asyncio.create_task(self._shared.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
            self._shared_at = uri
            self._shared = SharedRateLimiter(uri, host) if uri else None
        return self._shared or self._own


rate_limiters = RateLimiters()


async def admit(person: Person, settings: "Settings", bucket: str) -> dict[str, str]:
    """Count a request of the person; answers the rate limit headers, none where nothing was counted.

    `bucket`: requests of each are counted apart. Raises `RateLimitExceeded`.
    """
    if not settings.rate_limit_per_minute:
        return {}
    status = await rate_limiters.of(settings).hit(person.key, settings.rate_limit_per_minute, bucket)
    return status.headers() if status else {}


async def rate_limit_headers(person: Person, settings: "Settings", bucket: str) -> dict[str, str]:
    """The rate limit headers as they are, with nothing counted."""
    if not settings.rate_limit_per_minute:
        return {}
    status = await rate_limiters.of(settings).peek(person.key, settings.rate_limit_per_minute, bucket)
    return status.headers() if status else {}
