"""`POST /v1/completions`."""

from functools import partial

from starlette.responses import Response

from ...access.end_user import resolve_end_user
from ...domain.people import Access
from ...http.request import ApiRequest
from ...http.respond import answer_all
from ...http.routing import post
from .protocol import Completion, CompletionRequest
from .serving import Completions, parse_request


@post(
    "/v1/completions",
    access=Access.WRITE,
    response_model=Completion,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Create a completion",
)
async def create_completion(body: CompletionRequest, request: ApiRequest) -> Response:
    """Ask the Cat, in OpenAI's older form: each prompt is a message of the user's, in a conversation of its own."""
    settings = await request.settings()
    person = resolve_end_user(request, body.user, settings)
    request.record.stream = bool(body.stream)
    questions = await parse_request(body, settings)
    return await answer_all(questions, person, request, partial(Completions, body=body))
