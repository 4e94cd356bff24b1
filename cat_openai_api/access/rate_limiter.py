"""Rate limits per end user: moving windows of one minute, with the `limits` library."""

import asyncio
import hashlib
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, cast
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.aio.storage import MovingWindowSupport, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.storage import storage_from_string

from ..domain.log import Log
from ..errors import RateLimitExceeded
from ..packages import ensure_installed, is_installed

MAX_WINDOWS = 100_000
"""Windows in memory, one for each end user and bucket. Beyond that the least recently used ones are dropped."""

DEFAULT_BUCKET = "LIMITER"
"""The bucket of most requests; the default namespace of the library. The requests of each bucket are counted apart."""

CALL_TIMEOUT = 0.25
"""Seconds that a request waits for the shared storage."""

BUSY_LOOP_TIMEOUT = 0.05
"""Seconds that a request waits after `CALL_TIMEOUT`, to receive a reply that arrived while the event loop was busy."""

ABANDONED_CALL_TIMEOUT = 5.0
"""Seconds that a call goes on after its request has stopped waiting. On a slow network it establishes the connection
for later calls."""

RETRY_INTERVAL = 1.0
"""Seconds between two calls to a storage that is unavailable."""

REDIS_REQUIREMENT = "redis>=5.2,<8"

INSTALL_INTERVAL = 600.0
"""Seconds between two attempts to install the Redis client."""


class BoundedMemoryStorage(Storage, MovingWindowSupport):
    """At most `MAX_WINDOWS` moving windows in memory, without a background task or thread.

    The library's own memory storage removes expired windows in a sweep over all of them, which each request schedules
    again. With a million end users it uses too much memory, and the sweep blocks the event loop.
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
        self._drop_windows(now - expiry)
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

    def _drop_windows(self, since: float) -> None:
        """Drop the oldest windows: those without a request after `since`, and those beyond `MAX_WINDOWS`."""
        while self._windows:
            oldest_key, window = next(iter(self._windows.items()))
            if len(self._windows) <= MAX_WINDOWS and window and window[-1] > since:
                return
            del self._windows[oldest_key]

    # The other methods of the library's interface are for strategies other than the moving window.

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
        count = len(self._windows)
        self._windows.clear()
        return count

    async def clear(self, key: str) -> None:
        self._windows.pop(key, None)


@dataclass(frozen=True)
class RateStatus:
    """The rate limit of an end user, and how much of it is left.

    `limit` and `remaining`: requests. `reset`: seconds until the oldest counted request leaves the window.
    """

    limit: int
    remaining: int
    reset: float

    def headers(self) -> dict[str, str]:
        """OpenAI's headers. The reset is a duration such as `12s` or `1m0s` (OpenAI docs, "Rate limits")."""
        minutes, seconds = divmod(math.ceil(self.reset), 60)
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{minutes}m{seconds}s" if minutes else f"{seconds}s",
        }


class RateLimiter:
    """Counts requests in `storage`."""

    def __init__(self, storage: Storage) -> None:
        self._windows = MovingWindowRateLimiter(storage)

    async def hit(self, person: str, per_minute: int, bucket: str = DEFAULT_BUCKET) -> RateStatus:
        """Count a request of `person`, which is a key of any length. Raises `RateLimitExceeded`."""
        item = RateLimitItemPerMinute(per_minute, namespace=bucket)
        key = _digest(person)
        is_within_limit = await self._windows.hit(item, key)
        status = await self._status(item, key)
        if not is_within_limit:
            seconds = max(1, math.ceil(status.reset))
            raise RateLimitExceeded(
                f"Rate limit reached: {per_minute} requests per minute. Try again in {seconds} s.",
                headers={"Retry-After": str(seconds), **status.headers()},
            )
        return status

    async def peek(self, person: str, per_minute: int, bucket: str = DEFAULT_BUCKET) -> RateStatus:
        """The status of `person`. Nothing is counted."""
        return await self._status(RateLimitItemPerMinute(per_minute, namespace=bucket), _digest(person))

    async def _status(self, item: RateLimitItemPerMinute, key: str) -> RateStatus:
        reset_at, remaining = await self._windows.get_window_stats(item, key)
        # For an empty window `reset_at` is a minute from now.
        reset = 0.0 if remaining == item.amount else max(0.0, reset_at - time.time())
        return RateStatus(item.amount, remaining, reset)


class _ClientNotInstalled(Exception):
    pass


_Result: TypeAlias = RateStatus | RateLimitExceeded
_Call: TypeAlias = Callable[[RateLimiter], Coroutine[Any, Any, RateStatus]]


