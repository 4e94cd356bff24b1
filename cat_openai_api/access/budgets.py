"""Budgets: how many tokens each key of this API uses in a day, on all Cats that share a database.

A day is one of UTC. What a request uses is only known at its end, so a request of a key with a budget reserves an
estimate when it begins, and the reservation is replaced by what was used. Both are in one row of the storage that is
changed by compare-and-swap. A request is let in while what was used and what is reserved are below the budget, so at
most one request exceeds it, however many there are at the same time. Where the reservations alone stand in the way, a
request waits for their ends. Far from the line a request does not wait for the storage.

Tokens of keys without a budget are written behind the requests. While the storage fails, each Cat counts for itself and
writes later.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from secrets import token_hex
from typing import TypedDict

from ..domain.keys import ApiKey
from ..errors import InsufficientQuota, StorageFailed
from ..hosts.collections import NOBODY, TOKENS_OF_KEYS
from ..hosts.port import Host
from ..wire.off_loop import detached

SECONDS_OF_DAY = 24 * 60 * 60

WRITE_INTERVAL = 0.5
"""Seconds for which the tokens of a key without a budget are collected before they are written."""

RETRY_INTERVAL = 5.0
"""Seconds between two attempts at a storage that fails."""

WAIT_SECONDS = 30.0
"""How long a request waits for others to end whose reservations are all that is left of the budget."""

WAIT_INTERVAL = 0.1
"""Seconds after which it looks again: those others may be on another Cat."""

MAX_WAITING = 100
"""Requests of one key that wait so."""

FIRST_ESTIMATE = 1000
"""Tokens that are reserved for a request of a key of which no request has ended yet."""

BYTES_PER_TOKEN = 4
"""Of a request, about."""

MAX_PROMPT_ESTIMATE = 100_000
"""Tokens that are reserved at most for the size of a request: most of a large one is images."""

FAR_REQUESTS = 200
FAR_PART = 0.2
"""A request does not wait for the storage while so many requests like it, and this part of the budget, are left."""

FRESH_SECONDS = 1.0
"""So long ago this Cat must have looked into the storage for that."""

MAX_ESTIMATES = MAX_DAYS = 2000
"""Keys, and days of keys, of which this Cat remembers something. What is not written yet is never forgotten."""

MAX_RESERVED_SECONDS = 60 * 60
"""After so many seconds without a change, the reservations of a Cat do not count: it has ended without ending its
requests. It is the longest `request_timeout`."""


class _Reserved(TypedDict):
    """Of one Cat. `at`: seconds since the epoch of the last change."""

    tokens: int
    at: float


class _Tokens(TypedDict):
    """The row of a key and a day. `reserved`: by the id of a Cat's process."""

    used: int
    reserved: dict[str, _Reserved]


@dataclass
class _Change:
    """What is to be added to a row."""

    used: int = 0
    reserved: int = 0


@dataclass
class _Day:
    """What this Cat knows of a row. `used`, `reserved`: tokens in it when it was written last, at `written_at` by
    `time.monotonic`. `lock`: held while it is written."""

    used: int = 0
    reserved: int = 0
    written_at: float = float("-inf")
    pending: _Change = field(default_factory=_Change)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    writer: "asyncio.Task[None] | None" = None

    def left_of(self, budget: int) -> int:
        """Tokens that are neither used nor reserved, as far as this Cat knows."""
        return budget - self.used - self.reserved - self.pending.used - self.pending.reserved

    def is_idle(self) -> bool:
        return self.pending == _Change() and not self.lock.locked()


@dataclass(frozen=True)
class _Outcome:
    """Of an attempt to reserve. `used`: tokens of the requests that have ended. `reserved`: of all others."""

    used: int
    reserved: int
    is_reserved: bool


@dataclass(frozen=True)
class Charge:
    """The tokens of one request. `settle`: to be called once, when the request has ended, with the tokens that it has
    used. It does not wait."""

    settle: Callable[[int], None] = lambda _: None


