"""The response to a request with `stream: true`: server-sent events, with comments that keep the connection open."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from ..errors import ApiError, InternalError, UpstreamError, error_for
from ..packages import ensure
from ..runtime import runtime
from ..telemetry.record import RequestRecord

# Cat 2 has it. Cat 1.9 has not, and with 3.0.4 or later it would not start again: those bring another Starlette.
ensure("sse_starlette", "sse-starlette>=2.2,<3.0.4")

from sse_starlette import EventSourceResponse, ServerSentEvent  # noqa: E402

KEEP_ALIVE_INTERVAL = 5
"""Seconds between two comments. Proxies cut a silent connection after 30 to 60 seconds."""

SEND_TIMEOUT = 120.0
"""Seconds that a client may read nothing of what is sent to it. Then its stream is given up."""

SHUTDOWN_SEND_TIMEOUT = 1.0
"""Seconds that the last event of a stream may take when the server shuts down."""


class EventStream(EventSourceResponse):
    """A stream of events.

    `events` yields whole events as bytes. `failed` makes of an error all that a stream which fails ends with. `close`
    ends what produces the events; it is awaited whichever way the stream ends, also when it never began. `record`
    gets the error of a stream that fails.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        failed: Callable[[ApiError], bytes],
        close: Callable[[], Awaitable[None]],
        record: RequestRecord,
    ) -> None:
        self._events = _guarded(events, failed, record)
        self._failed = failed
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
                # A client that does not read: nothing else can be said to it.
                runtime.host.log_error("OpenAI API: a stream could not be sent to its end")
            finally:
                await self._events.aclose()
                await self._close()

    async def _send_shutdown_error(self, send: Send) -> None:
        """sse-starlette has cut the stream, as the server is about to stop."""
        self._record.error = UpstreamError("The Cat is shutting down.")
        rest = self._failed(self._record.error)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(send({"type": "http.response.body", "body": rest}), SHUTDOWN_SEND_TIMEOUT)


async def _guarded(
    events: AsyncGenerator[bytes, None], failed: Callable[[ApiError], bytes], record: RequestRecord
) -> AsyncGenerator[bytes, None]:
    """The status is out, so what goes wrong now is one more event; either way the stream has its end."""
    try:
        async for data in events:
            yield data
    except Exception as error:
        shown = error_for(error)
        if shown is None:
            runtime.host.log_error("OpenAI API: a stream failed")
            shown = InternalError()
        record.error = shown
        yield failed(shown)
    finally:
        await events.aclose()
