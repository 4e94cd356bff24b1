"""Running generation requests and sending the HTTP response: one JSON object, or a stream of events.

`open_renderer` is what all transports share: HTTP, WebSockets, and generations in the background.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import TypeVar

from starlette.responses import Response

from ..domain.people import Person
from ..generation.generation import Generation, prepare_generation
from ..generation.renderer import Renderer
from ..generation.request import GenerationRequest
from ..hosts.port import RunCancelled
from ..runtime import runtime
from .call import ApiCall
from .disconnect import cancel_on_disconnect
from .request import ApiRequest, json_response
from .streamer import EventStream

FIRST_EVENT_TIMEOUT = 5.0
"""Seconds that a response with a stream waits for the first event of its run.

An error before that event has its own HTTP status. After this time the stream begins without an event, so that
keep-alive comments can be sent while the LLM works.
"""


R = TypeVar("R", bound=Renderer)


async def open_renderer(
    stack: AsyncExitStack,
    requests: Sequence[GenerationRequest],
    person: Person,
    call: ApiCall,
    create_renderer: Callable[[Sequence[Generation]], R],
) -> R:
    """Prepare the generations of an admitted call and create their renderer. No run starts yet.

    `stack`: gets what has to be closed when the call ends, also where this coroutine is cancelled. `requests`: see
    `respond`. `call`: authenticated. Raises `StorageFailed`, and `InvalidRequest` for an image that cannot be
    downloaded.
    """
    first = requests[0]
    call.add_left_out_tools(first.tools.left_out)
    stored = None
    if first.uses_stored_conversation:
        stored = await stack.enter_async_context(runtime.conversations.open(person, first.model))
    generations = [
        await prepare_generation(request, person, call.caller.context, call.settings, call.record, stored=stored)
        for request in requests
    ]
    renderer = create_renderer(generations)
    stack.push_async_callback(renderer.aclose)
    return renderer


async def start_reply(renderer: Renderer) -> None:
    """Start the first run, and wait up to `FIRST_EVENT_TIMEOUT` for its first event.

    Raises what the run raises before that event.
    """
    starting = asyncio.ensure_future(renderer.generations[0].reply.start())
    done, _ = await asyncio.wait([starting], timeout=FIRST_EVENT_TIMEOUT)
    for started in done:
        # A client gets its stream also where its run has been cancelled: the renderer knows how to end it.
        with suppress(RunCancelled):
            started.result()


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
        opening = open_renderer(stack, requests, person, http_request, create_renderer)
        renderer = await cancel_on_disconnect(http_request, opening)
        if not first.stream:
            return json_response(await cancel_on_disconnect(http_request, renderer.render()))
        await cancel_on_disconnect(http_request, start_reply(renderer))
        events = renderer.events(live=settings.enable_streaming)
        return EventStream(events, renderer.error_events, stack.pop_all().aclose, record)
