"""The responses that this Cat generates in the background, and the watch over those that no living Cat generates.

Each Cat that generates responses changes a number in the storage, its beat. A Cat whose beat does not change for a
while, by the watch's own clock, is dead: its responses have failed. So the clocks of several Cats need not agree. Where
no other Cat can use the storage, whatever another one has left is abandoned at once.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, Protocol
from uuid import uuid4

from ..domain.log import Log
from ..domain.people import Person
from ..errors import CapacityReached, ShareExceeded, StorageFailed, UpstreamError
from .background_store import BackgroundStore, StoredRun

MAX_RUNS = 200
"""Responses that one Cat generates in the background at the same time."""

MAX_RUNS_OF_PERSON = 32
"""Those of one person."""

WATCH_INTERVAL = 2.0
"""Seconds between two looks at what other Cats generate."""

LONE_WATCH_INTERVAL = 15.0
"""The same where no other Cat can use the storage."""

CANCEL_INTERVAL = 0.3
"""Seconds between two looks for requests at other Cats to cancel what this one generates."""

BEAT_INTERVAL = 1.0

DEAD_AFTER = 8.0
"""Seconds without a beat. A Cat whose event loop stands still for so long is dead to the others."""

STOPPED = "The response was interrupted: the Cat was stopped, or the plugin was switched off."

ABANDONED = "The response was interrupted: the Cat that generated it has ended."


class BackgroundRun(Protocol):
    """A response that this Cat generates. `is_stored`: whether other Cats can see it. `is_deleted`: whether nobody
    shall see it any more."""

    id: str
    person: Person
    is_stored: bool
    is_deleted: bool

    def snapshot(self) -> Mapping[str, Any]:
        """The response object as it stands, as it is sent."""

    def read(self, first: int) -> AsyncGenerator[bytes, None]:
        """Its encoded events from number `first` on, as they come."""

    def cancel(self) -> None:
        """End it with the status `cancelled`."""

    async def stop(self, message: str) -> None:
        """End it with the status `failed`. Returns when that is stored."""

    async def wait_for_end(self, timeout: float) -> None:
        """Wait until its end is stored, for at most `timeout` seconds."""


class BackgroundRuns:
    """`runner`: this Cat's name for itself, another one after each start."""

    def __init__(self, log: Log, store: BackgroundStore) -> None:
        self.runner = uuid4().hex
        self._log = log
        self._store = store
        self._runs: dict[str, BackgroundRun] = {}
        self._counts: Counter[str] = Counter()
        self._has_new = asyncio.Event()
        self._is_closed = False
        self._beat = 0
        self._next_beat = 0.0
        self._next_watch = 0.0
        self._beats: dict[str, tuple[int | None, float]] = {}

    def add(self, run: BackgroundRun) -> None:
        """Raises `CapacityReached`, `ShareExceeded`, or `UpstreamError` where the plugin was switched off."""
        if self._is_closed:
            raise UpstreamError(STOPPED)
        if len(self._runs) >= MAX_RUNS:
            raise CapacityReached(MAX_RUNS, "responses in the background")
        if self._counts[run.person.key] >= MAX_RUNS_OF_PERSON:
            raise ShareExceeded(MAX_RUNS_OF_PERSON, "responses in the background")
        self._runs[run.id] = run
        self._counts[run.person.key] += 1
        self._has_new.set()

    def remove(self, run: BackgroundRun) -> None:
        if self._runs.pop(run.id, None):
            self._counts[run.person.key] -= 1
            if not self._counts[run.person.key]:
                del self._counts[run.person.key]

    def get(self, person: Person, response_id: str) -> BackgroundRun | None:
        """None where this Cat generates none of that id, or where it is another person's."""
        run = self._runs.get(response_id)
        return run if run and run.person.key == person.key and not run.is_deleted else None

    async def beat(self) -> None:
        """Say that this Cat is alive, unless it did so within `BEAT_INTERVAL`. Raises `StorageFailed`."""
        if self._store.is_shared and time.monotonic() >= self._next_beat:
            self._beat += 1
            await self._store.save_beat(self.runner, self._beat)
            self._next_beat = time.monotonic() + BEAT_INTERVAL

    async def watch(self) -> None:
        """Runs as long as the plugin is switched on."""
        while True:
            interval = WATCH_INTERVAL if self._store.is_shared else LONE_WATCH_INTERVAL
            with suppress(StorageFailed):  # the error is in the log already
                if self._runs and self._store.is_shared:
                    await self.beat()
                    await self._look_for_cancels()
                if time.monotonic() >= self._next_watch:
                    self._next_watch = time.monotonic() + interval
                    await self._end_abandoned()
            is_busy = self._runs and self._store.is_shared
            self._has_new.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._has_new.wait(), CANCEL_INTERVAL if is_busy else interval)

    async def close(self) -> None:
        self._is_closed = True
        if self._runs:
            await asyncio.gather(*(run.stop(STOPPED) for run in [*self._runs.values()]))
        if self._beat:
            await self._store.delete_beat(self.runner)

    async def _look_for_cancels(self) -> None:
        before = [response_id for response_id, run in self._runs.items() if run.is_stored]
        stored = await self._store.load_runs(before)
        for response_id in before:
            run = self._runs.get(response_id)
            # One that is missing was deleted, or another Cat has ended it.
            if run and (response_id not in stored or stored[response_id].is_cancelled):
                run.cancel()

    async def _end_abandoned(self) -> None:
        stored = await self._store.load_runs()
        others = {run.runner for run in stored.values()} - {self.runner}
        dead = await self._dead(others)
        for run in stored.values():
            if run.runner in dead or (run.runner == self.runner and run.response_id not in self._runs):
                await self._end(run)

    async def _end(self, run: StoredRun) -> None:
        error = {"code": "server_error", "message": ABANDONED}
        await self._store.end_abandoned(run.owner, run.response_id, "failed", error)
        self._log.log_info("OpenAI API: a response in the background has failed, the Cat that generated it has ended")

    async def _dead(self, runners: set[str]) -> set[str]:
        """Those of the other Cats that have ended."""
        if not self._store.is_shared:
            return runners
        beats = await self._store.load_beats([*runners])
        now = time.monotonic()
        seen: dict[str, tuple[int | None, float]] = {}
        for runner in runners:
            beat, since = self._beats.get(runner, (None, now))
            current = beats.get(runner)
            seen[runner] = (beat, since) if runner in self._beats and beat == current else (current, now)
        self._beats = seen
        return {runner for runner, (_, since) in seen.items() if now - since > DEAD_AFTER}