class SharedRateLimiter:
    """Counts requests in a Redis that several Cats share. `uri`: in the form of `limits`, `async+redis://…`.

    While Redis is slow or unavailable, requests are not counted, and the methods return None. The start of an outage is
    logged once, and during it there is at most one call in `RETRY_INTERVAL`.
    """

    def __init__(self, uri: str, log: Log) -> None:
        self._uri = uri
        self._log = log
        self._storage: Storage | None = None
        self._opening = asyncio.Lock()
        self._installation: asyncio.Task[None] | None = None
        self._next_installation = 0.0
        self._pending: set[asyncio.Task[_Result]] = set()
        self._is_unavailable = False
        self._next_attempt = 0.0

    async def hit(self, person: str, per_minute: int, bucket: str = DEFAULT_BUCKET) -> RateStatus | None:
        """See `RateLimiter.hit`."""
        return await self._call(lambda limiter: limiter.hit(person, per_minute, bucket))

    async def peek(self, person: str, per_minute: int, bucket: str = DEFAULT_BUCKET) -> RateStatus | None:
        """See `RateLimiter.peek`."""
        return await self._call(lambda limiter: limiter.peek(person, per_minute, bucket))

    async def close(self) -> None:
        """Close the connections after the pending calls have ended."""
        async with self._opening:
            clients = _clients(self._storage)
        if self._pending:
            await asyncio.wait(self._pending)
        for client in clients:
            with suppress(Exception):
                await client.aclose()

    async def _call(self, call: _Call) -> RateStatus | None:
        was_unavailable = self._is_unavailable
        if was_unavailable:
            if time.monotonic() < self._next_attempt:
                return None
            self._next_attempt = time.monotonic() + RETRY_INTERVAL
        result: _Result | None = None
        problem = ""
        try:
            result = await self._call_with_timeout(RateLimiter(await self._open_storage()), call)
        except _ClientNotInstalled:
            problem = "its client is being installed"
        except Exception as error:  # of the client or the network; the request goes on
            problem = type(error).__name__
        # Outside of the except block, so that no traceback is logged: it could contain the URL with the password.
        if problem and not self._is_unavailable:
            self._is_unavailable = True
            self._next_attempt = time.monotonic() + RETRY_INTERVAL
            self._log.log_error(
                f"OpenAI API: the rate limit storage {_without_credentials(self._uri)} does not answer ({problem}), "
                "requests are not counted"
            )
        elif was_unavailable and not problem:
            self._is_unavailable = False
            self._log.log_info(
                f"OpenAI API: the rate limit storage {_without_credentials(self._uri)} answers again, "
                "requests are counted"
            )
        if isinstance(result, RateLimitExceeded):
            raise result
        return result

    async def _call_with_timeout(self, limiter: RateLimiter, call: _Call) -> _Result:
        """Raises TimeoutError and what the storage raises. A call that timed out goes on in the background."""

        async def run() -> _Result:
            try:
                return await call(limiter)
            except RateLimitExceeded as error:
                return error

        task = asyncio.create_task(run())
        self._pending.add(task)
        task.add_done_callback(self._remove_pending)
        try:
            for timeout in (CALL_TIMEOUT, BUSY_LOOP_TIMEOUT):
                await asyncio.wait([task], timeout=timeout)
                if task.done():
                    return task.result()
            raise TimeoutError
        finally:
            if not task.done():
                asyncio.get_running_loop().call_later(ABANDONED_CALL_TIMEOUT, task.cancel)

    def _remove_pending(self, task: "asyncio.Task[_Result]") -> None:
        self._pending.discard(task)
        if not task.cancelled():
            # Marks the exception of an abandoned call as retrieved; asyncio would log it otherwise.
            task.exception()

    async def _open_storage(self) -> Storage:
        async with self._opening:
            if self._storage is None:
                if not is_installed("redis"):
                    self._start_installation()
                    raise _ClientNotInstalled
                # In a thread, because importing the client takes a while.
                self._storage = await asyncio.to_thread(_open, self._uri)
        return self._storage

    def _start_installation(self) -> None:
        """Install the client in the background."""
        is_running = self._installation is not None and not self._installation.done()
        if time.monotonic() >= self._next_installation and not is_running:
            self._next_installation = time.monotonic() + INSTALL_INTERVAL
            self._installation = asyncio.create_task(self._install_client())

    async def _install_client(self) -> None:
        try:
            await asyncio.to_thread(ensure_installed, "redis", REDIS_REQUIREMENT)
        except ImportError as error:
            self._log.log_error(f"OpenAI API: requests are not counted, {error}")


def _open(uri: str) -> Storage:
    # The default client of limits is another one, coredis.
    return cast(Storage, storage_from_string(uri, implementation="redispy"))


def _clients(storage: Storage | None) -> list[Any]:
    """The Redis clients in a storage of the limits library, which has no method that closes them."""
    bridge = getattr(storage, "bridge", None)
    clients = [getattr(bridge, name, None) for name in ("storage", "storage_replica")]
    sentinels = getattr(getattr(bridge, "sentinel", None), "sentinels", [])
    return [client for client in (*clients, *sentinels) if client is not None]


def _without_credentials(uri: str) -> str:
    parts = urlsplit(uri.removeprefix("async+"))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2] or parts.path}"


def _digest(person: str) -> str:
    """A storage key of fixed length: a person's key may be of any length and have any characters."""
    return hashlib.sha256(person.encode()).hexdigest()
