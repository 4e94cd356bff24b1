"""What is stored of responses in the background: which Cat generates them, their output so far, and their events.

Any Cat that uses the same storage can read and cancel them. A response is stored from the beginning, with the status
`queued`; a status that is final is never replaced.
"""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..domain.people import Person
from ..errors import StorageFailed
from ..hosts.collections import (
    BACKGROUND_RUNS,
    NOBODY,
    RESPONSE_EVENTS,
    RESPONSE_PROGRESS,
    RESPONSES,
    RUNNERS,
)
from ..hosts.port import Host
from ..hosts.storage import Unchanged
from ..wire.off_loop import off_loop

UNFINISHED = frozenset({"queued", "in_progress"})
"""The status of a response that is still generated, or will be."""

LOADED_BATCHES = 32
"""Batches of events that are in memory at the same time."""


@dataclass(frozen=True)
class StoredRun:
    """A response that a Cat generates. `owner`: the key of its person. `runner`: the Cat's name for itself.
    `is_cancelled`: whether another Cat was asked to cancel it."""

    response_id: str
    owner: str
    runner: str
    is_cancelled: bool


class BackgroundStore:
    """Its methods raise `StorageFailed`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def is_shared(self) -> bool:
        """Whether other Cats may use the same storage."""
        return self._host.storage.is_shared

    async def create(self, person: Person, response: Mapping[str, Any], runner: str) -> None:
        """Store a response that `runner` is about to generate.

        Its input is stored when it has ended: until then plugins may remove something from the user's messages.
        """
        run = {"owner": person.key, "runner": runner, "is_cancelled": False}
        await self._host.storage.insert(BACKGROUND_RUNS, NOBODY, response["id"], run)
        content: dict[str, Any] = {"response": response, "input": [], "digests": {}}
        parent = response["previous_response_id"]
        await self._host.storage.insert(RESPONSES, person.key, response["id"], content, parent=parent)

    async def finish(
        self,
        person: Person,
        response: Mapping[str, Any],
        input: Sequence[Mapping[str, Any]],
        digests: Mapping[str, str],
    ) -> bool:
        """Store a response that has ended. `input`, `digests`: see `StoredResponse`.

        False where the response was deleted, or another Cat has ended it.
        """
        content = {"response": response, "input": input, "digests": digests}
        return await self._end_response(person.key, response["id"], lambda _: content)

    async def add_events(self, person: Person, response_id: str, batch: int, events: Sequence[bytes]) -> int:
        """`batch`: 0 for the first batch, and one more for each. `events`: those that follow the last batch.

        Returns how many of them the batch has now: fewer, where a call was interrupted and the batch is stored already.
        """
        joined = b"".join(events)
        packed = await off_loop(len(joined), lambda: b64encode(zlib.compress(joined, 1)).decode("ascii"))
        key = _batch_key(response_id, batch)
        if await self._host.storage.insert(RESPONSE_EVENTS, person.key, key, packed, parent=response_id):
            return len(events)
        stored = await self.load_events(person, response_id, batch)
        return len(stored[0]) if stored else len(events)

    async def load_events(self, person: Person, response_id: str, batch: int) -> list[list[bytes]]:
        """Batches of events, from `batch` on; as many as follow without a gap, and at most `LOADED_BATCHES`."""
        keys = [_batch_key(response_id, number) for number in range(batch, batch + LOADED_BATCHES)]
        rows = await self._host.storage.load_many(RESPONSE_EVENTS, person.key, keys)
        batches: list[list[bytes]] = []
        for key in keys:
            if key not in rows:
                break
            packed: str = rows[key].value
            batches.append(await off_loop(len(packed) * 8, lambda packed=packed: _unpack(packed)))  # type: ignore[misc]
        return batches

    async def save_progress(self, person: Person, response_id: str, output: Sequence[Any]) -> None:
        """`output`: the items so far, as they are sent."""
        await self._host.storage.update(RESPONSE_PROGRESS, person.key, response_id, lambda _: [*output])

    async def load_progress(self, person: Person, response_id: str) -> list[Any] | None:
        """The output so far; None where the response has not begun."""
        row = await self._host.storage.load(RESPONSE_PROGRESS, person.key, response_id)
        return row.value if row else None

    async def end_run(self, owner: str, response_id: str) -> None:
        """Delete what is stored of a run that has ended."""
        await self._host.storage.delete(RESPONSE_PROGRESS, owner, response_id)
        await self._host.storage.delete(BACKGROUND_RUNS, NOBODY, response_id)

    async def delete_events(self, person: Person, response_id: str) -> None:
        await self._host.storage.delete_children(RESPONSE_EVENTS, person.key, response_id)

    async def is_running(self, response_id: str) -> bool:
        return await self._host.storage.load(BACKGROUND_RUNS, NOBODY, response_id) is not None

    async def load_runs(self, response_ids: Sequence[str] | None = None) -> dict[str, StoredRun]:
        """The runs of all Cats, or those of the given ids, by the ids of their responses."""
        storage = self._host.storage
        keys = await storage.keys(BACKGROUND_RUNS, NOBODY) if response_ids is None else response_ids
        rows = await storage.load_many(BACKGROUND_RUNS, NOBODY, keys)
        return {
            key: StoredRun(key, row.value["owner"], row.value["runner"], row.value["is_cancelled"])
            for key, row in rows.items()
        }

    async def request_cancel(self, response_id: str) -> None:
        """Have the Cat that generates the response cancel it. That one looks several times in a second."""

        def cancelled(run: Any) -> Any:
            return {**run, "is_cancelled": True} if run else Unchanged()

        await self._host.storage.update(BACKGROUND_RUNS, NOBODY, response_id, cancelled)

    async def end_abandoned(self, owner: str, response_id: str, status: str, error: Mapping[str, Any] | None) -> None:
        """End a response in the place of the Cat that generated it. What is stored of its output stays. Of its input
        nothing does where others can continue the response: what plugins made of that input is not known."""
        row = await self._host.storage.load(RESPONSE_PROGRESS, owner, response_id)
        output = row.value if row else []

        def ended(content: Mapping[str, Any]) -> Mapping[str, Any]:
            items = [_interrupted(item) for item in output]
            response = {**content["response"], "status": status, "error": error, "output": items}
            return {**content, "response": response, "input": content["input"] if status == "failed" else []}

        await self._end_response(owner, response_id, ended)
        await self.end_run(owner, response_id)

    async def save_beat(self, runner: str, beat: int) -> None:
        """Say that the Cat is alive. `beat`: another number than the last time."""
        await self._host.storage.update(RUNNERS, NOBODY, runner, lambda _: beat)

    async def load_beats(self, runners: Sequence[str]) -> dict[str, int]:
        rows = await self._host.storage.load_many(RUNNERS, NOBODY, runners)
        return {runner: row.value for runner, row in rows.items()}

    async def delete_beat(self, runner: str) -> None:
        with suppress(StorageFailed):  # the error is in the log; the row expires
            await self._host.storage.delete(RUNNERS, NOBODY, runner)

    async def _end_response(
        self, owner: str, response_id: str, end: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> bool:
        """Whether the response was stored and unfinished. `end`: makes the new content of its row."""
        is_changed = False

        def ended(content: Any) -> Any:
            nonlocal is_changed
            is_changed = bool(content) and content["response"]["status"] in UNFINISHED
            return end(content) if is_changed else Unchanged()

        await self._host.storage.update(RESPONSES, owner, response_id, ended)
        return is_changed


def _batch_key(response_id: str, batch: int) -> str:
    return f"{response_id}/{batch}"


def _unpack(packed: str) -> list[bytes]:
    return split_events(zlib.decompress(b64decode(packed)))


def split_events(joined: bytes) -> list[bytes]:
    """Server-sent events that were joined. JSON has no line breaks, so an empty line ends each."""
    return [event + b"\n\n" for event in joined.split(b"\n\n")[:-1]]


def _interrupted(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**item, "status": "incomplete"} if item.get("status") == "in_progress" else item
