"""`/keys`: the keys of this API, for admins."""

from typing import Annotated, Literal

from fastapi import Query, Response

from ...domain.people import Access
from ...http.request import ApiRequest
from ...http.routing import delete, get, post
from ...wire.models import MAX_NAME_LENGTH
from .protocol import ChangeKeyRequest, CreatedKey, CreateKeyRequest, DeletedKey, KeyList, KeyObject
from .serving import change_key, create_key, delete_key, list_keys, retrieve_key

KEY_PATH = "/keys/{key_id}"


@post("/keys", access=Access.ADMIN, response_model=CreatedKey, summary="Create a key")
async def create_api_key(body: CreateKeyRequest, request: ApiRequest, response: Response) -> CreatedKey:
    """Make a key of this API: for one end user, for a service, or for a person of its own.

    `value` is the key. It is in this response only.
    """
    response.headers["Cache-Control"] = "no-store"
    return await create_key(body)


@get("/keys", access=Access.ADMIN, response_model=KeyList, summary="List keys")
async def list_api_keys(
    request: ApiRequest,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "asc",
    after: Annotated[str | None, Query(max_length=MAX_NAME_LENGTH)] = None,
) -> KeyList:
    """List the keys, by default the oldest first. `after`: the id of a key; the list begins behind it."""
    return await list_keys(limit=limit, order=order, after=after)


@get(KEY_PATH, access=Access.ADMIN, response_model=KeyObject, summary="Retrieve a key")
async def retrieve_api_key(key_id: str, request: ApiRequest) -> KeyObject:
    """Retrieve a key. Its value is not stored."""
    return await retrieve_key(key_id)


@post(KEY_PATH, access=Access.ADMIN, response_model=KeyObject, summary="Change a key")
async def change_api_key(key_id: str, body: ChangeKeyRequest, request: ApiRequest) -> KeyObject:
    """Change what is in the body; null takes a limit away. It is in force at the next request."""
    return await change_key(key_id, body)


@delete(KEY_PATH, access=Access.ADMIN, response_model=DeletedKey, summary="Delete a key")
async def delete_api_key(key_id: str, request: ApiRequest) -> DeletedKey:
    """Delete a key. The next request with it is a 401."""
    return await delete_key(key_id)
