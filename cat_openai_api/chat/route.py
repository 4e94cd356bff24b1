"""`POST /v1/chat/completions`."""

from functools import partial

from starlette.responses import Response

from ..admission import person_meant
from ..answer import answer
from ..hosts.port import Access
from ..routing import ApiRequest, post
from .protocol import ChatCompletion, ChatCompletionRequest
from .serving import Completion, understand


@post(
    "/v1/chat/completions",
    access=Access.WRITE,
    response_model=ChatCompletion,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Create a chat completion",
)
async def create_chat_completion(wanted: ChatCompletionRequest, request: ApiRequest) -> Response:
    """Ask the Cat. `messages` is the whole conversation; with `stream: true` the reply is a stream of events."""
    settings = await request.settings()
    person = person_meant(request, wanted.user or wanted.safety_identifier, settings)
    request.observation.stream = bool(wanted.stream)
    question = await understand(wanted, settings)
    return await answer(question, person, request, partial(Completion, wanted=wanted))
