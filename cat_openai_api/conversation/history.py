"""The conversation that the Cat stores of a person: with the setting `history` = cat, and for `/message`."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import takewhile
from typing import Any
from weakref import WeakValueDictionary

from pydantic import TypeAdapter, ValidationError

from ..domain.conversation import Turn
from ..domain.people import Person
from ..errors import StorageFailed
from ..hosts.collections import CONVERSATIONS
from ..hosts.port import Host
from ..wire.json import encode
from ..wire.off_loop import off_loop

MAX_TURNS = 40
"""Messages of a conversation, the Cat's own included."""

MAX_BYTES = 8_000_000
"""Of a conversation as JSON, with its images."""

_turns = TypeAdapter(list[Turn])


class StoredConversation:
    """A person's conversation with a model. `turns`: its messages so far, oldest first."""

    def __init__(self, store: "ConversationStore", person: Person, model: str, turns: Sequence[Turn]) -> None:
        self._store = store
        self._person = person
        self._model = model
        self.turns = turns

    async def add(self, new_turns: Sequence[Turn], reply: Turn) -> None:
        """Store new messages and the reply to them, also where another Cat has added to the conversation since."""
        await self._store.add(self._person, self._model, new_turns, reply)


class ConversationStore:
    """The stored conversations of all people."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._turn_taking: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def open(self, person: Person, model: str) -> AsyncGenerator[StoredConversation, None]:
        """The person's conversation with the model. One request at a time can continue it.

        Raises `StorageFailed`.
        """
        async with self._turn_taking.setdefault((person.key, model), asyncio.Lock()):
            row = await self._host.storage.load(CONVERSATIONS, person.key, model)
            turns = await off_loop(row.size, lambda: self._parse(row.value)) if row else []
            yield StoredConversation(self, person, model, turns)

    async def add(self, person: Person, model: str, new_turns: Sequence[Turn], reply: Turn) -> None:
        def with_new_turns(stored: Any) -> Any:
            turns = self._parse(stored or [])
            return _turns.dump_python(_newest([*turns_before(turns, new_turns), *new_turns, reply]), mode="json")

        with suppress(StorageFailed):
            await self._host.storage.update(CONVERSATIONS, person.key, model, with_new_turns)
            return
        # The reply itself is not affected. The error is in the log already.
        self._host.log_error("OpenAI API: a conversation cannot be stored, the next message will not find this one")

    def _parse(self, stored: Any) -> list[Turn]:
        try:
            return _turns.validate_python(stored)
        except ValidationError:
            self._host.log_error("OpenAI API: a stored conversation cannot be read, a new one begins")
            return []


def turns_before(stored: Sequence[Turn], new_turns: Sequence[Turn]) -> Sequence[Turn]:
    """The stored turns that come before the new ones, of which the first is a message of the user's.

    Where calls and their results follow that message, it has been stored with the calls already, so it and what
    follows it are left out. Calls that the client has given up, to ask something else, have no results, and LLMs
    refuse calls without results.
    """
    stored = _answered(stored)
    questions = [place for place, turn in enumerate(stored) if turn.role == "user"]
    if len(new_turns) > 1 and questions and _is_same(stored[questions[-1]], new_turns[0]):
        return stored[: questions[-1]]
    return stored


def _is_same(stored: Turn, new: Turn) -> bool:
    """Whether the client has sent the same message of the user's, which the Cat's pipeline may have changed since."""
    return stored.text == new.text or stored.sent_digest == (new.sent_digest or new.digest())


def _answered(turns: Sequence[Turn]) -> list[Turn]:
    """The turns without the calls that have no results, and without results that have no call."""
    answered: list[Turn] = []
    place = 0
    while place < len(turns):
        turn, place = turns[place], place + 1
        results = list(takewhile(lambda other: other.role == "tool", turns[place:]))
        place += len(results)
        if {call.id for call in turn.calls} != {result.call_id for result in results}:
            turn, results = replace(turn, calls=()), []
        if turn.role == "user" or turn.calls or turn.text:
            answered += [turn, *results]
    return answered


def _newest(turns: list[Turn]) -> list[Turn]:
    """The last turns within the bounds, beginning with a message of the user's: results need their calls."""
    room, first = MAX_BYTES, len(turns)
    while first and len(turns) - first < MAX_TURNS:
        room -= len(encode(_turns.dump_python([turns[first - 1]], mode="json")))
        if room < 0:
            break
        first -= 1
    while first < len(turns) and turns[first].role != "user":
        first += 1
    return turns[first:]
