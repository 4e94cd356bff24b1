"""Resolving the end user of a request."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..domain.people import KEY_HOLDER, Caller, Person, is_key_holder_name
from ..errors import InvalidRequest
from ..hosts.port import Host
from ..wire.models import MAX_NAME_LENGTH

if TYPE_CHECKING:
    from ...settings import Settings


def resolve_end_user(
    caller: Caller, name: str | None, headers: Mapping[str, str], settings: "Settings", host: Host
) -> Person:
    """The person that a request is for.

    A service sends requests on behalf of end users: the person is the end user `name`, or else the one in the first
    header of the setting `end_user_headers` that is present, or else the service itself. For any other caller the
    person is always the caller.

    `headers`: of the request, case-insensitive. Raises `InvalidRequest` for a header that is too long, and for a name
    of a key's holder.
    """
    if not caller.is_service:
        return caller.person
    name = name or _name_in_headers(headers, settings)
    if name and is_key_holder_name(name):
        raise InvalidRequest(f"Names of end users do not begin with '{KEY_HOLDER}': these people are holders of keys.")
    return host.end_user(name) if name else caller.person


def _name_in_headers(headers: Mapping[str, str], settings: "Settings") -> str | None:
    for header in settings.end_user_header_names():
        if name := _decode_header(headers.get(header, "")).strip():
            if len(name) > MAX_NAME_LENGTH:
                message = f"The header {header} is longer than {MAX_NAME_LENGTH} characters."
                raise InvalidRequest(message, param=header)
            return name
    return None


def _decode_header(value: str) -> str:
    """A header's value as UTF-8, in which clients send characters outside of ASCII. Starlette decodes Latin-1."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value
