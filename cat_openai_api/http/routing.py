"""Registering the plugin's routes: authentication, errors in OpenAI's format, the record of each request.

The function of a route is called only for a caller with the required permission and with a valid body. Exceptions
raised before it or in it become error responses here.

When the plugin is switched off and on, the Cat removes its modules from `sys.modules` but keeps its packages, and
`from package import module` then finds the old module. So the plugin imports names only, never modules.
"""

import sys
import typing
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from ..access.rate_limiter import DEFAULT_BUCKET
from ..domain.people import Access
from ..errors import ErrorReply, InternalError, NotFound, error_for
from ..hosts.current import OwnMethods, endpoint, watch_routes
from ..runtime import runtime
from ..telemetry.record import CLIENT_CLOSED_REQUEST
from ..wire.json import MAX_VALUES, encode
from .call import require_compatible_host
from .disconnect import is_disconnect
from .request import CONTEXT, ApiRequest, RequestContext
from .websocket import MessageHandler, WebSocketOptions, serve_websocket

PREFIX = "/custom"

VERSION = f"{PREFIX}/v1"

LEFT_TO_OTHERS = "openai_api_left_to_others"
"""Key of the scope of a request that a route of this plugin leaves to other routes."""


class ApiRoute(APIRoute):
    """A route that anybody may call. A HEAD request is handled as GET; the server leaves the body out.

    `access`: the required permission; None where no credentials are needed. `bucket`: of the rate limit. `max_values`:
    of the body, see `decode`. `setting`: the name of the setting that switches the route on; while it is off, requests
    are left to another route that matches them, if there is one. `id_prefix`: with which the ids in the path begin; the
    path does not exist for another method and an id without it, so that a client that looks for an endpoint of that
    name is told so. `yields`: whether every other route that has the path comes first. `websocket`: how WebSockets at
    the path of the route are served; None if they are not.

    Neither Cat has a decorator for WebSockets. As a part of a route, a WebSocket comes and goes with the plugin.
    """

    access: ClassVar[Access | None] = None
    bucket: ClassVar[str] = DEFAULT_BUCKET
    max_values: ClassVar[int] = MAX_VALUES
    setting: ClassVar[str | None] = None
    id_prefix: ClassVar[str] = ""
    yields: ClassVar[bool] = False
    websocket: ClassVar[WebSocketOptions | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.methods = OwnMethods(self.methods or ())

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match nothing after the plugin was switched off or replaced, and what the plugin leaves to others.

        Cats before 2.0.23 leave its routes in the application with current versions of FastAPI.
        """
        if LEFT_TO_OTHERS in scope or getattr(sys.modules.get(__name__), "ApiRoute", None) is not ApiRoute:
            return Match.NONE, {}
        if scope["type"] == "websocket" and self.websocket:
            return super().matches({**scope, "type": "http", "method": next(iter(self.methods or ()))})
        match, child_scope = super().matches(_as_get(scope))
        ids = child_scope.get("path_params", {}).values()
        if not self.yields and "" in ids:
            # The path without its last slash is another route's.
            return Match.NONE, {}
        if match is Match.PARTIAL and not all(str(id).startswith(self.id_prefix) for id in ids):
            return Match.NONE, {}
        return match, child_scope

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or leave it to a route of another plugin.

        The record of a request begins and ends here.
        """
        if scope["type"] == "websocket" and self.websocket:
            await serve_websocket({**scope, "route": self}, receive, send, self.websocket)
            return
        if self.setting and await self._is_for_others(self.setting, scope):
            await scope["app"].router(_for_others(scope), receive, send)
            return
        context = RequestContext.create(self.path)
        scope = {**_as_get(scope), CONTEXT: context}
        send = context.wrap(send)
        try:
            await super().handle(scope, receive, send)
        except HTTPException as error:
            # Starlette raises it for an unsupported method, before the handler below is called.
            await error_response(error, ApiRequest(scope, receive))(scope, receive, send)
        finally:
            if self.access is Access.WRITE and not context.record.is_background:
                context.record.end(runtime.host, runtime.metrics.meters)

    async def _is_for_others(self, setting: str, scope: Scope) -> bool:
        if runtime.host.problem or getattr(await runtime.host.settings(), setting):
            return False
        return any(route.matches(_for_others(scope))[0] is Match.FULL for route in runtime.host.routes())

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_api_request(request: Request) -> Response:
            api_request = ApiRequest(_with_json_body(request.scope), request.receive)
            try:
                if self.access is not None:
                    require_compatible_host()
                    await api_request.authenticate(self.access)
                if self.access is Access.WRITE:
                    await api_request.add_rate_limit_headers()
                return await handle(api_request)
            except Exception as error:
                if is_disconnect(error):
                    return Response(status_code=CLIENT_CLOSED_REQUEST)
                return error_response(error, api_request)

        return handle_api_request


class UnknownPathRoute(ApiRoute):
    """The paths below its own that no other route of the application has, for any method.

    A path with a slash at its end, or with two after the version, is handled as the path without: base URLs of clients
    end with a slash or not.
    """

    yields = True

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope.get(LOOKING_FOR_OTHERS) or scope["type"] != "http":
            return Match.NONE, {}
        match, child_scope = super().matches({**scope, "method": "GET"})
        if match is Match.FULL and _has_other_route(scope):
            return Match.NONE, {}
        return match, child_scope

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removesuffix("/").replace(f"{VERSION}//", f"{VERSION}/", 1)
        if path not in (scope["path"], VERSION) and CORRECTED not in scope:
            corrected = {"path": path, "raw_path": quote(path).encode(), CORRECTED: True}
            await scope["app"].router({**_unrouted(scope), **corrected}, receive, send)
            return
        context = RequestContext.create(self.path)
        request = ApiRequest({**scope, CONTEXT: context}, receive)
        response = error_response(NotFound(scope["method"], path), request)
        await response(request.scope, receive, context.wrap(send))


LOOKING_FOR_OTHERS = "openai_api_looking_for_others"
"""Key in the ASGI scope with which the routes of the application are searched for one that has the path."""

CORRECTED = "openai_api_corrected"
"""Key in the ASGI scope of a request that is handled as one with another path."""

NOBODYS_PATH = "/openai-api/nobody/has/this/path"


def _has_other_route(scope: Scope) -> bool:
    """Whether a route of the application other than an `UnknownPathRoute` has the path. Those that have every path do
    not count: a front end at the root, say."""
    scope = {**scope, LOOKING_FOR_OTHERS: True}
    nobodys = {**scope, "path": NOBODYS_PATH}
    return any(
        route.matches({**scope})[0] is not Match.NONE and route.matches({**nobodys})[0] is Match.NONE
        for route in scope["app"].router.routes
    )


def _as_get(scope: Scope) -> Scope:
    return {**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope


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
    bucket: str = DEFAULT_BUCKET,
    max_values: int = MAX_VALUES,
    setting: str | None = None,
    id_prefix: str = "",
    base: type[ApiRoute] | None = None,
    create_handler: Callable[[], MessageHandler] | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that registers a function as a route.

    `register`: a method of the Cat's decorator `endpoint`. `access`, `bucket`, `max_values`, `setting`, `id_prefix`:
    see `ApiRoute`. `base`: the class of the route where it is none of `_ROUTES`. `create_handler`: makes the handler of
    a WebSocket, if the route has any. `options`: arguments of FastAPI's decorators.
    """
    base = base or _ROUTES[access]
    websocket = WebSocketOptions(create_handler, bucket, max_values) if create_handler else None
    members = {
        "bucket": bucket,
        "max_values": max_values,
        "setting": setting,
        "id_prefix": id_prefix,
        "websocket": websocket,
    }
    route_class = type(base.__name__, (base,), members)
    decorate = register(
        path,
        prefix=PREFIX,
        tags=["OpenAI API"],
        route_class_override=route_class,
        responses={**options.pop("responses", {}), "4XX": {"model": ErrorReply}, "5XX": {"model": ErrorReply}},
        **options,
    )

    def decorator(function: Callable[..., Any]) -> Any:
        route = decorate(function)
        _watch_route(route)
        return route

    return decorator


def _check_routes() -> None:
    """Have the routes checked for clashes with those of this plugin. May be called in any thread."""
    loop = runtime.host.event_loop()
    if loop:
        loop.call_soon_threadsafe(runtime.route_clashes.check, runtime.host.routes, ApiRoute, context=Context())


_watch_route = watch_routes(_check_routes)


def _clear_caches() -> None:
    """Clear the caches of FastAPI and of typing.

    After the plugin was switched off and on they refer to routes, models and types of its former modules, which could
    not be garbage-collected.
    """
    modules = [module for name, module in [*sys.modules.items()] if name.startswith("fastapi.")]
    members = [member for module in modules for member in vars(module).values()]
    for clear in [getattr(member, "cache_clear", None) for member in members] + getattr(typing, "_cleanups", []):
        if clear:
            clear()


_clear_caches()


get = partial(_route, endpoint.get)
unknown_paths = partial(get, access=None, base=UnknownPathRoute, include_in_schema=False)
post = partial(_route, endpoint.post)
delete = partial(_route, endpoint.delete)


def error_response(error: Exception, request: ApiRequest) -> Response:
    """The response for an exception. An unexpected one is logged; called in an `except` block, with its traceback."""
    api_error = error_for(error, request.parsed_body)
    if api_error is None:
        runtime.host.log_error(
            f"OpenAI API: internal error in {request.scope['route'].path} ({request.record.request_id})"
        )
        api_error = InternalError()
    request.record.error = api_error
    return Response(
        encode(api_error.body()),
        api_error.status,
        api_error.headers,
        media_type="application/json",
    )


def _for_others(scope: Scope) -> Scope:
    return {**_unrouted(scope), LEFT_TO_OTHERS: True}


def _unrouted(scope: Scope) -> Scope:
    """The scope without what matching a route has added to it: `matches` of Starlette and FastAPI."""
    added = ("endpoint", "path_params", "route", "fastapi")
    return {key: value for key, value in scope.items() if key not in added}


def _with_json_body(scope: Scope) -> Scope:
    """Have FastAPI parse the body as JSON, whatever its Content-Type: by default curl sends that of a form."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": [*headers, (b"content-type", b"application/json")]}
