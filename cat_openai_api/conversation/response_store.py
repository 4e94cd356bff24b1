"""Stored responses: in the Cat's own storage, for the person who made them alone."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from ..domain.people import Person
from ..errors import StorageFailed
from ..hosts.collections import RESPONSES
from ..hosts.port import Host
from ..hosts.storage import Row
from ..wire.json import encode


@dataclass(frozen=True)
class StoredResponse:
    """`response`: as it was sent. `input`: the items that it answers, as `/input_items` lists them, without those of
    the responses before it, and with messages of the user as the Cat's pipeline left them. `size`: of both as JSON, in
    bytes. `digests`: by the ids of those messages, see `Turn.sent_digest`."""

    response: dict[str, Any]
    input: list[dict[str, Any]]
    size: int
    digests: Mapping[str, str]

    @property
    def items(self) -> list[dict[str, Any]]:
        return [*self.input, *self.response["output"]]


StoredItem: TypeAlias = tuple[dict[str, Any], str]
"""An item, and its digest in `StoredResponse.digests` or an empty text."""


class ResponseStore:
    """The stored responses of all people. Its methods raise `StorageFailed`, unless they say something else."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def save(
        self, person: Person, response: Mapping[str, Any], input: list[dict[str, Any]], digests: Mapping[str, str]
    ) -> bool:
        """Whether the response is stored now. Raises nothing. `digests`: see `StoredResponse`."""
        content = {"response": response, "input": input, "digests": digests}
        with suppress(StorageFailed):
            return await self._host.storage.insert(
                RESPONSES, person.key, response["id"], content, parent=response["previous_response_id"]
            )
        # The reply itself is not affected. The error is in the log already.
        self._host.log_error("OpenAI API: a response cannot be stored, no response can continue from it")
        return False

    async def load(self, person: Person, response_id: str) -> StoredResponse | None:
        row = await self._host.storage.load(RESPONSES, person.key, response_id)
        return _stored_response(row) if row else None

    async def load_chain(self, person: Person, response_id: str) -> list[StoredResponse]:
        """The responses that led to the response, and the response as the last one, oldest first; as far back as they
        are stored. Empty where the response itself is not stored."""
        rows = await self._host.storage.load_chain(RESPONSES, person.key, response_id)
        return [_stored_response(row) for row in rows]

    async def find_items(self, person: Person, item_ids: Sequence[str]) -> dict[str, StoredItem]:
        """Items of stored responses by their ids, as far as they are found. The search ends at the first id that is
        not found."""
        found: dict[str, StoredItem] = {}
        for item_id in item_ids:
            if item_id not in found:
                id_as_json = encode({"id": item_id})[1:-1].decode("ascii")
                rows = await self._host.storage.search(RESPONSES, person.key, id_as_json)
                # A request often refers to many items of one response.
                for row in rows:
                    stored = _stored_response(row)
                    for item in stored.items:
                        found.setdefault(item["id"], (item, stored.digests.get(item["id"], "")))
            if item_id not in found:
                break
        return found

    async def delete(self, person: Person, response_id: str) -> bool:
        """Whether the response was stored."""
        return await self._host.storage.delete(RESPONSES, person.key, response_id)


def _stored_response(row: Row) -> StoredResponse:
    return StoredResponse(row.value["response"], row.value["input"], row.size, row.value.get("digests") or {})


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

    def of(self, person: Person) -> list[ActiveResponse]:
        return [response for response in self._responses.values() if response.person.key == person.key]

    def get(self, person: Person, response_id: str) -> ActiveResponse | None:
        """None where there is none of that id, or where it is another person's."""
        response = self._responses.get(response_id)
        return response if response and response.person.key == person.key else None
