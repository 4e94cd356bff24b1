"""What a Cat notes of the turns of a conversation, for the requests that have these turns among their earlier ones.

Plugins may change a user's message before the Cat reads it, and what a client got of a reply may differ from the final
text. The client sends its own texts again. The notes have what the Cat goes by instead, and they are found as states
are: by the digest of the messages so far. They never contain what a plugin has removed from a message.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ...domain.conversation import Turn
from ...domain.people import Person
from ...errors import StorageFailed
from ...wire.json import JsonObject
from ..collections import TURNS
from ..storage import Storage
from .transcript import StoredState, add_state, find_state

MAX_KEYS = 2000
"""Of one read, the newest: databases limit the number of values in a statement."""


@dataclass(frozen=True)
class TurnNote:
    """What belongs to one transcript key.

    `question`: what the pipeline made of the user's turn that is the last of these messages, in a form of the host's
    own; None where that is not known. `replies`: each with what the host knows of it as its `state`.
    """

    question: JsonObject | None = None
    replies: Sequence[StoredState] = field(default_factory=tuple)


class TurnNotes:
    """The notes of the turns of one conversation. `keys`: its transcript keys."""

    def __init__(self, keys: Sequence[str], notes: Mapping[str, TurnNote]) -> None:
        self.keys = keys
        self._notes = notes

    def question(self, place: int) -> JsonObject | None:
        """Of the user's turn at that place; None where the pipeline has not read it, or it is not known."""
        note = self._notes.get(self.keys[place + 1])
        return note.question if note else None

    def reply(self, place: int, turn: Turn) -> StoredState | None:
        """Of the assistant's turn at that place, as the client sends it."""
        note = self._notes.get(self.keys[place])
        return find_state(note.replies, turn) if note else None


async def load_turn_notes(storage: Storage, person: Person, keys: Sequence[str]) -> TurnNotes:
    """`keys`: the transcript keys of the conversation. One read for all turns, none for the first turn.

    Where it fails nothing is known; the error is in the log.
    """
    if len(keys) > 2:
        with suppress(StorageFailed):
            rows = await storage.load_many(TURNS, person.key, keys[1:][-MAX_KEYS:])
            return TurnNotes(keys, {key: _note(row.value) for key, row in rows.items()})
    return TurnNotes(keys, {})


async def save_turn_notes(storage: Storage, person: Person, notes: Mapping[str, TurnNote]) -> bool:
    """Add notes to those that there are, by transcript key. Whether that worked; the error is in the log."""
    for key, note in notes.items():
        if note.question is None and not note.replies:
            continue

        def add(stored: Any, note: TurnNote = note) -> JsonObject:
            before = _note(stored)
            replies = list(before.replies)
            for reply in note.replies:
                replies = add_state(replies, reply)
            question = before.question if note.question is None else note.question
            return asdict(replace(before, question=question, replies=replies))

        try:
            await storage.update(TURNS, person.key, key, add)
        except StorageFailed:
            return False
    return True


def _note(stored: Any) -> TurnNote:
    """From the value of a row."""
    if not stored:
        return TurnNote()
    return TurnNote(stored["question"], [StoredState(**reply) for reply in stored["replies"]])
