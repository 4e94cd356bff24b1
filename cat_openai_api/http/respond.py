"""From generation requests to the HTTP response: whole, or a stream of events."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress

from starlette.responses import Response

from ..domain.people import Person
from ..generation.generation import Generation, prepare_generation
from ..generation.renderer import Renderer
from ..generation.request import GenerationRequest
from ..runtime import runtime
from .disconnect import cancel_on_disconnect
from .request import ApiRequest, json_response
from .streamer import EventStream

FIRST_EVENT_TIMEOUT = 5.0
"""Seconds. A stream begins with the first event of its run, so that what fails before it keeps its HTTP status; but
it begins after this time at the latest, so that comments keep the connection open while the Cat thinks."""


async def respond(
    requests: Sequence[GenerationRequest],
    person: Person,
    http_request: ApiRequest,
    create_renderer: Callable[[Sequence[Generation]], Renderer],
) -> Response:
    """Generate for `person`, one after the other, and render all of it in one response.

    `requests`: at least one; they agree in their model, in `stream` and in what they do with a stored conversation.
    Each counts for the concurrency limit. Raises `Overloaded`, `RateLimitExceeded`, `InvalidRequest` for an image
    that cannot be fetched, and what `Reply.deltas` raises.
    """
    first, settings, record = requests[0], http_request.settings, http_request.record
    record.model = first.model
    record.stream = first.stream
    async with AsyncExitStack() as closing:
        closing.callback(await http_request.admit(person, len(requests)))
        stored = None
        if first.uses_stored_conversation:
            opening = closing.enter_async_context(runtime.conversations.open(person, first.model))
            stored = await cancel_on_disconnect(http_request, opening)
        context = http_request.caller.context
        generations = [
            await cancel_on_disconnect(
                http_request, prepare_generation(request, person, context, settings, record, stored=stored)
            )
            for request in requests
        ]
        renderer = create_renderer(generations)
        closing.push_async_callback(renderer.aclose)
        if not first.stream:
            return json_response(await cancel_on_disconnect(http_request, renderer.whole()))
        with suppress(TimeoutError):
            await cancel_on_disconnect(http_request, generations[0].reply.start(), timeout=FIRST_EVENT_TIMEOUT)
        events = renderer.events(live=settings.enable_streaming)
        return EventStream(events, renderer.failed, closing.pop_all().aclose, record)
