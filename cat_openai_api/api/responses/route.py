"""`POST /v1/responses`, and the routes for stored and active responses."""

from functools import partial
from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response as HttpResponse

from ...domain.people import Access
from ...http.disconnect import cancel_on_disconnect
from ...http.request import ApiRequest, json_response
from ...http.respond import respond
from ...http.routing import delete, get, post
from ...runtime import runtime
from ...wire.models import MAX_NAME_LENGTH
from .background import BackgroundResponse, event_stream, stream_again
from .compaction import CompactionRenderer, compaction_request
from .input import COMPACTION, load_input
from .input_tokens import count_input_tokens, input_texts
from .protocol import (
    CompactedResponse,
    CompactRequest,
    DeletedResponse,
    InputItemList,
    InputTokens,
    InputTokensRequest,
    ResponseObject,
    ResponseRequest,
)
from .serving import ResponseRenderer, parse_request
from .stored import cancel, list_input, retrieve
from .stored import delete as delete_stored
from .websocket import ResponsesHandler

RESPONSE_PATH = "/v1/responses/{response_id}"

RESPONSE_ID_PREFIX = "resp_"

EndUser = Annotated[
    str | None, Query(max_length=MAX_NAME_LENGTH, description="As in the request that created the response.")
]


@post(
    "/v1/responses",
    access=Access.WRITE,
    response_model=ResponseObject,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    create_handler=ResponsesHandler,
    summary="Create a response",
)
async def create_response(body: ResponseRequest, request: ApiRequest) -> HttpResponse:
    """Generate the reply to `input`, which continues the conversation of `previous_response_id`.

    With `stream: true` the response is a stream of server-sent events. With `background: true` it is generated without
    the client, who retrieves it.

    The same path serves WebSockets, with a message `{"type": "response.create", …}` for each request.
    """
    person = request.end_user(body.user or body.safety_identifier)
    request.record.stream = bool(body.stream)
    parsed = await parse_request(body, person, request.settings, request.caller.person)
    if body.background:
        run = BackgroundResponse(parsed, request)
        queued = await run.start()
        return event_stream(run.read(0), request) if body.stream else json_response(queued)
    return await respond([parsed.generation_request], person, request, partial(ResponseRenderer, parsed=parsed))


@post(
    "/v1/responses/input_tokens",
    access=Access.WRITE,
    response_model=InputTokens,
    summary="Count the tokens of an input",
)
async def count_tokens(body: InputTokensRequest, request: ApiRequest) -> HttpResponse:
    """Count the tokens of what the client sends for a response. The Cat's own prompt and images are not counted."""
    person = request.end_user(body.user or body.safety_identifier)
    texts = await input_texts(body, person, request.settings, request.caller.person)
    release = await request.admit(person)
    try:
        count = await cancel_on_disconnect(request, count_input_tokens(texts))
    finally:
        release()
    return json_response(InputTokens(input_tokens=count))


@post(
    "/v1/responses/compact",
    access=Access.WRITE,
    response_model=CompactedResponse,
    summary="Compact a conversation",
)
async def compact_conversation(body: CompactRequest, request: ApiRequest) -> HttpResponse:
    """Replace the older part of a conversation with a summary by the Cat's LLM, which only this API can read.

    Send the items of `output` in the place of the conversation.
    """
    person = request.end_user(body.user or body.safety_identifier)
    conversation = await load_input(body, person, request.caller.person)
    generation_request = await compaction_request(body, conversation, request.settings, stream=False)
    seal = await runtime.sealing.seal(person, COMPACTION)
    renderer = partial(CompactionRenderer, conversation=conversation, seal=seal)
    return await respond([generation_request], person, request, renderer)


@get(
    RESPONSE_PATH,
    access=Access.READ,
    id_prefix=RESPONSE_ID_PREFIX,
    response_model=ResponseObject,
    summary="Retrieve a response",
)
async def retrieve_response(
    response_id: str,
    request: ApiRequest,
    *,
    stream: Annotated[bool, Query(description="Of a response in the background: its events.")] = False,
    starting_after: Annotated[
        int | None, Query(ge=0, description="With stream: the `sequence_number` of the last event that is left out.")
    ] = None,
    user: EndUser = None,
) -> HttpResponse:
    """Retrieve a stored response, or an active one with its output up to now.

    With `stream=true` it is a stream of all events of a response in the background, also while it is generated.
    """
    if stream:
        first = 0 if starting_after is None else starting_after + 1
        return event_stream(await stream_again(request.end_user(user), response_id, first), request)
    return json_response(await retrieve(request.end_user(user), response_id))


@delete(
    RESPONSE_PATH,
    access=Access.WRITE,
    id_prefix=RESPONSE_ID_PREFIX,
    response_model=DeletedResponse,
    summary="Delete a response",
)
async def delete_response(response_id: str, request: ApiRequest, user: EndUser = None) -> HttpResponse:
    """Delete a stored response. The Cat's long-term memory does not change."""
    return json_response(await delete_stored(request.end_user(user), response_id))


@post(f"{RESPONSE_PATH}/cancel", access=Access.WRITE, response_model=ResponseObject, summary="Cancel a response")
async def cancel_response(response_id: str, request: ApiRequest, user: EndUser = None) -> HttpResponse:
    """Cancel a response that is being generated."""
    return json_response(await cancel(request.end_user(user), response_id))


@get(f"{RESPONSE_PATH}/input_items", access=Access.READ, response_model=InputItemList, summary="List input items")
async def list_input_items(
    response_id: str,
    request: ApiRequest,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(max_length=MAX_NAME_LENGTH)] = None,
    user: EndUser = None,
) -> InputItemList:
    """List the items that a response was generated from, by default the newest first."""
    return await list_input(request.end_user(user), response_id, limit=limit, order=order, after=after)
