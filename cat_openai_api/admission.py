"""Who a request is for, and whether one more of theirs is let in."""

import asyncio
from typing import TYPE_CHECKING

from .errors import InvalidRequest, Overloaded
from .hosts.current import host
from .hosts.port import Person
from .rate_limiter import BoundedMemoryStorage, RateLimiter, SharedRateLimiter
from .wire import LONGEST_NAME

if TYPE_CHECKING:
    from ..settings import Settings
    from .routing import ApiRequest


class Limiters:
    """The rate limiter that the settings ask for: this Cat's own, or one that it shares with others."""

    def __init__(self) -> None:
        self._own = RateLimiter(BoundedMemoryStorage())
        self._shared: SharedRateLimiter | None = None
        self._shared_at: str | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def of(self, settings: "Settings") -> RateLimiter | SharedRateLimiter:
        uri = settings.shared_rate_limit_storage()
        if uri != self._shared_at:
            if self._shared:
                closing = asyncio.create_task(self._shared.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
            self._shared_at = uri
            self._shared = SharedRateLimiter(uri, host) if uri else None
        return self._shared or self._own


limiters = Limiters()


class Places:
    """The places for requests that are answered at once."""

    def __init__(self) -> None:
        self._taken = 0

    def take(self, limit: int) -> None:
        """Take one of `limit` places; 0 is no limit. Raises `Overloaded`."""
        if limit and self._taken >= limit:
            raise Overloaded(limit)
        self._taken += 1

    def free(self) -> None:
        """Give a place back."""
        self._taken -= 1


places = Places()


def person_meant(request: "ApiRequest", name: str | None, settings: "Settings") -> Person:
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
            if len(name) > LONGEST_NAME:
                message = f"The header {header} is longer than {LONGEST_NAME} characters."
                raise InvalidRequest(message, param=header)
            return name
    return None


def _decoded(value: str) -> str:
    """A header's value is read as Latin-1 (RFC 9110); a client that sends more than ASCII sends UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


async def admit(person: Person, settings: "Settings", bucket: str) -> dict[str, str]:
    """Count a request of the person; answers the rate limit headers, none where nothing was counted.

    `bucket`: requests of each are counted apart. Raises `RateLimitExceeded`.
    """
    if not settings.rate_limit_per_minute:
        return {}
    status = await limiters.of(settings).hit(person.key, settings.rate_limit_per_minute, bucket)
    return status.headers() if status else {}


async def standing(person: Person, settings: "Settings", bucket: str) -> dict[str, str]:
    """The rate limit headers as they are, with nothing counted."""
    if not settings.rate_limit_per_minute:
        return {}
    status = await limiters.of(settings).peek(person.key, settings.rate_limit_per_minute, bucket)
    return status.headers() if status else {}
