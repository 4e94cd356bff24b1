"""`GET /health`."""

from ..routing import get
from . import serving
from .protocol import Health


@get("/health", access=None, response_model=Health, summary="Health of the plugin")
async def health() -> Health:
    """Open to all; tells nothing that is secret."""
    return await serving.health()
