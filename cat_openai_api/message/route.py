"""`POST /message`."""

from starlette.responses import Response

from ..hosts.port import Access
from ..routing import ApiRequest, json_reply, post, unless_gone
from .protocol import MessageReply, MessageRequest
from .serving import addressee, answer


@post("/message", access=Access.WRITE, response_model=MessageReply, summary="Send one message")
async def send_message(wanted: MessageRequest, request: ApiRequest) -> Response:
    """One message, one reply. The Cat keeps the conversation of each user."""
    settings = await request.settings()
    person = addressee(wanted, request, settings)
    leave = await request.admit(person)
    try:
        return json_reply(await unless_gone(request, answer(wanted, person, settings, request)))
    finally:
        leave()
