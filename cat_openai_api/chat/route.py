"""`POST /v1/chat/completions`."""

from contextlib import AsyncExitStack, suppress

from starlette.responses import Response

from ..admission import person_meant
from ..hosts.port import Access
from ..kept import kept_conversation
from ..routing import ApiRequest, json_reply, post, unless_gone
from ..streamer import EventStream
from .protocol import ChatCompletion, ChatCompletionRequest
from .serving import start_completion, understand

HOLD_SECONDS = 5.0
"""A stream begins with the Cat's first words, so that what fails before them keeps its HTTP status; but it
begins after this time at the latest, so that comments keep the line open while the Cat thinks."""


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
    request.observation.stream = bool(wanted.stream)
    person = person_meant(request, wanted.user or wanted.safety_identifier, settings)
    question = await understand(wanted, settings)
    request.observation.model = question.model
    async with AsyncExitStack() as closing:
        closing.callback(await request.admit(person))
        kept = None
        if question.is_kept:
            turn = closing.enter_async_context(kept_conversation(person, question.model))
            kept = await unless_gone(request, turn)
        starting = start_completion(question, person, settings, request, kept)
        completion = await unless_gone(request, starting)
        closing.push_async_callback(completion.aclose)
        if not wanted.stream:
            return json_reply(await unless_gone(request, completion.whole()))
        with suppress(TimeoutError):
            await unless_gone(request, completion.reply.begin(), within=HOLD_SECONDS)
        chunks = completion.chunks(live=settings.enable_streaming)
        return EventStream(chunks, closing.pop_all().aclose, request.observation)
