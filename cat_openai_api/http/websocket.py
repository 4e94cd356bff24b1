"""A WebSocket: who may open it, its messages one after the other, and all that ends it.

A message is a call of the API like an HTTP request: the credential is checked again, it is counted, and it has a record
of its own. What a message means is up to a `MessageHandler`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from ..domain.people import Access
from ..errors import (
    ApiError,
    ConnectionTooOld,
    InsufficientPermissions,
    InternalError,
    InvalidApiKey,
    InvalidRequest,
    RequestTooLarge,
    UpstreamError,
    error_for,
)
from ..runtime import runtime
from ..telemetry.record import RequestRecord
from ..wire.json import decode, encode
from ..wire.off_loop import off_loop
from .call import ApiCall, require_compatible_host
from .disconnect import ClientDisconnected, Interrupted, cancel_when
from .request import BLOCKING_BYTES, MAX_BODY_BYTES, MAX_BODY_MEGABYTES

T = TypeVar("T")

MAX_MINUTES = 60
"""How long a connection may be open (OpenAI docs, "WebSocket mode")."""

MAX_WAITING = 16
"""Messages that a connection may have sent while an earlier one is answered."""

SEND_TIMEOUT = 120.0
"""Seconds after which a connection is closed if its client does not read."""

SHUTDOWN_SEND_TIMEOUT = 1.0
"""Seconds for the last events of a connection that is shut down."""

TRY_AGAIN_LATER = 1013
"""Close code, "try again later", of a connection that there is no room for (RFC 6455 and IANA's registry)."""

NORMAL, GOING_AWAY, POLICY_VIOLATION, TOO_BIG = 1000, 1001, 1008, 1009
"""Close codes (RFC 6455, section 7.4.1)."""


@dataclass(frozen=True)
class WebSocketOptions:
    """What a WebSocket has in common with the HTTP requests of its route, and what makes the handler of a connection.

    `bucket`, `max_values`: see `ApiRoute`.
    """

    create_handler: "Callable[[], MessageHandler]"
    bucket: str
    max_values: int


class Turn(ApiCall):
    """One message and the answer to it."""

    def __init__(
        self,
        websocket: WebSocket,
        route: str,
        options: WebSocketOptions,
        end: "asyncio.Future[Any] | None" = None,
    ) -> None:
        """`end`: done when the connection ends."""
        self._websocket = websocket
        self._end = end or asyncio.get_running_loop().create_future()
        self.record = RequestRecord(f"req_{uuid4().hex}", route)
        self.record.stream = True
        self.response_headers = {}
        self.bucket = options.bucket

    @property
    def connection(self) -> HTTPConnection:
        return self._websocket

    async def attend(self, work: Awaitable[T]) -> T:
        """Await `work`, which is cancelled when the connection ends: `Interrupted` is raised then."""
        return await cancel_when(self._end, work)

    async def send(self, frame: bytes) -> None:
        """Send JSON in ASCII as one text frame. This runs for every token. Raises `ClientDisconnected`.

        A client that does not read for `SEND_TIMEOUT` is one that has gone.
        """
        task = asyncio.current_task()
        timer = asyncio.get_running_loop().call_later(SEND_TIMEOUT, task.cancel) if task else None
        try:
            await self._websocket.send({"type": "websocket.send", "text": frame.decode("ascii")})
        except Exception as error:  # whatever the server raises for a connection that is closed
            raise ClientDisconnected from error
        finally:
            if timer:
                timer.cancel()


class MessageHandler(ABC):
    """Answers the messages of one connection."""

    @abstractmethod
    def begin(self) -> None:
        """Forget the turn before. What happens from now on belongs to another message."""

    @abstractmethod
    async def answer(self, message: Any, turn: Turn) -> None:
        """Answer a decoded message, and end what runs for it.

        What takes long is awaited with `Turn.attend`. Raises what becomes an error for the client.
        """

    @abstractmethod
    def error_frames(self, error: ApiError) -> list[bytes]:
        """The frames that end the answer to the last message with an error."""

    @abstractmethod
    def close(self) -> None:
        """Release what the connection remembers."""


async def serve_websocket(scope: Scope, receive: Receive, send: Send, options: WebSocketOptions) -> None:
    """Serve a WebSocket from its handshake to its end."""
    websocket, route = WebSocket(scope, receive, send), scope["route"].path
    handshake = Turn(websocket, route, options)
    connection = WebSocketConnection(websocket, route, options)
    try:
        require_compatible_host()
        _check_origin(websocket)
        await handshake.authenticate(Access.WRITE)
        runtime.connections.add(connection, handshake.caller.person)
    except Exception as error:
        handshake.record.error = _api_error(error, route, handshake.record)
        handshake.record.status = handshake.record.error.status
        await _refuse(websocket, handshake.record.error, handshake.record.request_id)
        handshake.record.end(runtime.host, runtime.metrics.meters)
        return
    try:
        await connection.serve(handshake.record.request_id)
    finally:
        runtime.connections.remove(connection)


class WebSocketConnection:
    """An authenticated connection."""

    def __init__(self, websocket: WebSocket, route: str, options: WebSocketOptions) -> None:
        self._websocket = websocket
        self._route = route
        self._options = options
        self._handler = options.create_handler()
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting_bytes = 0
        self._is_gone = False
        self._is_error_sent = False
        self._end: asyncio.Future[tuple[int, ApiError | None]] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()

    async def serve(self, request_id: str) -> None:
        await self._websocket.accept(headers=[(b"x-request-id", request_id.encode())])
        reading = asyncio.create_task(self._read())
        # What was sent before the time is up is still answered.
        time_is_up = asyncio.get_running_loop().call_later(MAX_MINUTES * 60, self._waiting.put_nowait, None)
        try:
            await self._answer_all()
            if not self._is_gone:
                await self._close()
        finally:
            time_is_up.cancel()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            self._handler.close()
            self._ended.set()

    async def shut_down(self) -> None:
        """End what is being answered with an error, and close the connection with code 1001, "going away"."""
        self._stop(GOING_AWAY, UpstreamError("The Cat is shutting down, or the plugin was switched off."))
        await self._ended.wait()

    def _stop(self, code: int, error: ApiError | None = None) -> None:
        if not self._end.done():
            self._end.set_result((code, error))
            self._waiting.put_nowait(None)

    async def _close(self) -> None:
        code, error = self._end.result() if self._end.done() else (NORMAL, None)
        turn = Turn(self._websocket, self._route, self._options)
        with suppress(Exception):  # whatever the server raises where the client has closed it in the meantime
            if error and code != GOING_AWAY and not self._is_error_sent:
                await asyncio.wait_for(turn.send(encode(error_event(error))), SHUTDOWN_SEND_TIMEOUT)
            await asyncio.wait_for(self._websocket.close(code), SHUTDOWN_SEND_TIMEOUT)

    async def _read(self) -> None:
        """Take messages until the client has gone. Messages are read while another is answered, because that is how
        a server tells that the client has gone."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._is_gone = True
                self._stop(GOING_AWAY)
                return
            data: bytes = message.get("bytes") or (message.get("text") or "").encode()
            if len(data) > MAX_BODY_BYTES:
                self._stop(TOO_BIG, RequestTooLarge(MAX_BODY_MEGABYTES))
            elif self._waiting.qsize() >= MAX_WAITING or self._waiting_bytes + len(data) > MAX_BODY_BYTES:
                text = f"More than {MAX_WAITING} messages, or more than {MAX_BODY_MEGABYTES} MiB of them, are waiting."
                self._stop(POLICY_VIOLATION, InvalidRequest(f"{text} Send the next one after the reply to the last."))
            else:
                self._waiting_bytes += len(data)
                self._waiting.put_nowait(data)

    async def _answer_all(self) -> None:
        """Answer the messages in their order, until the connection ends or the time is up."""
        while (data := await self._waiting.get()) is not None and not self._end.done():
            self._waiting_bytes -= len(data)
            await self._answer(data)
        self._stop(NORMAL, ConnectionTooOld(MAX_MINUTES))

    async def _answer(self, data: bytes) -> None:
        turn = Turn(self._websocket, self._route, self._options, self._end)
        turn.size = len(data)
        message: Any = None
        self._handler.begin()
        try:
            with runtime.metrics.open_stream():
                await turn.authenticate(Access.WRITE)
                message = await self._decode(data)
                await self._handler.answer(message, turn)
            turn.record.status = turn.record.status or 200
        except (Interrupted, ClientDisconnected):
            self._stop(GOING_AWAY)  # if it is the client that does not read
            if (end_error := self._end.result()[1]) and not self._is_gone:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._fail(turn, end_error), SHUTDOWN_SEND_TIMEOUT)
        except Exception as error:
            api_error = _api_error(error, self._route, turn.record, message)
            await self._fail(turn, api_error)
            if isinstance(api_error, InvalidApiKey | InsufficientPermissions):
                self._stop(POLICY_VIOLATION)
        finally:
            turn.record.end(runtime.host, runtime.metrics.meters)

    async def _decode(self, data: bytes) -> Any:
        try:
            return await off_loop(len(data), lambda: decode(data, self._options.max_values), BLOCKING_BYTES)
        except ValueError as error:
            raise InvalidRequest(f"The message is not valid JSON: {error}.", code="invalid_json") from error

    async def _fail(self, turn: Turn, error: ApiError) -> None:
        turn.record.error = error
        turn.record.status = turn.record.status or error.status
        self._is_error_sent = self._end.done()
        with suppress(ClientDisconnected):  # the reader ends as well
            for frame in self._handler.error_frames(error):
                await turn.send(frame)


def error_event(error: ApiError) -> dict[str, Any]:
    """An error as a message (Open Responses, "WebSocket Errors"; OpenAI API reference, `ResponseWsError`)."""
    detail = error.reply.error.model_dump()
    headers = {name.lower(): value for name, value in (error.headers or {}).items() if name != "Connection"}
    return {"type": "error", "status": error.status, "error": {**detail, **({"headers": headers} if headers else {})}}


def _check_origin(websocket: WebSocket) -> None:
    """Refuse the page of another site where no credential is sent. Raises `InsufficientPermissions`.

    Browsers send a page's requests for WebSockets to any server, and no page can add the header `Authorization` to
    them: with a credential, it is no page's. Cheshire Cat 1.9 without an API key is open to all who can reach it.
    """
    origin = websocket.headers.get("origin")
    is_foreign = bool(origin) and urlsplit(origin or "").netloc != websocket.headers.get("host")
    if is_foreign and "authorization" not in websocket.headers:
        raise InsufficientPermissions("Pages of other sites may not open a WebSocket here without an API key.")


def _api_error(error: Exception, route: str, record: RequestRecord, message: Any = None) -> ApiError:
    """The error for the client. An unexpected exception is logged with its traceback: call it in an `except` block."""
    api_error = error_for(error, message)
    if api_error is None:
        runtime.host.log_error(f"OpenAI API: internal error in {route} ({record.request_id})")
        api_error = InternalError()
    return api_error


async def _refuse(websocket: WebSocket, error: ApiError, request_id: str) -> None:
    """Answer the handshake with an HTTP response, where the server can do that.

    Where it cannot (uvicorn before 0.23, which Cheshire Cat 1.9 has), it answers 403 by itself to whom may not open
    the connection. Another error is sent over the connection, which is closed at once.
    """
    with suppress(Exception):  # whatever the server raises where the client has gone
        if "websocket.http.response" in websocket.scope.get("extensions", {}):
            headers = {**(error.headers or {}), "x-request-id": request_id}
            body = encode(error.body())
            await websocket.send_denial_response(Response(body, error.status, headers, media_type="application/json"))
        elif error.status in {401, 403}:
            await websocket.close()
        else:
            await websocket.accept(headers=[(b"x-request-id", request_id.encode())])
            await websocket.send_text(encode(error_event(error)).decode("ascii"))
            await websocket.close(TRY_AGAIN_LATER)
