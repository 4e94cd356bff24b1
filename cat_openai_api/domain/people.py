"""Callers, and the people that requests are for."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .keys import ApiKey


class Access(Enum):
    """The permission that a route requires. ADMIN: for what concerns all users, such as metrics."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


KEY_HOLDER = "openai-api-key:"
"""Names of people that begin so are those of the holders of keys."""


def key_holder_name(key_id: str) -> str:
    return f"{KEY_HOLDER}{key_id}"


def is_key_holder_name(name: str) -> bool:
    return name.startswith(KEY_HOLDER)


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
    of its end users. `context`: the host's own object for the connection, opaque to everything else. `key`: the key of
    this API that the caller has; None for all other credentials.
    """

    person: Person
    is_service: bool
    context: object = field(default=None, compare=False, repr=False)
    key: ApiKey | None = None

    @property
    def key_id(self) -> str:
        """Empty where the caller has no key of this API."""
        return self.key.id if self.key else ""
