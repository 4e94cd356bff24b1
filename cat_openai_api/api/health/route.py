"""`GET /health`."""

from ...http.routing import get
from .protocol import Health
from .serving import current_health


@get("/health", access=None, response_model=Health, summary="Health of the plugin")
async def health() -> Health:
    """The health of the plugin and its features. No credentials are needed."""
    return await current_health()
