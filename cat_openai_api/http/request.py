"""A request to one of the plugin's routes."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ..errors import InvalidRequest, RequestTooLarge, RequestTooSlow
from ..telemetry.record import RequestRecord
from ..wire.json import decode, encode
from ..wire.models import WireReply
from ..wire.off_loop import off_loop
from .call import ApiCall

MAX_BODY_MEGABYTES = 32

MAX_BODY_BYTES = MAX_BODY_MEGABYTES * 1024 * 1024

BLOCKING_BYTES = 256 * 1024
"""Longer bodies are parsed in a thread: the work takes more than about 5 ms."""

CONTEXT = "openai_api"
"""Key of the `RequestContext` in the ASGI scope."""


@dataclass(frozen=True)
class RequestContext:
    """The state of a request from its first to its last ASGI message.

    `response_headers`: added to the response unless it has a header of the same name. They are set on error responses
    too.
    """

    record: RequestRecord
    response_headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def create(cls, route: str) -> "RequestContext":
        record = RequestRecord(f"req_{uuid4().hex}", route)
        return cls(record, {"x-request-id": record.request_id})

    def wrap(self, send: Send) -> Send:
        """An ASGI `send` that adds the response headers and records the status. It runs for every token.

        It is no coroutine function: each call would make one coroutine more.
        """

        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                self.record.status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                added = {name.encode(): value.encode("latin-1") for name, value in self.response_headers.items()}
                message["headers"] = [*message["headers"], *((n, v) for n, v in added.items() if n not in present)]
            return send(message)

        return send_with_headers


class ApiRequest(ApiCall, Request):
    """A request to one of the plugin's routes. `parsed_body`: the decoded JSON, available after `json`."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        Request.__init__(self, scope, receive)
        context: RequestContext = scope[CONTEXT]
        self.record = context.record
        self.response_headers = context.response_headers
        self.parsed_body: Any = None
        self._route = scope["route"]
        self.bucket = self._route.bucket

    @property
    def connection(self) -> "ApiRequest":
        return self

    async def body(self) -> bytes:
        """The whole body. At most `MAX_BODY_BYTES` are read. Raises `RequestTooLarge` or `RequestTooSlow`."""
        if not hasattr(self, "_body"):
            seconds = self.settings.request_timeout
            try:
                self._body = await asyncio.wait_for(self._read(), seconds or None)
            except asyncio.TimeoutError:
                raise RequestTooSlow(seconds) from None
            self.size = len(self._body)
        return self._body

    async def _read(self) -> bytes:
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
            raise RequestTooLarge(MAX_BODY_MEGABYTES)
        chunks: list[bytes] = []
        size = 0
        async for chunk in self.stream():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise RequestTooLarge(MAX_BODY_MEGABYTES)
            chunks.append(chunk)
        return b"".join(chunks)

    def release_body(self) -> None:
        """Free the memory of the body, which the request would hold as long as something refers to it."""
        self._body = b""
        self.parsed_body = None

    async def json(self) -> Any:
        """The decoded body. Raises `InvalidRequest`, and what `body` raises."""
        body = await self.body()
        try:
            max_values = self._route.max_values
            self.parsed_body = await off_loop(len(body), lambda: decode(body, max_values), BLOCKING_BYTES)
        except ValueError as error:
            raise InvalidRequest(f"The request body is not valid JSON: {error}.", code="invalid_json") from error
        return self.parsed_body


def json_response(reply: WireReply | Mapping[str, Any]) -> Response:
    wire = reply.wire() if isinstance(reply, WireReply) else reply
    return Response(encode(wire), media_type="application/json")
