"""The channel that carries the events of one run from the Cat to the code that reads them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial

from ...domain.events import Event, Fingerprint, Text
from ...errors import RequestTimeout
from ..port import Run, RunCancelled

BURST_SECONDS = 0.001
"""Tokens that the LLM sends within this time of each other may reach the reader together."""


class EventChannel:
    """A queue with one writer and one reader, both on the event loop. It also stores the text of the reply so far.

    The reader gets `RequestTimeout` when `run.timeout` is over, and `RunCancelled` when the run is cancelled.
    Call `close` when the run has ended: it stops the timer.
    """

    def __init__(self, run: Run) -> None:
        expire = partial(self._abort, RequestTimeout(run.timeout))
        self._timer = asyncio.get_running_loop().call_later(run.timeout, expire) if run.timeout else None
        self._abort_error: Exception | None = None
        self._texts: list[str] = []
        self._unread: list[Event] = []
        self._has_unread = asyncio.Event()
        self._reader_waits = asyncio.Event()
        self._read_at = 0.0
        self._ended = False
        self._end_run: Callable[[], object] = lambda: None
        run.cancellation.when_cancelled(partial(self._abort, RunCancelled()))

    def on_abort(self, end_run: Callable[[], object]) -> None:
        """Have `end_run` called on time-out and cancellation, even if there is no reader; at once if it is too late."""
        self._end_run = end_run
        if self._abort_error:
            end_run()

    def put(self, event: Event) -> None:
        """This runs for every token."""
        if isinstance(event, Text):
            self._texts.append(event.delta)
        self._unread.append(event)
        # A fingerprint is no content: it waits for the event after it.
        if not isinstance(event, Fingerprint):
            self._has_unread.set()

    async def wait_for_reader(self) -> None:
        """Wait until the reader waits for events, unless it did so within `BURST_SECONDS`.

        A writer that never yields to the event loop by itself must call this, or its events are read at its end.
        """
        if time.monotonic() - self._read_at > BURST_SECONDS:
            self._reader_waits.clear()
            await self._reader_waits.wait()

    def end(self) -> None:
        """There are no more events."""
        self._ended = True
        self.close()
        self._has_unread.set()

    def unread(self) -> int:
        return len(self._unread)

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """Yields all unread events as soon as there are any, until the end of the run."""
        while self._unread or not self._ended:
            self._read_at = time.monotonic()
            self._reader_waits.set()
            await self._has_unread.wait()
            self._has_unread.clear()
            unread, self._unread = self._unread, []
            if unread:
                yield unread
            if self._abort_error:
                break
        if self._abort_error:
            raise self._abort_error

    def close(self) -> None:
        """Stop the timer of the run's time-out."""
        if self._timer:
            self._timer.cancel()

    def _abort(self, error: Exception) -> None:
        self._abort_error = error
        self._has_unread.set()
        self._end_run()

    def last_text(self) -> str:
        """The text of the latest `Text` event; empty if there was none."""
        return self._texts[-1] if self._texts else ""

    def text(self) -> str:
        """The text of all `Text` events."""
        return "".join(self._texts)
