"""Whom a request is for."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..domain.people import Caller, Person
from ..errors import InvalidRequest
from ..hosts.port import Host
from ..wire.models import MAX_NAME_LENGTH

if TYPE_CHECKING:
    from ...settings import Settings


def resolve_end_user(
    caller: Caller, name: str | None, headers: Mapping[str, str], settings: "Settings", host: Host
) -> Person:
    """The person that a request is for.

    A caller that is a service speaks for its end users: the one called `name`, or else the one in the first of the
    setting's `end_user_headers` that is there. Any other caller is one person, whatever the request names.

    `headers`: of the request, by names in any case. Raises `InvalidRequest` for a header that is too long.
    """
    if not caller.is_service:
        return caller.person
    name = name or _name_in_headers(headers, settings)
    return host.end_user(name) if name else caller.person


def _name_in_headers(headers: Mapping[str, str], settings: "Settings") -> str | None:
    for header in settings.headers_of_end_users():
        if name := _decode_header(headers.get(header, "")).strip():
            if len(name) > MAX_NAME_LENGTH:
                message = f"The header {header} is longer than {MAX_NAME_LENGTH} characters."
                raise InvalidRequest(message, param=header)
            return name
    return None


def _decode_header(value: str) -> str:
    """Starlette reads a header's value as Latin-1 (RFC 9110); a client that sends more than ASCII sends UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value
