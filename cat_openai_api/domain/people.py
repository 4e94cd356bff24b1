"""Who calls, and for whom."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Access(Enum):
    """What a route needs of its caller. ADMIN: what is about all users, for those who run the Cat."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True)
class Person:
    """Somebody the Cat keeps memory for.

    `key` tells people apart: two persons never share one. `identity` is the host's own object for the person,
    and only the host that made it looks inside.
    """

    key: str
    name: str
    identity: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Caller:
    """Whom the host authenticated.

    `is_service`: holds the master key, and so speaks for its end users. `context`: what the host knows of the
    connection; only the host that made it looks inside.
    """

    person: Person
    is_service: bool
    context: object = field(default=None, compare=False, repr=False)
