"""`POST /v1/chat/completions`."""

from functools import partial

from starlette.responses import Response

from ...access.end_user import resolve_end_user
from ...domain.people import Access
from ...http.request import ApiRequest
from ...http.respond import answer
from ...http.routing import post
from .protocol import ChatCompletion, ChatCompletionRequest
from .serving import Completion, parse_request


@post(
    "/v1/chat/completions",
    access=Access.WRITE,
    response_model=ChatCompletion,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Create a chat completion",
)
async def create_chat_completion(body: ChatCompletionRequest, request: ApiRequest) -> Response:
    """Ask the Cat. `messages` is the whole conversation; with `stream: true` the reply is a stream of events."""
    settings = await request.settings()
    person = resolve_end_user(request, body.user or body.safety_identifier, settings)
    request.record.stream = bool(body.stream)
    question = await parse_request(body, settings)
    return await answer(question, person, request, partial(Completion, body=body))
