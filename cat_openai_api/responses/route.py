"""`POST /v1/responses`, and the responses that are kept below it."""

from functools import partial
from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response as HttpResponse

from ..admission import person_meant
from ..answer import answer
from ..errors import invalid
from ..hosts.port import Access, Person
from ..routing import ApiRequest, delete, get, json_reply, post
from ..wire import LONGEST_NAME
from .protocol import DeletedResponse, InputItemList, ResponseObject, ResponseRequest
from .serving import Response, cancelled, deleted, input_items, retrieved, understand

ONE = "/v1/responses/{response_id}"

EndUser = Annotated[str | None, Query(max_length=LONGEST_NAME, description="As in the request that made it.")]


@post(
    "/v1/responses",
    access=Access.WRITE,
    response_model=ResponseObject,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Create a response",
)
async def create_response(wanted: ResponseRequest, request: ApiRequest) -> HttpResponse:
    """Ask the Cat. `input` goes on from `previous_response_id`; with `stream: true` the reply is a stream of
    events."""
    settings = await request.settings()
    person = person_meant(request, wanted.user or wanted.safety_identifier, settings)
    request.observation.stream = bool(wanted.stream)
    inquiry = await understand(wanted, person, settings)
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
    return json_reply(await retrieved(await _person(request, user), response_id))


@delete(ONE, access=Access.WRITE, response_model=DeletedResponse, summary="Delete a response")
async def delete_response(response_id: str, request: ApiRequest, user: EndUser = None) -> HttpResponse:
    """What was said in it is forgotten here; what the Cat made of it in its memory is the Cat's."""
    return json_reply(await deleted(await _person(request, user), response_id))


@post(f"{ONE}/cancel", access=Access.WRITE, response_model=ResponseObject, summary="Cancel a response")
async def cancel_response(response_id: str, request: ApiRequest, user: EndUser = None) -> HttpResponse:
    """One that is still under way, on this Cat."""
    return json_reply(await cancelled(await _person(request, user), response_id))


@get(f"{ONE}/input_items", access=Access.READ, response_model=InputItemList, summary="List what a response answers")
async def list_input_items(
    response_id: str,
    request: ApiRequest,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(max_length=LONGEST_NAME)] = None,
    user: EndUser = None,
) -> InputItemList:
    """The newest first, unless `order` says otherwise."""
    person = await _person(request, user)
    return await input_items(person, response_id, limit=limit, order=order, after=after)


async def _person(request: ApiRequest, user: str | None) -> Person:
    return person_meant(request, user, await request.settings())
