"""From a generation request to the HTTP response: whole, or a stream."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress

from starlette.responses import Response

from ..conversation.history import open_conversation
from ..domain.people import Person
from ..generation.generation import Generation, _begin
from ..generation.renderer import Renderer
from ..generation.request import GenerationRequest
from .disconnect import cancel_on_disconnect
from .request import ApiRequest, json_response
from .streamer import EventStream

FIRST_EVENT_TIMEOUT = 5.0
"""A stream begins with the Cat's first words, so that what fails before them keeps its HTTP status; but it
begins after this time at the latest, so that comments keep the line open while the Cat thinks."""


async def answer(
    question: GenerationRequest, person: Person, request: ApiRequest, form: Callable[[Generation], Renderer]
) -> Response:
    """Ask the Cat for `person`; the client gets the reply in the form that it asked for.

    Raises `Overloaded`, `RateLimitExceeded`, `InvalidRequest` for an image that cannot be fetched, and what
    `Reply.deltas` raises.
    """
    return await answer_all([question], person, request, lambda generations: form(generations[0]))


async def answer_all(
    questions: Sequence[GenerationRequest],
    person: Person,
    request: ApiRequest,
    form: Callable[[Sequence[Generation]], Renderer],
) -> Response:
    """As `answer`, for questions to one model that get one answer, whole or as a stream all of them."""
    settings = await request.settings()
    question = questions[0]
    request.record.model = question.model
    request.record.stream = question.stream
    async with AsyncExitStack() as closing:
        closing.callback(await request.admit(person))
        kept = None
        if question.is_stored:
            turn = closing.enter_async_context(open_conversation(person, question.model))
            kept = await cancel_on_disconnect(request, turn)
        generations = [
            await cancel_on_disconnect(request, _begin(question, person, settings, request, kept))
            for question in questions
        ]
        reply = form(generations)
        closing.push_async_callback(reply.aclose)
        if not question.stream:
            return json_response(await cancel_on_disconnect(request, reply.whole()))
        with suppress(TimeoutError):
            await cancel_on_disconnect(request, generations[0].reply.begin(), within=FIRST_EVENT_TIMEOUT)
        events = reply.events(live=settings.enable_streaming)
        return EventStream(events, reply.failed, closing.pop_all().aclose, request.record)
