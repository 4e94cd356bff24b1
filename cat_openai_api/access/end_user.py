"""Whom a request is for."""

from typing import TYPE_CHECKING

from ..domain.people import Person
from ..errors import InvalidRequest
from ..hosts.current import host
from ..wire.models import MAX_NAME_LENGTH

if TYPE_CHECKING:
    from ...settings import Settings
    from ..http.request import ApiRequest


def resolve_end_user(request: "ApiRequest", name: str | None, settings: "Settings") -> Person:
    """Whom the request is for: the end user `name`, or of the headers that say so, when a service speaks for
    one; else the caller, who is one person whatever is named. Raises `InvalidRequest`.
    """
    if not request.caller.is_service:
        return request.caller.person
    name = name or _named_in_headers(request, settings)
    return host.end_user(name) if name else request.caller.person


def _named_in_headers(request: "ApiRequest", settings: "Settings") -> str | None:
    for header in settings.headers_of_end_users():
        if name := _decoded(request.headers.get(header, "")).strip():
            if len(name) > MAX_NAME_LENGTH:
                message = f"The header {header} is longer than {MAX_NAME_LENGTH} characters."
                raise InvalidRequest(message, param=header)
            return name
    return None


def _decoded(value: str) -> str:
    """A header's value is read as Latin-1 (RFC 9110); a client that sends more than ASCII sends UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value
