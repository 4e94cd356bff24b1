"""So many requests in any minute for each end user: a moving window, on the `limits` library."""

import hashlib
import math
import time
from collections import OrderedDict, deque
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.aio.storage import MovingWindowSupport, Storage
from limits.aio.strategies import MovingWindowRateLimiter

from .errors import RateLimitExceeded

MAX_PEOPLE = 100_000
"""How many people are counted at once in memory; beyond that, those longest unseen are forgotten."""


class BoundedMemoryStorage(Storage, MovingWindowSupport):
    """Moving windows in memory, of the most recent people only, with no task and no thread of its own.

    The library's own memory storage keeps everybody until a sweep over all of them, which each request starts
    anew; behind a key that serves a million end users that is a leak and a stall.
    """

    STORAGE_SCHEME = None

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_: str) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._windows: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = time.time()
        window = self._window(key, now - expiry)
        if len(window) + amount > limit:
            return False
        window.extend([now] * amount)
        self._windows[key] = window
        self._windows.move_to_end(key)
        self._forget(now - expiry)
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        now = time.time()
        window = self._window(key, now - expiry)
        return (window[0], len(window)) if window else (now, 0)

    def _window(self, key: str, since: float) -> deque[float]:
        window = self._windows.get(key, deque())
        while window and window[0] <= since:
            window.popleft()
        return window

    def _forget(self, since: float) -> None:
        """Drop those at the old end whose minute is over, and whoever is too many."""
        while self._windows:
            oldest, window = next(iter(self._windows.items()))
            if len(self._windows) <= MAX_PEOPLE and window and window[-1] > since:
                return
            del self._windows[oldest]

    # The rest of the library's interface serves strategies other than the moving window.

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError

    async def get(self, key: str) -> int:
        raise NotImplementedError

    async def get_expiry(self, key: str) -> float:
        raise NotImplementedError

    async def check(self) -> bool:
        return True

    async def reset(self) -> int | None:
        people = len(self._windows)
        self._windows.clear()
        return people

    async def clear(self, key: str) -> None:
        self._windows.pop(key, None)


@dataclass(frozen=True)
class RateStatus:
    """Where somebody stands. `reset`: seconds until the oldest counted request leaves the window."""

    limit: int
    remaining: int
    reset: float

    def headers(self) -> dict[str, str]:
        """OpenAI's headers; the reset is a duration as OpenAI writes it (`12s`, `1m0s`)."""
        minutes, seconds = divmod(math.ceil(self.reset), 60)
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{minutes}m{seconds}s" if minutes else f"{seconds}s",
        }


class RateLimiter:
    def __init__(self, storage: Storage) -> None:
        self._windows = MovingWindowRateLimiter(storage)

    async def hit(self, person: str, per_minute: int) -> RateStatus:
        """Count a request of `person` (any text). Raises `RateLimitExceeded`."""
        item = RateLimitItemPerMinute(per_minute)
        key = _digest(person)
        admitted = await self._windows.hit(item, key)
        status = await self._status(item, key)
        if not admitted:
            wait = max(1, math.ceil(status.reset))
            raise RateLimitExceeded(
                f"Rate limit reached: {per_minute} requests per minute. Try again in {wait} s.",
                headers={"Retry-After": str(wait), **status.headers()},
            )
        return status

    async def peek(self, person: str, per_minute: int) -> RateStatus:
        """Where `person` stands, without counting anything."""
        return await self._status(RateLimitItemPerMinute(per_minute), _digest(person))

    async def _status(self, item: RateLimitItemPerMinute, key: str) -> RateStatus:
        reset_at, remaining = await self._windows.get_window_stats(item, key)
        # A window with nothing in it has nothing to wait for.
        reset = 0.0 if remaining == item.amount else max(0.0, reset_at - time.time())
        return RateStatus(item.amount, remaining, reset)


def _digest(person: str) -> str:
    """A name may be of any length and hold any character; a key may not."""
    return hashlib.sha256(person.encode()).hexdigest()
