"""`GET /metrics`."""

from starlette.responses import Response

from ...domain.people import Access
from ...http.request import ApiRequest
from ...http.routing import get
from .protocol import RESPONSE_CONTENT
from .serving import current_meters


@get(
    "/metrics",
    access=Access.ADMIN,
    setting="metrics",
    response_class=Response,
    openapi_extra={"responses": {"200": {"content": {"text/plain": RESPONSE_CONTENT}}}},
    summary="Metrics for Prometheus",
)
async def read_metrics(request: ApiRequest) -> Response:
    """Metrics in Prometheus' text format, for the Cat's API key and for admins, if the setting `metrics` is on."""
    content, content_type = (await current_meters(request.settings)).exposition()
    return Response(content, media_type=content_type)
