"""Responses that are kept: in the Cat's own storage, for the person who made them alone."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from ..domain.people import Person
from ..errors import StorageFailed
from ..hosts.current import host
from ..hosts.shared.bounds import Record, newest, young
from ..wire.json import encode

MAX_RESPONSES = 128
"""Of one person's."""

MAX_BYTES = 8_000_000
"""Of all of one person's: images are kept as well."""

SECONDS_KEPT = 30 * 24 * 60 * 60
"""OpenAI's."""


@dataclass(frozen=True)
class Stored:
    """`response`: as it was sent. `input`: what it answers, as `/input_items` lists it, without what was said
    before. `at`: seconds since the epoch. `size`: of both as JSON, in bytes."""

    response: dict[str, Any]
    input: list[dict[str, Any]]
    at: float
    size: int

    @property
    def items(self) -> list[dict[str, Any]]:
        return [*self.input, *self.response["output"]]


async def keep(person: Person, response: Mapping[str, Any], input: list[dict[str, Any]]) -> bool:
    """Whether the response is kept now."""
    stored = asdict(Stored(dict(response), input, time.time(), len(encode([response, input]))))
    with suppress(StorageFailed):
        await host.update(_key(person), lambda kept: _bounded({**_young(kept), response["id"]: stored}))
        return True
    # The reply is there all the same, and the error is in the log already.
    host.log_error("OpenAI API: a response cannot be kept, nobody can go on from it")
    return False


async def all_of(person: Person) -> dict[str, Stored]:
    """By id, oldest first. Raises `StorageFailed`."""
    return {name: Stored(**stored) for name, stored in _young(await host.load(_key(person))).items()}


async def remove(person: Person, response_id: str) -> None:
    """Raises `StorageFailed`."""

    def without(kept: Any) -> dict[str, Any]:
        return {name: stored for name, stored in _young(kept).items() if name != response_id}

    await host.update(_key(person), without)


def chain(kept: Mapping[str, Stored], last: str) -> list[Stored]:
    """The responses that led to `last`, and that itself, oldest first; as far back as they are kept."""
    found: list[Stored] = []
    here: str | None = last
    while here is not None and here in kept:
        found.append(kept[here])
        here = kept[here].response["previous_response_id"]
    return found[::-1]


def _young(kept: Any) -> Record:
    return young(kept, SECONDS_KEPT)


def _bounded(kept: Record) -> Record:
    return newest(kept, MAX_RESPONSES, MAX_BYTES, lambda stored: int(stored["size"]))


def _key(person: Person) -> str:
    return f"openai_api_responses_{person.key}"
