"""`GET /health`."""

from ...http.routing import get
from .protocol import Health
from .serving import current_health


@get("/health", access=None, response_model=Health, summary="Health of the plugin")
async def health() -> Health:
    """Open to all; tells nothing that is secret."""
    return await current_health()
