"""`DELETE /end_users/{name}`."""

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from ...domain.people import Access
from ...http.request import ApiRequest, json_response
from ...http.routing import delete
from ...wire.models import MAX_NAME_LENGTH
from .protocol import ErasedEndUser
from .serving import erase, people_named

Name = Annotated[str, Path(min_length=1, max_length=MAX_NAME_LENGTH, description="As clients send it.")]


@delete(
    "/end_users/{name:path}",
    access=Access.WRITE,
    response_model=ErasedEndUser,
    summary="Erase an end user",
)
async def delete_end_user(name: Name, request: ApiRequest) -> Response:
    """Erase all that is kept of a person. Admins can erase everybody, anybody else themselves."""
    is_admin = await request.is_admin()
    people = people_named(name, request.caller, is_admin=is_admin)
    release = await request.admit(request.caller.person, uses_tokens=False)
    try:
        return json_response(await erase(name, people, is_admin=is_admin))
    finally:
        release()
