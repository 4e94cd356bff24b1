"""Callers, and the people that requests are for."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Access(Enum):
    """The permission that a route requires. ADMIN: for what concerns all users, such as metrics."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True)
class Person:
    """A person with a memory of their own in the Cat.

    `key`: unique to the person. `name`: may be shared by several people. `identity`: the host's own object for the
    person, opaque to everything else.
    """

    key: str
    name: str
    identity: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Caller:
    """An authenticated caller.

    `is_service`: the caller has the Cat's API key, or a key of this API for a service, so it sends requests on behalf
    of its end users. `context`: the host's own object for the connection, opaque to everything else. `key_id`: of the
    key of this API that the caller has; empty for all other credentials.
    """

    person: Person
    is_service: bool
    context: object = field(default=None, compare=False, repr=False)
    key_id: str = ""
