"""Responses in the background: generated without their client (OpenAI docs, "Background mode").

The events of a response are kept in memory while it is generated, and written to the storage in batches. A stream is
read from the one on the Cat that generates the response, and from the other on any Cat, also after the end. The number
of an event in these lists is its `sequence_number`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from typing import Any

from ...conversation.background_runs import STOPPED
from ...conversation.background_store import UNFINISHED, split_events
from ...domain.people import Person
from ...errors import (
    ApiError,
    InternalError,
    RequestTimeout,
    ResponseNotFound,
    StorageFailed,
    UpstreamError,
    error_for,
    invalid,
)
from ...http.disconnect import Interrupted, cancel_when
from ...http.request import ApiRequest
from ...http.respond import open_renderer
from ...http.streamer import EventStream
from ...runtime import runtime
from ...telemetry.record import RequestRecord
from ...wire.json import JsonObject, encode
from .serving import CANCEL_TIMEOUT, ParsedResponseRequest, ResponseDraft, ResponseRenderer

MAX_SECONDS = 60 * 60
"""How long a response may take where the setting `request_timeout` does not end it earlier."""

WRITE_INTERVAL = 0.25
"""Seconds between two batches of events."""

PROGRESS_INTERVAL = 1.0
"""Seconds between two versions of the output so far, which other Cats show."""

MAX_PROGRESS = 256 * 1024
"""Bytes of the events of a response up to which its output so far is stored again and again."""

READ_INTERVAL = 0.3
"""Seconds between two looks for new events of a response that another Cat generates."""

WRITE_ATTEMPTS = 5
"""At the last events of a response."""

LAST_EVENTS: Mapping[str, str] = {"completed": "response.completed", "failed": "response.failed"}
"""By status; the others end with `response.incomplete`."""

_LAST_PREFIXES = (b"event: response.completed\n", b"event: response.failed\n", b"event: response.incomplete\n")


class BackgroundResponse:
    """A response that this Cat generates in the background, see `BackgroundRun`."""

    def __init__(self, parsed: ParsedResponseRequest, call: ApiRequest) -> None:
        self.id = parsed.generation_request.id
        self.person = parsed.person
        self.is_stored = False
        self.is_deleted = False
        self._parsed = parsed
        self._call = call
        self._draft = ResponseDraft(parsed)
        self._renderer: ResponseRenderer | None = None
        self._task: asyncio.Task[None] | None = None
        self._interruption: asyncio.Future[ApiError | None] = asyncio.get_running_loop().create_future()
        self._events: list[bytes] = []
        self._has_new_events = asyncio.Event()
        self._is_generated = asyncio.Event()
        self._ended = asyncio.Event()
        self._written = 0
        self._batches = 0
        self._add_events(self._draft.queue())

    async def start(self) -> JsonObject:
        """Store the response and begin with it. Returns the response object.

        Raises what `ApiRequest.admit` and `BackgroundRuns.add` raise, and `StorageFailed`.
        """
        queued = self._draft.response.wire()
        self._call.add_left_out_tools(self._parsed.generation_request.tools.left_out)
        async with AsyncExitStack() as stack:
            stack.callback(await self._call.admit(self.person))
            runtime.background_runs.add(self)
            stack.callback(runtime.background_runs.remove, self)
            await runtime.background_runs.beat()
            await runtime.background_store.create(self.person, queued, runtime.background_runs.runner)
            self.is_stored = True
            record = self._call.record
            record.is_background, record.status = True, 200
            record.model = self._parsed.generation_request.model
            self._call.release_body()
            self._task = asyncio.create_task(self._run(stack.pop_all()))
        return queued

    def snapshot(self) -> JsonObject:
        """The response object as it stands."""
        return self._renderer.snapshot() if self._renderer else self._draft.response.wire()

    def cancel(self) -> None:
        """See `BackgroundRun.cancel`."""
        self._parsed.generation_request.cancellation.cancel()
        if self._renderer is None:
            self._interrupt(None)  # it waits for its turn or for images

    async def wait_for_end(self, timeout: float) -> None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._ended.wait(), timeout)

    async def stop(self, message: str) -> None:
        """See `BackgroundRun.stop`."""
        self._interrupt(UpstreamError(message))
        await self._ended.wait()

    async def read(self, first: int) -> AsyncGenerator[bytes, None]:
        """The events from number `first` on, as they come."""
        while True:
            has_new_events = self._has_new_events
            if events := self._events[first:]:
                first += len(events)
                yield b"".join(events)
            elif self._events[-1].startswith(_LAST_PREFIXES):
                return
            else:
                await has_new_events.wait()

    def _interrupt(self, error: ApiError | None) -> None:
        """`error`: None if the response is cancelled."""
        if not self._interruption.done():
            self._interruption.set_result(error)

    async def _run(self, stack: AsyncExitStack) -> None:
        """`stack`: releases what the response holds."""
        writing = asyncio.create_task(self._write())
        expire = partial(self._interrupt, RequestTimeout(MAX_SECONDS))
        timer = asyncio.get_running_loop().call_later(MAX_SECONDS, expire)
        async with stack:
            try:
                await self._generate()
            except Interrupted:
                await self._end_early(self._interruption.result())
            except asyncio.CancelledError:
                # The event loop ends; what follows is still executed.
                await self._end_early(UpstreamError(STOPPED))
            except Exception as error:
                await self._end_early(self._api_error(error))
            finally:
                timer.cancel()
                self._is_generated.set()
                self._has_new_events.set()
                await asyncio.gather(writing, return_exceptions=True)
                await self._write_rest()
                self._call.record.end(runtime.host, runtime.metrics.meters)
                self._ended.set()

    async def _generate(self) -> None:
        async with AsyncExitStack() as stack:
            request = self._parsed.generation_request
            create_renderer = partial(ResponseRenderer, parsed=self._parsed, draft=self._draft)
            opening = open_renderer(stack, [request], self.person, self._call, create_renderer)
            self._renderer = await cancel_when(self._interruption, opening)
            await cancel_when(self._interruption, self._collect_events(self._renderer))

    async def _collect_events(self, renderer: ResponseRenderer) -> None:
        async with aclosing(renderer.events(live=self._call.settings.enable_streaming)) as events:
            async for joined in events:
                self._add_events(joined)

    def _api_error(self, error: Exception) -> ApiError:
        api_error = error_for(error)
        if api_error is None:
            runtime.host.log_error("OpenAI API: internal error in a response in the background")
            api_error = InternalError()
        return api_error

    async def _end_early(self, error: ApiError | None) -> None:
        """End a response that was not generated to its end. `error`: None if it was cancelled before its run began."""
        if self._events[-1].startswith(_LAST_PREFIXES):
            return
        if error is None:
            self._call.record.is_cancelled = True
            last = self._draft.cancel()
        else:
            self._call.record.error = error
            last = self._renderer.error_events(error) if self._renderer else self._draft.fail(error)
        with suppress(StorageFailed):  # the error is in the log already
            # Nothing continues a response that has failed.
            known = self._parsed.input if error else []
            await runtime.background_store.finish(self.person, self._draft.response.wire(), known, {})
        self._add_events(last)

    def _add_events(self, joined: bytes) -> None:
        """This runs for every token."""
        self._events += split_events(joined)
        self._has_new_events.set()
        self._has_new_events = asyncio.Event()

    async def _write(self) -> None:
        """Write what there is of the response to the storage, again and again."""
        next_progress = time.monotonic() + PROGRESS_INTERVAL
        size = 0
        while not self._is_generated.is_set():
            if len(self._events) == self._written:
                await self._has_new_events.wait()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._is_generated.wait(), WRITE_INTERVAL)
            with suppress(StorageFailed):  # the error is in the log already; the next attempt has these events too
                size += await self._write_events()
                if self._renderer and size < MAX_PROGRESS and time.monotonic() >= next_progress:
                    next_progress = time.monotonic() + PROGRESS_INTERVAL
                    output = self._renderer.snapshot()["output"]
                    await runtime.background_store.save_progress(self.person, self.id, output)

    async def _write_events(self) -> int:
        """Returns the number of bytes. Raises `StorageFailed`."""
        events = self._events[self._written :]
        if events:
            self._written += await runtime.background_store.add_events(self.person, self.id, self._batches, events)
            self._batches += 1
        return sum(map(len, events))

    async def _write_rest(self) -> None:
        """Write the last events, and delete what is stored of the run alone."""
        for _ in range(WRITE_ATTEMPTS):
            with suppress(StorageFailed):  # the error is in the log already
                while self._written < len(self._events):
                    await self._write_events()
                await runtime.background_store.end_run(self.person.key, self.id)
                if await runtime.responses.load(self.person, self.id) is None:
                    await runtime.background_store.delete_events(self.person, self.id)
                return


async def stream_again(person: Person, response_id: str, first: int) -> AsyncGenerator[bytes, None]:
    """The events of a response in the background from number `first` on, up to its end.

    Raises `ResponseNotFound`, and `InvalidRequest` for another response or for events that are no longer stored.
    """
    if run := runtime.background_runs.get(person, response_id):
        return run.read(first)
    stored = await runtime.responses.load(person, response_id)
    if stored is None and not runtime.active_responses.get(person, response_id):
        raise ResponseNotFound(response_id)
    if stored is None or not stored.response.get("background"):
        message = "only responses that were created with background: true can be streamed again"
        raise invalid("stream", message, "unsupported_parameter")
    is_finished = stored.response["status"] not in UNFINISHED
    if is_finished and not await runtime.background_store.load_events(person, response_id, 0):
        raise invalid("stream", "the events of this response are no longer stored; leave out stream")
    return _read_stored(person, response_id, first)


async def _read_stored(person: Person, response_id: str, first: int) -> AsyncGenerator[bytes, None]:
    """Events from the storage; those of a response that another Cat generates as that Cat writes them."""
    store = runtime.background_store
    batch = number = 0
    while True:
        is_running = await store.is_running(response_id)
        batches = await store.load_events(person, response_id, batch)
        batch += len(batches)
        events = [event for events in batches for event in events]
        if wanted := events[max(first - number, 0) :]:
            yield b"".join(wanted)
        number += len(events)
        if events and events[-1].startswith(_LAST_PREFIXES):
            return
        if not events and not is_running:
            break
        if not events:
            await asyncio.sleep(READ_INTERVAL)
    # The Cat that generated it has ended before it wrote the last event.
    stored = await runtime.responses.load(person, response_id)
    if stored and stored.response["status"] not in UNFINISHED:
        yield _last_event(stored.response, max(first, number))


def _last_event(response: Mapping[str, Any], number: int) -> bytes:
    type = LAST_EVENTS.get(response["status"], "response.incomplete")
    return b"event: %b\ndata: %b\n\n" % (
        type.encode(),
        encode({"type": type, "response": response, "sequence_number": number}),
    )


def event_stream(events: AsyncGenerator[bytes, None], request: ApiRequest) -> EventStream:
    """An HTTP response with events of a response that goes on without it. A server that shuts down ends it without a
    last event: the client can go on with the next one."""

    async def close() -> None:
        """The generator is closed with the stream."""

    reading = RequestRecord(request.record.request_id, request.record.route)
    return EventStream(events, lambda _: b"", close, reading)


async def cancel_elsewhere(person: Person, response: JsonObject) -> Mapping[str, Any]:
    """Cancel an unfinished response that this Cat does not generate. Returns the response object.

    The Cat that generates it ends it; where that does not happen in time, because that Cat has ended, this one does.
    """
    response_id: str = response["id"]
    await runtime.background_store.request_cancel(response_id)
    deadline = time.monotonic() + CANCEL_TIMEOUT
    while time.monotonic() < deadline and await runtime.background_store.is_running(response_id):  # noqa: ASYNC110
        await asyncio.sleep(READ_INTERVAL)
    await runtime.background_store.end_abandoned(person.key, response_id, "cancelled", None)
    stored = await runtime.responses.load(person, response_id)
    return stored.response if stored else {**response, "status": "cancelled"}
