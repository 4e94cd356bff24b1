"""`POST /message`."""

from starlette.responses import Response

from ...domain.people import Access
from ...http.disconnect import cancel_on_disconnect
from ...http.request import ApiRequest, json_response
from ...http.routing import post
from .protocol import MessageReply, MessageRequest
from .serving import answer_message, check_user_id


@post("/message", access=Access.WRITE, response_model=MessageReply, summary="Send one message")
async def send_message(body: MessageRequest, request: ApiRequest) -> Response:
    """One message, one reply. The Cat keeps the conversation of each user."""
    check_user_id(body, request.caller)
    person = request.end_user(body.user_id)
    release = await request.admit(person)
    try:
        answering = answer_message(body, person, request.caller.context, request.settings, request.record)
        return json_response(await cancel_on_disconnect(request, answering))
    finally:
        release()
