"""`POST /v1/responses`, and the responses that are kept below it."""

from functools import partial
from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response as HttpResponse

from ...domain.people import Access
from ...errors import invalid
from ...http.request import ApiRequest, json_response
from ...http.respond import respond
from ...http.routing import delete, get, post
from ...wire.models import MAX_NAME_LENGTH
from .protocol import DeletedResponse, InputItemList, ResponseObject, ResponseRequest
from .serving import ResponseRenderer, parse_request
from .stored import cancel, list_input, retrieve
from .stored import delete as delete_stored

ONE = "/v1/responses/{response_id}"

EndUser = Annotated[str | None, Query(max_length=MAX_NAME_LENGTH, description="As in the request that made it.")]


@post(
    "/v1/responses",
    access=Access.WRITE,
    response_model=ResponseObject,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Create a response",
)
async def create_response(body: ResponseRequest, request: ApiRequest) -> HttpResponse:
    """Ask the Cat. `input` goes on from `previous_response_id`; with `stream: true` the reply is a stream of
    events."""
    person = request.end_user(body.user or body.safety_identifier)
    request.record.stream = bool(body.stream)
    parsed = await parse_request(body, person, request.settings)
    return await respond([parsed.generation_request], person, request, partial(ResponseRenderer, parsed=parsed))


@get(ONE, access=Access.READ, response_model=ResponseObject, summary="Retrieve a response")
async def retrieve_response(
    response_id: str,
    request: ApiRequest,
    *,
    stream: Annotated[bool, Query(description="Not supported: a stream is had where it is asked for.")] = False,
    user: EndUser = None,
) -> HttpResponse:
    """One that is kept, or still under way."""
    if stream:
        raise invalid("stream", "not supported by this API; leave it out", "unsupported_parameter")
    return json_response(await retrieve(request.end_user(user), response_id))


@delete(ONE, access=Access.WRITE, response_model=DeletedResponse, summary="Delete a response")
async def delete_response(response_id: str, request: ApiRequest, user: EndUser = None) -> HttpResponse:
    """What was said in it is forgotten here; what the Cat made of it in its memory is the Cat's."""
    return json_response(await delete_stored(request.end_user(user), response_id))


@post(f"{ONE}/cancel", access=Access.WRITE, response_model=ResponseObject, summary="Cancel a response")
async def cancel_response(response_id: str, request: ApiRequest, user: EndUser = None) -> HttpResponse:
    """One that is still under way, on this Cat."""
    return json_response(await cancel(request.end_user(user), response_id))


@get(f"{ONE}/input_items", access=Access.READ, response_model=InputItemList, summary="List what a response answers")
async def list_input_items(
    response_id: str,
    request: ApiRequest,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(max_length=MAX_NAME_LENGTH)] = None,
    user: EndUser = None,
) -> InputItemList:
    """The newest first, unless `order` says otherwise."""
    return await list_input(request.end_user(user), response_id, limit=limit, order=order, after=after)
