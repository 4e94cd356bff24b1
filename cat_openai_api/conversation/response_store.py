"""Responses that are kept: in the Cat's own storage, for the person who made them alone."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ..domain.people import Person
from ..errors import StorageFailed
from ..hosts.port import Host
from ..hosts.shared.bounds import Record, newest, young
from ..wire.json import encode

MAX_RESPONSES = 128
"""Of one person's."""

MAX_BYTES = 8_000_000
"""Of all of one person's: images are kept as well."""

SECONDS_KEPT = 30 * 24 * 60 * 60
"""OpenAI's."""


@dataclass(frozen=True)
class StoredResponse:
    """`response`: as it was sent. `input`: what it answers, as `/input_items` lists it, without what was said
    before. `at`: seconds since the epoch. `size`: of both as JSON, in bytes."""

    response: dict[str, Any]
    input: list[dict[str, Any]]
    at: float
    size: int

    @property
    def items(self) -> list[dict[str, Any]]:
        return [*self.input, *self.response["output"]]


class ResponseStore:
    def __init__(self, host: Host) -> None:
        self._host = host

    async def save(self, person: Person, response: Mapping[str, Any], input: list[dict[str, Any]]) -> bool:
        """Whether the response is stored now."""
        stored = asdict(StoredResponse(dict(response), input, time.time(), len(encode([response, input]))))
        with suppress(StorageFailed):
            await self._host.update(_key(person), lambda kept: _bounded({**_young(kept), response["id"]: stored}))
            return True
        # The reply is there all the same, and the error is in the log already.
        self._host.log_error("OpenAI API: a response cannot be kept, nobody can go on from it")
        return False

    async def load_all(self, person: Person) -> dict[str, StoredResponse]:
        """By id, oldest first. Raises `StorageFailed`."""
        kept = _young(await self._host.load(_key(person)))
        return {name: StoredResponse(**stored) for name, stored in kept.items()}

    async def delete(self, person: Person, response_id: str) -> None:
        """Raises `StorageFailed`."""

        def without(kept: Any) -> dict[str, Any]:
            return {name: stored for name, stored in _young(kept).items() if name != response_id}

        await self._host.update(_key(person), without)


class ActiveResponse(Protocol):
    """A response under way, which can be looked at and cancelled by other requests."""

    person: Person

    def snapshot(self) -> Mapping[str, Any]:
        """The response object as it stands, as it is sent."""

    async def cancel(self) -> Mapping[str, Any]:
        """End the response with what there is of it, which is returned."""


class ActiveResponses:
    """The responses under way on this Cat, by id."""

    def __init__(self) -> None:
        self._responses: dict[str, ActiveResponse] = {}

    def add(self, response_id: str, response: ActiveResponse) -> None:
        self._responses[response_id] = response

    def remove(self, response_id: str) -> None:
        self._responses.pop(response_id, None)

    def get(self, person: Person, response_id: str) -> ActiveResponse | None:
        """None where there is none of that id, or where it is another person's."""
        response = self._responses.get(response_id)
        return response if response and response.person.key == person.key else None


def chain(kept: Mapping[str, StoredResponse], last: str) -> list[StoredResponse]:
    """The responses that led to `last`, and that itself, oldest first; as far back as they are kept."""
    found: list[StoredResponse] = []
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
