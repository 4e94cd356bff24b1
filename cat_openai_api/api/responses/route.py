"""`POST /v1/responses`, and the responses that are kept below it."""

from functools import partial
from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response as HttpResponse

from ...access.end_user import resolve_end_user
from ...domain.people import Access, Person
from ...errors import invalid
from ...http.request import ApiRequest, json_response
from ...http.respond import answer
from ...http.routing import delete, get, post
from ...wire.models import MAX_NAME_LENGTH
from .protocol import DeletedResponse, InputItemList, ResponseObject, ResponseRequest
from .serving import Response, cancelled, deleted, input_items, parse_request, retrieved

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
    settings = await request.settings()
    person = resolve_end_user(request, body.user or body.safety_identifier, settings)
    request.record.stream = bool(body.stream)
    inquiry = await parse_request(body, person, settings)
    return await answer(inquiry.question, person, request, partial(Response, inquiry=inquiry))


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
    return json_response(await retrieved(await _person(request, user), response_id))


@delete(ONE, access=Access.WRITE, response_model=DeletedResponse, summary="Delete a response")
async def delete_response(response_id: str, request: ApiRequest, user: EndUser = None) -> HttpResponse:
    """What was said in it is forgotten here; what the Cat made of it in its memory is the Cat's."""
    return json_response(await deleted(await _person(request, user), response_id))


@post(f"{ONE}/cancel", access=Access.WRITE, response_model=ResponseObject, summary="Cancel a response")
async def cancel_response(response_id: str, request: ApiRequest, user: EndUser = None) -> HttpResponse:
    """One that is still under way, on this Cat."""
    return json_response(await cancelled(await _person(request, user), response_id))


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
    person = await _person(request, user)
    return await input_items(person, response_id, limit=limit, order=order, after=after)


async def _person(request: ApiRequest, user: str | None) -> Person:
    return resolve_end_user(request, user, await request.settings())
