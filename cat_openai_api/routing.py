"""What every route of the plugin has in common: who may call, how large a body, errors in OpenAI's shape.

Modules of a plugin that was switched off and on again must not meet those of before. The Cat forgets the modules
but keeps their packages, and `from package import module` finds the old module there: import names, not modules.

A route's function runs only for a caller who may, with a body that is valid; whatever goes wrong, before it or
in it, leaves here.
"""

import asyncio
import sys
import typing
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import uuid4

from fastapi.routing import APIRoute, APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from .admission import admit, places, standing
from .errors import ErrorReply, InternalError, InvalidRequest, RequestTooLarge, RequestTooSlow, error_for
from .hosts.current import endpoint, host
from .hosts.port import Access, Caller, Person
from .observation import CLIENT_GONE, Observation
from .rate_limiter import BUCKET
from .streamer import EventStream
from .wire import MOST_VALUES, WireReply, decode, encode

if TYPE_CHECKING:
    from ..settings import Settings

PREFIX = "/custom"

MAX_BODY_MEGABYTES = 32
MAX_BODY_BYTES = MAX_BODY_MEGABYTES * 1024 * 1024

BLOCKING_BYTES = 256 * 1024
"""A body longer than this (some 5 ms of work) is parsed in a thread."""

T = TypeVar("T")

NOTHING_TO_START = APIRouter().lifespan_context
"""In place of a router's own lifespan, which holds the router and its routes."""


class ApiRequest(Request):
    """A request to one of the plugin's routes. `headers_for_reply` go on the reply, whatever it will be."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self.id = f"req_{uuid4().hex}"
        self.headers_for_reply: dict[str, str] = {"x-request-id": self.id}
        self.observation = Observation(self.id, scope["route"].path)
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
            self.observation.follow(self._settings)
        return self._settings

    async def admit(self, person: Person) -> Callable[[], None]:
        """Let the request in for `person` and count it; to be called when it has been answered.

        Raises `Overloaded` or `RateLimitExceeded`.
        """
        settings = await self.settings()
        places.take(settings.max_concurrent_requests)
        try:
            self.headers_for_reply.update(await admit(person, settings, self._route.bucket))
        except BaseException:
            places.free()
            raise
        return places.free

    async def show_standing(self) -> None:
        """The caller's own rate limit headers, for a request that ends before it is known whom it is for."""
        settings = await self.settings()
        self.headers_for_reply.update(await standing(self.caller.person, settings, self._route.bucket))

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


class ApiRoute(APIRoute):
    """A route that anybody may call.

    `bucket`: requests of each are counted apart. `most_values`: of a body, see `decode`.
    """

    access: ClassVar[Access | None] = None
    bucket: ClassVar[str] = BUCKET
    most_values: ClassVar[int] = MOST_VALUES

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Routes of a plugin that was switched off or replaced match nothing.

        Cats before 2.0.23 leave them in the application under current FastAPI versions.
        """
        if getattr(sys.modules.get(__name__), "ApiRoute", None) is not ApiRoute:
            return Match.NONE, {}
        return super().matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().handle(scope, receive, send)
        except HTTPException as error:
            # Raised before the handler below: the wrong method.
            request = ApiRequest(scope, receive)
            await _error_reply(error, request)(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_in_our_shape(request: Request) -> Response:
            api_request = ApiRequest(_with_json_body(request.scope), request.receive)
            try:
                if self.access is not None:
                    await api_request.authenticate(self.access)
                if self.access is Access.WRITE:
                    await api_request.show_standing()
                response = await handle(api_request)
            except Exception as error:
                response = (
                    Response(status_code=CLIENT_GONE) if _has_left(error) else _error_reply(error, api_request)
                )
            for name, value in api_request.headers_for_reply.items():
                response.headers.setdefault(name, value)
            if self.access is Access.WRITE and not isinstance(response, EventStream):
                api_request.observation.end(response.status_code)
            return response

        return handle_in_our_shape


class ReadRoute(ApiRoute):
    access = Access.READ


class WriteRoute(ApiRoute):
    access = Access.WRITE


class AdminRoute(ApiRoute):
    access = Access.ADMIN


_ROUTES: dict[Access | None, type[ApiRoute]] = {
    None: ApiRoute,
    Access.READ: ReadRoute,
    Access.WRITE: WriteRoute,
    Access.ADMIN: AdminRoute,
}


def _route(
    register: Callable[..., Callable[[Callable[..., Any]], Any]],
    path: str,
    *,
    access: Access | None,
    bucket: str = BUCKET,
    most_values: int = MOST_VALUES,
    **options: Any,
) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a function as a route; `bucket`, `most_values`: see `ApiRoute`; `options` are FastAPI's."""
    base = _ROUTES[access]
    route_class = type(base.__name__, (base,), {"bucket": bucket, "most_values": most_values})
    decorate = register(
        path,
        prefix=PREFIX,
        tags=["OpenAI API"],
        route_class_override=route_class,
        responses={**options.pop("responses", {}), "4XX": {"model": ErrorReply}, "5XX": {"model": ErrorReply}},
        **options,
    )

    def registered(function: Callable[..., Any]) -> Any:
        route = decorate(function)
        if isinstance(route, APIRouter):
            # Cat 2's. The application keeps the lifespan of each router that it was ever given.
            route.lifespan_context = NOTHING_TO_START
        return route

    return registered


