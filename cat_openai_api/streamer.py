"""Server-sent events as OpenAI writes them: `data:` lines of JSON, errors among them, `data: [DONE]` at the end."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from .errors import InternalError, error_for
from .hosts.current import host
from .packages import ensure
from .wire import encode

# Cat 2 has it. Cat 1.9 has not, and with 3.0.4 or later it would not start again: those bring another Starlette.
ensure("sse_starlette", "sse-starlette>=2.2,<3.0.4")

from sse_starlette import EventSourceResponse, ServerSentEvent  # noqa: E402

KEEP_ALIVE_SECONDS = 5
"""Between two comments. Proxies cut a silent connection after 30 to 60 seconds."""

DONE = b"data: [DONE]\n\n"


class EventStream(EventSourceResponse):
    """The reply to a request with `stream: true`.

    `events` yields whole events as bytes. `close` ends what produces them; it is awaited however the stream
    ends, also when it never began.
    """

    def __init__(self, events: AsyncGenerator[bytes, None], close: Callable[[], Awaitable[None]]) -> None:
        self._events = _guarded(events)
        self._close = close
        super().__init__(
            self._events,
            headers={"Cache-Control": "no-cache"},
            ping=KEEP_ALIVE_SECONDS,
            ping_message_factory=lambda: ServerSentEvent(comment="keep-alive", sep="\n"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()
            await self._close()


def event(data: Any) -> bytes:
    return b"data: %b\n\n" % encode(data)


async def _guarded(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The status is out, so what goes wrong now is one more event; either way the stream has its end."""
    try:
        async for data in events:
            yield data
    except Exception as error:
        shown = error_for(error)
        if shown is None:
            host.log_error("OpenAI API: a stream failed")
            shown = InternalError()
        yield event(shown.body())
    finally:
        await events.aclose()
    yield DONE
