"""A request to one of the plugin's routes."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from ..access.admission import admit, rate_limit_headers
from ..access.concurrency import concurrency_limit
from ..domain.people import Access, Caller, Person
from ..errors import InvalidRequest, RequestTooLarge, RequestTooSlow
from ..hosts.current import host
from ..telemetry.record import RequestRecord
from ..wire.json import decode, encode
from ..wire.models import WireReply

if TYPE_CHECKING:
    from ...settings import Settings


MAX_BODY_MEGABYTES = 32


MAX_BODY_BYTES = MAX_BODY_MEGABYTES * 1024 * 1024


BLOCKING_BYTES = 256 * 1024
"""A body longer than this (some 5 ms of work) is parsed in a thread."""


class ApiRequest(Request):
    """A request to one of the plugin's routes. `headers_for_reply` go on the reply, whatever it will be."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self.id = f"req_{uuid4().hex}"
        self.headers_for_reply: dict[str, str] = {"x-request-id": self.id}
        self.record = RequestRecord(self.id, scope["route"].path)
        self.parsed_body: Any = None
        self._route = scope["route"]
        self._caller: Caller | None = None
        self._settings: Settings | None = None

    @property
    def caller(self) -> Caller:
        if self._caller is None:
            raise RuntimeError("This route is open to all: nobody was authenticated.")
        return self._caller

    async def authenticate(self, access: Access) -> None:
        self._caller = await host.authenticate(self, access)

    async def settings(self) -> "Settings":
        """The settings in force for this request: they are read once."""
        if self._settings is None:
            self._settings = await host.settings()
            self.record.follow(self._settings)
        return self._settings

    async def admit(self, person: Person) -> Callable[[], None]:
        """Let the request in for `person` and count it; to be called when it has been answered.

        Raises `Overloaded` or `RateLimitExceeded`.
        """
        settings = await self.settings()
        concurrency_limit.acquire(settings.max_concurrent_requests)
        try:
            self.headers_for_reply.update(await admit(person, settings, self._route.bucket))
        except BaseException:
            concurrency_limit.release()
            raise
        return concurrency_limit.release

    async def add_rate_limit_headers(self) -> None:
        """The caller's own rate limit headers, for a request that ends before it is known whom it is for."""
        settings = await self.settings()
        self.headers_for_reply.update(await rate_limit_headers(self.caller.person, settings, self._route.bucket))

    async def body(self) -> bytes:
        """The whole body, read only as far as it is allowed to be long. Raises `RequestTooLarge` or
        `RequestTooSlow`."""
        if not hasattr(self, "_body"):
            seconds = (await self.settings()).request_timeout
            try:
                self._body = await asyncio.wait_for(self._read(), seconds or None)
            except asyncio.TimeoutError:
                raise RequestTooSlow(seconds) from None
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

    async def json(self) -> Any:
        body = await self.body()
        try:
            self.parsed_body = await _decoded(body, self._route.most_values)
        except ValueError as error:
            raise InvalidRequest(f"The request's body is no valid JSON: {error}.", code="invalid_json") from error
        return self.parsed_body


async def _decoded(body: bytes, most_values: int) -> Any:
    if len(body) < BLOCKING_BYTES:
        return decode(body, most_values)
    return await asyncio.to_thread(decode, body, most_values)


def json_response(reply: WireReply | Mapping[str, Any]) -> Response:
    wire = reply.wire() if isinstance(reply, WireReply) else reply
    return Response(encode(wire), media_type="application/json")
