"""Usage: requests and tokens, counted in memory and written to the Cat's database behind the requests."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from secrets import token_hex

from ..domain.usage import Usage, UsageCounts, UsageLabels
from ..errors import StorageFailed
from ..hosts.port import Host
from ..hosts.usage_table import HOUR, MINUTE
from ..wire.off_loop import detached
from .record import RequestRecord

WRITE_INTERVAL = 0.25
"""Seconds for which requests are collected before they are written. A crash of the Cat loses no more."""

RETRY_INTERVAL = 5.0
"""Seconds between attempts to write while the storage fails."""

CLOSE_TIMEOUT = 5.0
"""Seconds that the end of the plugin waits for the last requests to be written."""

MAX_PEOPLE = 5_000
"""People in one hour whose usage is kept apart: a service may name any number. Others are counted without a name."""

MAX_PENDING = 20_000
"""Sums that are not written yet. While the storage fails, requests beyond that are counted without a name, and beyond
twice as many not at all."""


@dataclass
class _Pending:
    """`began`: when the first of the requests began, in seconds since the epoch."""

    counts: UsageCounts
    began: float


class UsageLog:
    """Counts requests that have ended. All Cats on one database write into the same table."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._writer = token_hex(8)
        self._pending: dict[tuple[int, UsageLabels], _Pending] = {}
        self._batch: dict[tuple[int, UsageLabels], _Pending] | None = None
        self._batch_number = 0
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._is_full = False
        self._is_closed = False
        self._hour = 0
        self._people: set[str] = set()

    def add_request(self, record: RequestRecord) -> None:
        """Count a request that has ended, if it has used anything. Does not wait."""
        labels = record.usage_labels()
        if labels and record.usage:
            self.add(labels, record.usage, record.began)

    def add(self, labels: UsageLabels, usage: Usage, began: float) -> None:
        """Count a request that has ended. Does not wait. `began`: when it began, in seconds since the epoch."""
        now = int(time.time())
        counts = UsageCounts.of_request(usage)
        self._add_pending(now - now % MINUTE, self._within_bounds(labels, now), counts, began)
        if self._task is None or self._task.done():
            self._task = detached(self._write_behind())

    async def flush(self) -> None:
        """Write what is counted by now. Raises `StorageFailed`: then it is kept and written later."""
        async with self._writing:
            while self._batch or self._pending:
                if not self._batch:
                    self._batch, self._pending = self._pending, {}
                    self._batch_number += 1
                # A batch that failed is written again as it was: a part of it may be in the table already.
                await self._write(self._batch)
                self._batch = None
            self._is_full = False

    async def forget(self, persons: Collection[str], name: str | None) -> int:
        """Take people out of the usage, which stays. See `UsageTable.forget`."""
        with suppress(StorageFailed):  # What is not written now is written without these people: see `_write`.
            await self.flush()
        async with self._writing:
            return await self._host.usage.forget([*persons], name)

    async def close(self) -> None:
        """Write what is counted by now. What is counted after it is written at once."""
        self._is_closed = True
        if self._task:
            self._task.cancel()
        with suppress(StorageFailed, asyncio.TimeoutError):
            await asyncio.wait_for(self.flush(), CLOSE_TIMEOUT)

    async def _write_behind(self) -> None:
        """Ends when nothing is pending: requests that end later start it again."""
        while self._pending or self._batch:
            if not self._is_closed:
                await asyncio.sleep(WRITE_INTERVAL)
            try:
                await self.flush()
            except StorageFailed:  # The error is in the log already.
                await asyncio.sleep(RETRY_INTERVAL)

    async def _write(self, batch: Mapping[tuple[int, UsageLabels], _Pending]) -> None:
        began: dict[str, float] = {}
        for (_, labels), pending in batch.items():
            if labels.person:
                began[labels.person] = min(pending.began, began.get(labels.person, pending.began))
        erased = await self._host.storage.erased(began) if began else set()
        counts: defaultdict[tuple[int, UsageLabels], UsageCounts] = defaultdict(UsageCounts)
        for (minute, labels), pending in batch.items():
            known = _without_person(labels) if labels.person in erased else labels
            counts[minute, known] += pending.counts
        await self._host.usage.add(self._writer, self._batch_number, counts)

    def _within_bounds(self, labels: UsageLabels, now: int) -> UsageLabels:
        if now - now % HOUR != self._hour:
            self._hour = now - now % HOUR
            self._people.clear()
        if labels.person not in self._people:
            if len(self._people) >= MAX_PEOPLE or len(self._pending) >= MAX_PENDING:
                return _without_person(labels)
            self._people.add(labels.person)
        return labels

    def _add_pending(self, minute: int, labels: UsageLabels, counts: UsageCounts, began: float) -> None:
        if (minute, labels) not in self._pending and len(self._pending) >= MAX_PENDING:
            labels = _without_person(labels)
        if (minute, labels) not in self._pending and len(self._pending) >= 2 * MAX_PENDING:
            if not self._is_full:
                self._host.log_error("OpenAI API: usage cannot be written, and more of it is not counted")
            self._is_full = True
            return
        before = self._pending.get((minute, labels), _Pending(UsageCounts(), began))
        self._pending[minute, labels] = _Pending(before.counts + counts, min(before.began, began))


def _without_person(labels: UsageLabels) -> UsageLabels:
    return replace(labels, person="", name="")
