"""`POST /v1/responses`, and the routes for stored and active responses."""

from functools import partial
from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response as HttpResponse

from ...domain.people import Access
from ...http.request import ApiRequest, json_response
from ...http.respond import respond
from ...http.routing import delete, get, post
from ...wire.models import MAX_NAME_LENGTH
from .background import BackgroundResponse, event_stream, stream_again
from .protocol import DeletedResponse, InputItemList, ResponseObject, ResponseRequest
from .serving import ResponseRenderer, parse_request
from .stored import cancel, list_input, retrieve
from .stored import delete as delete_stored
from .websocket import ResponsesHandler

RESPONSE_PATH = "/v1/responses/{response_id}"

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
    parsed = await parse_request(body, person, request.settings)
    if body.background:
        run = BackgroundResponse(parsed, request)
        queued = await run.start()
        return event_stream(run.read(0), request) if body.stream else json_response(queued)
    return await respond([parsed.generation_request], person, request, partial(ResponseRenderer, parsed=parsed))


@get(RESPONSE_PATH, access=Access.READ, response_model=ResponseObject, summary="Retrieve a response")
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


@delete(RESPONSE_PATH, access=Access.WRITE, response_model=DeletedResponse, summary="Delete a response")
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
