"""`GET /v1/organization/usage/…`."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from ...domain.people import Access
from ...http.request import ApiRequest
from ...http.routing import get
from .protocol import UsagePage, UsageParameters
from .serving import read_usage

Parameters = Annotated[UsageParameters, Query()]

LISTS = ("group_by", "user_ids", "api_key_ids", "models", "project_ids")


@get(
    "/v1/organization/usage/completions",
    access=Access.ADMIN,
    response_model=UsagePage,
    summary="Usage of the models",
)
async def read_completions_usage(parameters: Parameters, request: ApiRequest) -> Response:
    """Requests and tokens of chat completions, responses, completions and messages, by time, end user, key and
    model."""
    content = await read_usage("completions", parameters, _lists(request))
    return Response(content, media_type="application/json")


@get(
    "/v1/organization/usage/embeddings",
    access=Access.ADMIN,
    response_model=UsagePage,
    summary="Usage of the embedder",
)
async def read_embeddings_usage(parameters: Parameters, request: ApiRequest) -> Response:
    """Requests and tokens of embeddings, by time, end user and key."""
    content = await read_usage("embeddings", parameters, _lists(request))
    return Response(content, media_type="application/json")


def _lists(request: Request) -> Mapping[str, Sequence[str]]:
    """The values of each list. The official SDKs send `group_by[]=…`, people write `group_by=user_id,model`."""
    query = request.query_params
    return {
        name: [
            value
            for sent in [*query.getlist(name), *query.getlist(f"{name}[]")]
            for value in (sent.split(",") if name == "group_by" else [sent])
            if value
        ]
        for name in LISTS
    }