class Budgets:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._cat = token_hex(4)
        self._days: dict[str, _Day] = {}
        self._estimates: OrderedDict[str, int] = OrderedDict()
        self._queues: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()
        self._settled = asyncio.Event()
        self._next_attempt = float("-inf")
        self._is_closed = False

    async def try_reserve(self, key: ApiKey, size: int) -> Charge | None:
        """The charge for a request that begins now; None where others have to end before that can be decided.

        `size`: bytes of the request. Raises `InsufficientQuota`.
        """
        row = _row_key(key.id, time.time())
        if key.tokens_per_day is None:
            return Charge(lambda tokens: self._add(key, row, tokens, 0))
        day = self._day(row)
        if day.used >= key.tokens_per_day:
            raise _used_up(key)
        prompt = min(size // BYTES_PER_TOKEN, MAX_PROMPT_ESTIMATE)
        estimate = max(prompt, self._estimates.get(key.id, FIRST_ESTIMATE))
        is_far = day.left_of(key.tokens_per_day) >= max(FAR_PART * key.tokens_per_day, FAR_REQUESTS * estimate)
        if is_far and time.monotonic() - day.written_at < FRESH_SECONDS:
            self._add(key, row, 0, estimate)
            return Charge(lambda tokens: self._add(key, row, tokens, -estimate))
        outcome = await self._reserve(key, row, key.tokens_per_day, estimate)
        if outcome.is_reserved:
            return Charge(lambda tokens: self._add(key, row, tokens, -estimate))
        if outcome.used >= key.tokens_per_day:
            raise _used_up(key)
        return None

    async def reserve(self, key: ApiKey, size: int) -> Charge:
        """The same, after waiting for others if need be. Raises `InsufficientQuota`."""
        if self._waiting[key.id] >= MAX_WAITING:
            raise _reserved(key)
        self._waiting[key.id] += 1
        try:
            # They come in one after the other, and only the first of them looks into the storage.
            queue = self._queues.setdefault(key.id, asyncio.Lock())
            return await asyncio.wait_for(self._wait_and_reserve(queue, key, size), WAIT_SECONDS)
        except asyncio.TimeoutError:
            raise _reserved(key) from None
        finally:
            self._waiting[key.id] -= 1
            if not self._waiting[key.id]:
                del self._waiting[key.id], self._queues[key.id]

    async def _wait_and_reserve(self, queue: asyncio.Lock, key: ApiKey, size: int) -> Charge:
        async with queue:
            while True:
                self._settled.clear()
                if charge := await self.try_reserve(key, size):
                    return charge
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._settled.wait(), WAIT_INTERVAL)

    async def tokens_today(self, key_ids: Sequence[str]) -> Mapping[str, int]:
        """The tokens that each of the keys has used today. Raises `StorageFailed`."""
        rows_of_keys = {key_id: _row_key(key_id, time.time()) for key_id in key_ids}
        for row in rows_of_keys.values():
            if row in self._days and not self._days[row].is_idle():
                await self._write(row)
        rows = await self._host.storage.load_many(TOKENS_OF_KEYS, NOBODY, [*rows_of_keys.values()])
        return {key_id: rows[row].value["used"] if row in rows else 0 for key_id, row in rows_of_keys.items()}

    async def close(self) -> None:
        """Write what is counted by now. What is counted after it is written at once."""
        self._is_closed = True
        for row, day in [*self._days.items()]:
            if day.writer:
                day.writer.cancel()
            if day.pending != _Change():
                with suppress(StorageFailed):
                    await self._write(row)

    async def _reserve(self, key: ApiKey, row: str, budget: int, estimate: int) -> _Outcome:
        """Where the storage fails, this Cat decides by what it knows."""
        if time.monotonic() >= self._next_attempt:
            # Not cancelled with the request: it would not be known whether the row was written.
            writing = detached(self._write(row, budget, estimate))
            try:
                return await asyncio.shield(writing)
            except StorageFailed:  # The error is in the log already.
                self._next_attempt = time.monotonic() + RETRY_INTERVAL
            except asyncio.CancelledError:
                writing.add_done_callback(lambda done: self._take_back(done, key, row, estimate))
                raise
        day = self._day(row)
        used = day.used + day.pending.used
        if used < budget:
            day.pending.reserved += estimate
        return _Outcome(used, 0, used < budget)

    def _take_back(self, done: "asyncio.Future[_Outcome]", key: ApiKey, row: str, estimate: int) -> None:
        if not done.cancelled() and done.exception() is None and done.result().is_reserved:
            self._add(key, row, 0, -estimate)

    def _add(self, key: ApiKey, row: str, used: int, reserved: int) -> None:
        if used:
            before = self._estimates.pop(key.id, used)
            self._estimates[key.id] = max((before + used) // 2, used)
            if len(self._estimates) > MAX_ESTIMATES:
                self._estimates.popitem(last=False)
        day = self._day(row)
        day.pending.used += used
        day.pending.reserved += reserved
        if day.pending != _Change() and (day.writer is None or day.writer.done()):
            is_urgent = key.tokens_per_day is not None or self._is_closed
            day.writer = detached(self._write_behind(row, 0.0 if is_urgent else WRITE_INTERVAL))

    async def _write_behind(self, row: str, delay: float) -> None:
        await asyncio.sleep(delay)
        while self._day(row).pending != _Change():
            if (pause := self._next_attempt - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            try:
                await self._write(row)
            except StorageFailed:  # The error is in the log already.
                self._next_attempt = time.monotonic() + RETRY_INTERVAL

    async def _write(self, row: str, budget: int = 0, estimate: int = 0) -> _Outcome:
        """Write what is pending, and reserve the estimate if the budget allows it.

        Raises `StorageFailed`: then it stays pending.
        """
        day = self._day(row)
        outcome = _Outcome(0, 0, is_reserved=False)
        async with day.lock:
            change, day.pending = day.pending, _Change()
            if change == _Change() and not estimate:
                return outcome

            def write(stored: _Tokens | None) -> _Tokens:
                nonlocal outcome
                tokens = _added(_current(stored), self._cat, change.used, change.reserved)
                reserved = sum(entry["tokens"] for entry in tokens["reserved"].values())
                is_reserved = tokens["used"] + reserved < budget
                outcome = _Outcome(tokens["used"], reserved + estimate * is_reserved, is_reserved)
                return _added(tokens, self._cat, 0, estimate) if outcome.is_reserved else tokens

            try:
                await self._host.storage.update(TOKENS_OF_KEYS, NOBODY, row, write)
            except BaseException:
                day.pending.used += change.used
                day.pending.reserved += change.reserved
                raise
            day.used, day.reserved, day.written_at = outcome.used, outcome.reserved, time.monotonic()
        if change != _Change():
            self._settled.set()
        return outcome

    def _day(self, row: str) -> _Day:
        if row not in self._days:
            if len(self._days) >= MAX_DAYS:
                self._days = {row: day for row, day in self._days.items() if not day.is_idle()}
            self._days[row] = _Day()
        return self._days[row]


def _current(stored: _Tokens | None) -> _Tokens:
    """Without the reservations of Cats that have ended without ending their requests."""
    if not stored:
        return {"used": 0, "reserved": {}}
    oldest = time.time() - MAX_RESERVED_SECONDS
    reserved = {cat: entry for cat, entry in stored["reserved"].items() if entry["at"] > oldest}
    return {"used": stored["used"], "reserved": reserved}


def _added(tokens: _Tokens, cat: str, used: int, reserved: int) -> _Tokens:
    others = {name: entry for name, entry in tokens["reserved"].items() if name != cat}
    mine = tokens["reserved"].get(cat, {"tokens": 0, "at": 0.0})["tokens"] + reserved
    if mine > 0:
        others[cat] = {"tokens": mine, "at": time.time()}
    return {"used": tokens["used"] + used, "reserved": others}


def _row_key(key_id: str, now: float) -> str:
    return f"{key_id}:{_day(now)}"


def _day(now: float) -> str:
    return datetime.fromtimestamp(now, timezone.utc).date().isoformat()


def _used_up(key: ApiKey) -> InsufficientQuota:
    now = time.time()
    seconds = int(SECONDS_OF_DAY - now % SECONDS_OF_DAY) + 1
    end = datetime.fromtimestamp(now + seconds, timezone.utc).strftime("%Y-%m-%dT00:00:00Z")
    return InsufficientQuota(
        f"This key's {key.tokens_per_day} tokens for today are used up. The next day begins at {end}, "
        f"in {seconds} seconds.",
        seconds,
        is_final=True,
    )


def _reserved(key: ApiKey) -> InsufficientQuota:
    return InsufficientQuota(
        f"The rest of this key's {key.tokens_per_day} tokens for today is reserved for requests under way. Try again "
        "when they have ended.",
        seconds=1,
        is_final=False,
    )
