"""Running generation requests and sending the HTTP response: one JSON object, or a stream of events."""

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
"""Seconds that a response with a stream waits for the first event of its run.

An error before that event has its own HTTP status. After this time the stream begins without an event, so that
keep-alive comments can be sent while the LLM works.
"""


async def respond(
    requests: Sequence[GenerationRequest],
    person: Person,
    http_request: ApiRequest,
    create_renderer: Callable[[Sequence[Generation]], Renderer],
) -> Response:
    """Run `requests` for `person`, one after the other, and render all replies in one response.

    `requests`: at least one; all with the same `model`, `stream` and `uses_stored_conversation`. Each takes a slot of
    the concurrency limit. Raises `Overloaded`, `RateLimitExceeded`, `InvalidRequest` for an image that cannot be
    downloaded, and what `Reply.deltas` raises.
    """
    first, settings, record = requests[0], http_request.settings, http_request.record
    record.model = first.model
    record.stream = first.stream
    async with AsyncExitStack() as stack:
        stack.callback(await http_request.admit(person, len(requests)))
        stored = None
        if first.uses_stored_conversation:
            opening = stack.enter_async_context(runtime.conversations.open(person, first.model))
            stored = await cancel_on_disconnect(http_request, opening)
        context = http_request.caller.context
        generations = [
            await cancel_on_disconnect(
                http_request, prepare_generation(request, person, context, settings, record, stored=stored)
            )
            for request in requests
        ]
        renderer = create_renderer(generations)
        stack.push_async_callback(renderer.aclose)
        if not first.stream:
            return json_response(await cancel_on_disconnect(http_request, renderer.render()))
        with suppress(TimeoutError):
            await cancel_on_disconnect(http_request, generations[0].reply.start(), timeout=FIRST_EVENT_TIMEOUT)
        events = renderer.events(live=settings.enable_streaming)
        return EventStream(events, renderer.error_events, stack.pop_all().aclose, record)
