"""`POST /v1/chat/completions`."""

from functools import partial

from starlette.responses import Response

from ...domain.people import Access
from ...http.request import ApiRequest
from ...http.respond import respond
from ...http.routing import post
from .protocol import ChatCompletion, ChatCompletionRequest
from .serving import ChatRenderer, parse_request


@post(
    "/v1/chat/completions",
    access=Access.WRITE,
    response_model=ChatCompletion,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Create a chat completion",
)
async def create_chat_completion(body: ChatCompletionRequest, request: ApiRequest) -> Response:
    """Generate the reply to `messages`, which is the whole conversation.

    With `stream: true` the response is a stream of server-sent events.
    """
    person = request.end_user(body.user or body.safety_identifier)
    request.record.stream = bool(body.stream)
    generation_request = await parse_request(body, request.settings)
    return await respond([generation_request], person, request, partial(ChatRenderer, body=body))
