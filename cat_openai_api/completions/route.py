"""`POST /v1/completions`."""

from functools import partial

from starlette.responses import Response

from ..admission import person_meant
from ..answer import answer_all
from ..hosts.port import Access
from ..routing import ApiRequest, post
from .protocol import Completion, CompletionRequest
from .serving import Completions, understand


@post(
    "/v1/completions",
    access=Access.WRITE,
    response_model=Completion,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Create a completion",
)
async def create_completion(wanted: CompletionRequest, request: ApiRequest) -> Response:
    """Ask the Cat, in OpenAI's older form: each prompt is a message of the user's, in a conversation of its own."""
    settings = await request.settings()
    person = person_meant(request, wanted.user, settings)
    request.observation.stream = bool(wanted.stream)
    questions = await understand(wanted, settings)
    return await answer_all(questions, person, request, partial(Completions, wanted=wanted))
