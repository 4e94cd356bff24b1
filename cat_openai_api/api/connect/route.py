"""`GET /connect`."""

from starlette.responses import HTMLResponse

from ...http.routing import get
from .serving import connect_page


@get("/connect", access=None, response_class=HTMLResponse, include_in_schema=False)
async def connect() -> HTMLResponse:
    """A page to try the API out. No credentials are needed, as the page itself contains no data of the Cat."""
    page = connect_page()
    return HTMLResponse(page.content, headers=page.headers)
