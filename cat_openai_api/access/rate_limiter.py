"""So many requests in any minute for each end user: a moving window, on the `limits` library."""

import asyncio
import hashlib
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.aio.storage import MovingWindowSupport, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.storage import storage_from_string

from ..domain.log import Log
from ..errors import RateLimitExceeded
from ..packages import ensure, is_there

MAX_PEOPLE = 100_000
"""How many people are counted at once in memory; beyond that, those longest unseen are forgotten."""

BUCKET = "LIMITER"
"""The namespace that the library takes where none is named; requests of another are counted apart."""

ANSWER_SECONDS = 0.25
"""How long a storage elsewhere may take for an answer."""

LATE_SECONDS = 0.05
"""After that, for an answer that came while the event loop was busy."""

GIVE_UP_SECONDS = 5.0
"""How long a question goes on when nobody waits for its answer any more: over a slow line it is what connects."""

RETRY_SECONDS = 1.0
"""Between two questions to a storage that did not answer."""

REDIS_CLIENT = "redis>=5.2,<8"

INSTALL_SECONDS = 600.0
"""Between two attempts to install it."""


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

    async def hit(self, person: str, per_minute: int, bucket: str = BUCKET) -> RateStatus:
        """Count a request of `person` (any text). Raises `RateLimitExceeded`."""
        item = RateLimitItemPerMinute(per_minute, namespace=bucket)
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

    async def peek(self, person: str, per_minute: int, bucket: str = BUCKET) -> RateStatus:
        """Where `person` stands, without counting anything."""
        return await self._status(RateLimitItemPerMinute(per_minute, namespace=bucket), _digest(person))

    async def _status(self, item: RateLimitItemPerMinute, key: str) -> RateStatus:
        reset_at, remaining = await self._windows.get_window_stats(item, key)
        # A window with nothing in it has nothing to wait for.
        reset = 0.0 if remaining == item.amount else max(0.0, reset_at - time.time())
        return RateStatus(item.amount, remaining, reset)


class _ClientMissing(Exception):
    pass


class SharedRateLimiter:
    """The rate limiter on a Redis, where other Cats count too. `uri`: as limits takes it, `async+redis://…`.

    While Redis is slow or gone requests are let through, uncounted: the answer is None then. The log says it once,
    and no more than one request in `RETRY_SECONDS` finds out whether it is back.
    """

    def __init__(self, uri: str, log: Log) -> None:
        self._uri = uri
        self._log = log
        self._storage: Storage | None = None
        self._opening = asyncio.Lock()
        self._installing: asyncio.Task[None] | None = None
        self._next_install = 0.0
        self._asking: set[asyncio.Task[RateStatus | RateLimitExceeded]] = set()
        self._is_away = False
        self._next_try = 0.0

    async def hit(self, person: str, per_minute: int, bucket: str = BUCKET) -> RateStatus | None:
        """As that of `RateLimiter`."""
        return await self._ask(lambda limiter: limiter.hit(person, per_minute, bucket))

    async def peek(self, person: str, per_minute: int, bucket: str = BUCKET) -> RateStatus | None:
        """As that of `RateLimiter`."""
        return await self._ask(lambda limiter: limiter.peek(person, per_minute, bucket))

    async def close(self) -> None:
        """End its connections, once the questions that are under way have their answers."""
        async with self._opening:
            clients = _clients(self._storage)
        if self._asking:
            await asyncio.wait(self._asking)
        for client in clients:
            with suppress(Exception):
                await client.aclose()

    async def _ask(self, question: Callable[[RateLimiter], Coroutine[Any, Any, RateStatus]]) -> RateStatus | None:
        was_away = self._is_away
        if was_away:
            if time.monotonic() < self._next_try:
                return None
            self._next_try = time.monotonic() + RETRY_SECONDS
        answer: RateStatus | RateLimitExceeded | None = None
        fault = ""
        try:
            answer = await self._answer(RateLimiter(await self._opened()), question)
        except _ClientMissing:
            fault = "its client is being installed"
        except Exception as error:  # the client's own, the network's: whatever it is, the request goes on
            fault = type(error).__name__
        # Out of the except block: with its traceback the log could show the URL, and so the password.
        if fault and not self._is_away:
            self._is_away = True
            self._next_try = time.monotonic() + RETRY_SECONDS
            self._log.log_error(
                f"OpenAI API: the rate limit storage {_shown(self._uri)} does not answer ({fault}), "
                "requests go through uncounted"
            )
        elif was_away and not fault:
            self._is_away = False
            self._log.log_info(f"OpenAI API: the rate limit storage {_shown(self._uri)} answers, requests are counted")
        if isinstance(answer, RateLimitExceeded):
            raise answer
        return answer

    async def _answer(
        self, limiter: RateLimiter, question: Callable[[RateLimiter], Coroutine[Any, Any, RateStatus]]
    ) -> RateStatus | RateLimitExceeded:
        async def ask() -> RateStatus | RateLimitExceeded:
            try:
                return await question(limiter)
            except RateLimitExceeded as refusal:
                return refusal

        asking = asyncio.create_task(ask())
        self._asking.add(asking)
        asking.add_done_callback(self._answered)
        try:
            for seconds in (ANSWER_SECONDS, LATE_SECONDS):
                await asyncio.wait([asking], timeout=seconds)
                if asking.done():
                    return asking.result()
            raise TimeoutError
        finally:
            if not asking.done():
                asyncio.get_running_loop().call_later(GIVE_UP_SECONDS, asking.cancel)

    def _answered(self, asking: "asyncio.Task[RateStatus | RateLimitExceeded]") -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            # Nobody may be left to see it.
            asking.exception()

    async def _opened(self) -> Storage:
        async with self._opening:
            if self._storage is None:
                if not is_there("redis"):
                    self._install()
                    raise _ClientMissing
                # In a thread: the client takes a while to be imported.
                self._storage = await asyncio.to_thread(_open, self._uri)
        return self._storage

    def _install(self) -> None:
        """Begin to install the client, beside all else."""
        if time.monotonic() >= self._next_install and (self._installing is None or self._installing.done()):
            self._next_install = time.monotonic() + INSTALL_SECONDS
            self._installing = asyncio.create_task(self._installed())

    async def _installed(self) -> None:
        try:
            await asyncio.to_thread(ensure, "redis", REDIS_CLIENT)
        except ImportError as error:
            self._log.log_error(f"OpenAI API: no requests are counted, {error}")


def _open(uri: str) -> Storage:
    # The other client that limits can take, coredis, is its default.
    return cast(Storage, storage_from_string(uri, implementation="redispy"))


def _clients(storage: Storage | None) -> list[Any]:
    """The connections' owners in a storage of the limits library, which does not close them itself."""
    bridge = getattr(storage, "bridge", None)
    clients = [getattr(bridge, name, None) for name in ("storage", "storage_replica")]
    sentinels = getattr(getattr(bridge, "sentinel", None), "sentinels", [])
    return [client for client in (*clients, *sentinels) if client is not None]


def _shown(uri: str) -> str:
    """Where it is, with no credentials."""
    parts = urlsplit(uri.removeprefix("async+"))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2] or parts.path}"


def _digest(person: str) -> str:
    """A name may be of any length and hold any character; a key may not."""
    return hashlib.sha256(person.encode()).hexdigest()
