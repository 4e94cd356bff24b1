"""The plugin's routes: who may call, how large a body may be, errors in OpenAI's shape, the record of each request.

A route's function runs only for a caller that is allowed to call it, with a valid body. Whatever is raised before it
or in it becomes an error response here.

Modules of a plugin that was switched off and on must not meet those of before. The Cat forgets the modules but keeps
their packages, and `from package import module` finds the old module there: import names, not modules.
"""

import sys
import typing
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ClassVar

from fastapi.routing import APIRoute, APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from ..access.rate_limiter import BUCKET
from ..domain.people import Access
from ..errors import ErrorReply, HostIncompatible, InternalError, error_for
from ..hosts.current import endpoint
from ..runtime import runtime
from ..telemetry.record import CLIENT_CLOSED_REQUEST
from ..wire.json import MAX_VALUES, encode
from .disconnect import is_disconnect
from .request import CONTEXT, ApiRequest, RequestContext

PREFIX = "/custom"


NOTHING_TO_START = APIRouter().lifespan_context
"""In place of a router's own lifespan, which holds the router and its routes."""


class ApiRoute(APIRoute):
    """A route that anybody may call.

    `bucket`: requests of each are counted apart. `max_values`: of a body, see `decode`.
    """

    access: ClassVar[Access | None] = None
    bucket: ClassVar[str] = BUCKET
    max_values: ClassVar[int] = MAX_VALUES

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Routes of a plugin that was switched off or replaced match nothing.

        Cats before 2.0.23 leave them in the application under current FastAPI versions.
        """
        if getattr(sys.modules.get(__name__), "ApiRoute", None) is not ApiRoute:
            return Match.NONE, {}
        return super().matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Its record begins and ends here, whichever way the request ends."""
        context = RequestContext.create(self.path)
        scope = {**scope, CONTEXT: context}
        send = context.wrap(send)
        try:
            await super().handle(scope, receive, send)
        except HTTPException as error:
            # Starlette raises it for the wrong method, before the handler below is called.
            await error_response(error, ApiRequest(scope, receive))(scope, receive, send)
        finally:
            if self.access is Access.WRITE:
                context.record.end(runtime.host, runtime.metrics.meters)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_api_request(request: Request) -> Response:
            api_request = ApiRequest(_with_json_body(request.scope), request.receive)
            try:
                if self.access is not None:
                    _require_compatible_host()
                    await api_request.authenticate(self.access)
                if self.access is Access.WRITE:
                    await api_request.add_rate_limit_headers()
                return await handle(api_request)
            except Exception as error:
                if is_disconnect(error):
                    return Response(status_code=CLIENT_CLOSED_REQUEST)
                return error_response(error, api_request)

        return handle_api_request


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
    max_values: int = MAX_VALUES,
    **options: Any,
) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a function as a route; `bucket`, `max_values`: see `ApiRoute`; `options` are FastAPI's."""
    base = _ROUTES[access]
    route_class = type(base.__name__, (base,), {"bucket": bucket, "max_values": max_values})
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


def _require_compatible_host() -> None:
    """Raises `HostIncompatible`."""
    if runtime.host.problem:
        raise HostIncompatible(runtime.host.problem)


def error_response(error: Exception, request: ApiRequest) -> Response:
    shown = error_for(error, request.parsed_body)
    if shown is None:
        runtime.host.log_error(f"OpenAI API: a defect in {request.scope['route'].path} ({request.record.request_id})")
        shown = InternalError()
    request.record.error = shown
    return Response(
        encode(shown.body()),
        shown.status,
        shown.headers,
        media_type="application/json",
    )


def _with_json_body(scope: Scope) -> Scope:
    """The body is JSON, whatever a client's Content-Type says (curl's says it is a form)."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": [*headers, (b"content-type", b"application/json")]}
