"""The response to a request with `stream: true`: server-sent events, and comments that keep the connection open."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from ..errors import ApiError, InternalError, UpstreamError, error_for
from ..packages import ensure_installed
from ..runtime import runtime
from ..telemetry.record import RequestRecord

# Part of Cat 2, but not of Cat 1.9, which 3.0.4 and later break: they install a version of Starlette that its FastAPI
# does not support.
ensure_installed("sse_starlette", "sse-starlette>=2.2,<3.0.4")

from sse_starlette import EventSourceResponse, ServerSentEvent  # noqa: E402

KEEP_ALIVE_INTERVAL = 5
"""Seconds between two comments. Proxies close a connection without data after 30 to 60 seconds."""

SEND_TIMEOUT = 120.0
"""Seconds after which a stream is aborted if its client does not read."""

SHUTDOWN_SEND_TIMEOUT = 1.0
"""Seconds for sending the last event of a stream when the server shuts down."""


class EventStream(EventSourceResponse):
    """A stream of events.

    `events`: yields complete events as bytes. `error_events`: encodes an error as the last events of the stream.
    `close`: releases the source of the events; it is awaited when the stream ends, also if the stream has never begun.
    `record`: its `error` is set if the stream fails.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        error_events: Callable[[ApiError], bytes],
        close: Callable[[], Awaitable[None]],
        record: RequestRecord,
    ) -> None:
        self._events = _with_error_events(events, error_events, record)
        self._error_events = error_events
        self._close = close
        self._record = record
        super().__init__(
            self._events,
            headers={"Cache-Control": "no-cache"},
            ping=KEEP_ALIVE_INTERVAL,
            ping_message_factory=lambda: ServerSentEvent(comment="keep-alive", sep="\n"),
            send_timeout=SEND_TIMEOUT,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with runtime.metrics.open_stream():
            try:
                await super().__call__(scope, receive, send)
                if self.active:
                    await self._send_shutdown_error(send)
            except Exception:
                # The client does not read, or the connection broke, so no error can be sent.
                runtime.host.log_error("OpenAI API: a stream could not be sent completely")
            finally:
                await self._events.aclose()
                await self._close()

    async def _send_shutdown_error(self, send: Send) -> None:
        """Complete a stream that sse-starlette has ended because the server is shutting down."""
        self._record.error = UpstreamError("The Cat is shutting down.")
        rest = self._error_events(self._record.error)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(send({"type": "http.response.body", "body": rest}), SHUTDOWN_SEND_TIMEOUT)


async def _with_error_events(
    events: AsyncGenerator[bytes, None], error_events: Callable[[ApiError], bytes], record: RequestRecord
) -> AsyncGenerator[bytes, None]:
    """`events`, followed by error events if an exception is raised: the HTTP status has been sent already."""
    try:
        async for data in events:
            yield data
    except Exception as error:
        api_error = error_for(error)
        if api_error is None:
            runtime.host.log_error("OpenAI API: internal error in a stream")
            api_error = InternalError()
        record.error = api_error
        yield error_events(api_error)
    finally:
        await events.aclose()
