"""`POST /message`."""

from starlette.responses import Response

from ...domain.people import Access
from ...http.disconnect import cancel_on_disconnect
from ...http.request import ApiRequest, json_response
from ...http.routing import post
from .protocol import MessageReply, MessageRequest
from .serving import addressee, answer


@post("/message", access=Access.WRITE, response_model=MessageReply, summary="Send one message")
async def send_message(body: MessageRequest, request: ApiRequest) -> Response:
    """One message, one reply. The Cat keeps the conversation of each user."""
    settings = await request.settings()
    person = addressee(body, request, settings)
    leave = await request.admit(person)
    try:
        return json_response(await cancel_on_disconnect(request, answer(body, person, settings, request)))
    finally:
        leave()
