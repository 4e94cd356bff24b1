"""The events of one run on their way from the Cat to whoever reads them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial

from ...domain.events import Event, Fingerprint, Text
from ...errors import RequestTimeout
from ..port import Run, RunCancelled

BURST_SECONDS = 0.001
"""Tokens of an LLM that come closer together than this may leave together."""


class EventChannel:
    """One writer, one reader, both on the event loop. The texts that were put in stay known as one growing text.

    The reader meets `RequestTimeout` when the time for the run is over, and `RunCancelled`. To be closed.
    """

    def __init__(self, run: Run) -> None:
        expired = partial(self._cut, RequestTimeout(run.timeout))
        self._timer = asyncio.get_running_loop().call_later(run.timeout, expired) if run.timeout else None
        self._cut_by: Exception | None = None
        self._said: list[str] = []
        self._unread: list[Event] = []
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()
        self._read_at = 0.0
        self._ended = False
        self._end_run: Callable[[], object] = lambda: None
        run.cancellation.when_cancelled(partial(self._cut, RunCancelled()))

    def when_cut(self, end_run: Callable[[], object]) -> None:
        """Called when the time is over or the run is cancelled, also where nobody reads any more."""
        self._end_run = end_run
        if self._cut_by:
            end_run()

    def put(self, event: Event) -> None:
        """This runs for every token."""
        if isinstance(event, Text):
            self._said.append(event.delta)
        self._unread.append(event)
        # It is no word of the reply yet.
        if not isinstance(event, Fingerprint):
            self._news.set()

    async def wait_for_reader(self) -> None:
        """For a writer that never waits by itself: without this nothing would be read before it has ended."""
        if time.monotonic() - self._read_at > BURST_SECONDS:
            self._wanted.clear()
            await self._wanted.wait()

    def end(self) -> None:
        self._ended = True
        self.close()
        self._news.set()

    def unread(self) -> int:
        return len(self._unread)

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """What was put in since the last time, as soon as there is anything, until the end."""
        while self._unread or not self._ended:
            self._read_at = time.monotonic()
            self._wanted.set()
            await self._news.wait()
            self._news.clear()
            unread, self._unread = self._unread, []
            if unread:
                yield unread
            if self._cut_by:
                break
        if self._cut_by:
            raise self._cut_by

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _cut(self, by: Exception) -> None:
        self._cut_by = by
        self._news.set()
        self._end_run()

    def last(self) -> str:
        """The text that was put in last; empty before."""
        return self._said[-1] if self._said else ""

    def said(self) -> str:
        """All texts that were put in."""
        return "".join(self._said)

    def remaining_events(self, reply: str) -> list[Event]:
        """What the finished reply has beyond the texts: all of it, where its maker had no tokens."""
        said = self.said()
        return [Text(reply[len(said) :])] if reply.startswith(said) and len(reply) > len(said) else []
