"""The paths below `/v1` that no route has."""

from ...errors import NotFound
from ...http.request import ApiRequest
from ...http.routing import unknown_paths


@unknown_paths("/v1")
async def bare_version(request: ApiRequest) -> None:
    """Not called, see `unknown_path`."""
    raise NotFound(request.method, request.url.path)


@unknown_paths("/v1/{path:path}")
async def unknown_path(request: ApiRequest) -> None:
    """Not called: `UnknownPathRoute` sends the error itself, for any method."""
    raise NotFound(request.method, request.url.path)
