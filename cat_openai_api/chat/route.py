"""`POST /v1/chat/completions`."""

from contextlib import suppress

from starlette.responses import Response

from ..admission import person_meant
from ..hosts.port import Access
from ..routing import ApiRequest, json_reply, post, unless_gone
from ..streamer import EventStream
from .protocol import ChatCompletion, ChatCompletionRequest
from .serving import start_completion

HOLD_SECONDS = 5.0
"""A stream begins with the Cat's first words, so that what fails before them keeps its HTTP status; but it
begins after this time at the latest, so that comments keep the line open while the Cat thinks."""


@post(
    "/v1/chat/completions",
    access=Access.WRITE,
    response_model=ChatCompletion,
    summary="Create a chat completion",
)
async def create_chat_completion(wanted: ChatCompletionRequest, request: ApiRequest) -> Response:
    """Ask the Cat. `messages` is the whole conversation; with `stream: true` the reply is a stream of events."""
    settings = await request.settings()
    person = person_meant(request.caller, wanted.user or wanted.safety_identifier)
    completion = start_completion(wanted, person, settings, request)
    await request.admit(person)
    if not wanted.stream:
        try:
            return json_reply(await unless_gone(request, completion.whole()))
        finally:
            await completion.aclose()
    try:
        with suppress(TimeoutError):
            await unless_gone(request, completion.reply.begin(), within=HOLD_SECONDS)
    except BaseException:
        await completion.aclose()
        raise
    return EventStream(completion.chunks(live=settings.enable_streaming), completion.aclose)
