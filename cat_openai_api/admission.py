"""Who a request is for, and whether one more of theirs is let in."""

from typing import TYPE_CHECKING

from .errors import Overloaded
from .hosts.current import host
from .hosts.port import Caller, Person
from .rate_limiter import BoundedMemoryStorage, RateLimiter

if TYPE_CHECKING:
    from ..settings import Settings

limiter = RateLimiter(BoundedMemoryStorage())


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


def person_meant(caller: Caller, name: str | None) -> Person:
    """The end user `name` when a service speaks for one; else the caller, who is one person whatever is named."""
    return host.end_user(name) if caller.is_service and name else caller.person


async def admit(person: Person, settings: "Settings") -> dict[str, str]:
    """Count a request of the person; answers the rate limit headers. Raises `RateLimitExceeded`."""
    if not settings.rate_limit_per_minute:
        return {}
    return (await limiter.hit(person.key, settings.rate_limit_per_minute)).headers()


async def standing(person: Person, settings: "Settings") -> dict[str, str]:
    """The rate limit headers as they are, with nothing counted."""
    if not settings.rate_limit_per_minute:
        return {}
    return (await limiter.peek(person.key, settings.rate_limit_per_minute)).headers()
