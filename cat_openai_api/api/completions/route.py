"""`POST /v1/completions`."""

from functools import partial

from starlette.responses import Response

from ...domain.people import Access
from ...http.request import ApiRequest
from ...http.respond import respond
from ...http.routing import post
from .protocol import Completion, CompletionRequest
from .serving import CompletionRenderer, parse_request


@post(
    "/v1/completions",
    access=Access.WRITE,
    response_model=Completion,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Create a completion",
)
async def create_completion(body: CompletionRequest, request: ApiRequest) -> Response:
    """Generate completions (OpenAI's older API). Each prompt is a user's message in a conversation of its own."""
    person = request.end_user(body.user)
    request.record.stream = bool(body.stream)
    generation_requests = await parse_request(body, request.settings)
    return await respond(generation_requests, person, request, partial(CompletionRenderer, body=body))