def _forget_former_modules() -> None:
    """Empty the caches of FastAPI and of typing: what is in them of routes, models and types keeps all modules of
    the plugin as it was before it was switched off and on.
    """
    fastapis = [module for name, module in [*sys.modules.items()] if name.startswith("fastapi.")]
    cached = [thing for module in fastapis for thing in vars(module).values()]
    for clear in [getattr(thing, "cache_clear", None) for thing in cached] + getattr(typing, "_cleanups", []):
        if clear:
            clear()


_forget_former_modules()


get = partial(_route, endpoint.get)
post = partial(_route, endpoint.post)
delete = partial(_route, endpoint.delete)


def json_reply(reply: WireReply | Mapping[str, Any]) -> Response:
    wire = reply.wire() if isinstance(reply, WireReply) else reply
    return Response(encode(wire), media_type="application/json")


class ClientGone(Exception):
    """The client closed the connection before its reply was ready."""


async def unless_gone(request: Request, work: Awaitable[T], within: float | None = None) -> T:
    """The result of `work`, which is cancelled as soon as the client is gone (`ClientGone`).

    `within`: raises TimeoutError after so many seconds, and a task given as `work` goes on. The body must have been
    read: what comes after it is the end of the connection.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_wait_for_disconnect(request))
    done: set[asyncio.Future[Any]] = {leaving}
    try:
        done, _ = await asyncio.wait([working, leaving], timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left = leaving in done and not working.done()
        leaving.cancel()
        if left:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
    if left:
        raise ClientGone
    if not done:
        raise TimeoutError
    return working.result()


def _has_left(error: Exception) -> bool:
    """FastAPI reads the body, and makes a 400 of whatever goes wrong then."""
    return isinstance(error, (ClientGone, ClientDisconnect)) or isinstance(error.__cause__, ClientDisconnect)


async def _wait_for_disconnect(request: Request) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await request.receive()


def _error_reply(error: Exception, request: ApiRequest) -> Response:
    shown = error_for(error, request.parsed_body)
    if shown is None:
        host.log_error(f"OpenAI API: a defect in {request.scope['route'].path} ({request.id})")
        shown = InternalError()
    request.observation.error = shown
    return Response(
        encode(shown.body()),
        shown.status,
        {**request.headers_for_reply, **(shown.headers or {})},
        media_type="application/json",
    )


def _with_json_body(scope: Scope) -> Scope:
    """The body is JSON, whatever a client's Content-Type says (curl's says it is a form)."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": [*headers, (b"content-type", b"application/json")]}
