"""`POST /message`."""

from starlette.responses import Response

from ...domain.model_ids import CAT_MODEL
from ...domain.people import Access
from ...generation.model_names import resolve_model
from ...http.disconnect import cancel_on_disconnect
from ...http.request import ApiRequest, json_response
from ...http.routing import post
from .protocol import MessageReply, MessageRequest
from .serving import check_user_id, reply_to_message


@post("/message", access=Access.WRITE, response_model=MessageReply, summary="Send one message")
async def send_message(body: MessageRequest, request: ApiRequest) -> Response:
    """Send a message and receive the reply. The Cat stores the conversation of each person."""
    check_user_id(body, request.caller)
    resolve_model(CAT_MODEL, request.settings)
    person = request.end_user(body.user_id)
    release = await request.admit(person)
    try:
        reply = reply_to_message(body, person, request.caller.context, request.settings, request.record)
        return json_response(await cancel_on_disconnect(request, reply))
    finally:
        release()
