"""The conversation that the Cat itself keeps with a person: its own side of the setting `history` = cat."""

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
from ..hosts.port import Host
from ..wire.json import encode

MAX_TURNS = 40
"""Messages of a conversation, the Cat's own included."""

MAX_BYTES = 8_000_000
"""Of a conversation: images are kept as well."""

_turns = TypeAdapter(list[Turn])


class StoredConversation:
    """`turns`: what was said up to now, oldest first."""

    def __init__(self, store: "ConversationStore", key: str, turns: Sequence[Turn]) -> None:
        self._store = store
        self._key = key
        self.turns = turns

    async def add(self, new_turns: Sequence[Turn], reply: Turn) -> None:
        """Store what was said now, also where another Cat has added to the conversation since."""
        await self._store.add(self._key, new_turns, reply)


class ConversationStore:
    """The stored conversations of all people."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._turn_taking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def open(self, person: Person, model: str) -> AsyncGenerator[StoredConversation, None]:
        """The person's conversation with the model, for one at a time who continues it."""
        key = f"openai_api_conversation_{model}_{person.key}"
        async with self._turn_taking.setdefault(key, asyncio.Lock()):
            yield StoredConversation(self, key, self._turns_of(await self._host.load(key)))

    async def add(self, key: str, new_turns: Sequence[Turn], reply: Turn) -> None:
        def with_new_turns(kept: Any) -> Any:
            turns = self._turns_of(kept)
            return _turns.dump_python(_newest([*before(turns, new_turns), *new_turns, reply]), mode="json")

        with suppress(StorageFailed):
            await self._host.update(key, with_new_turns)
            return
        # The reply is there all the same, and the error is in the log already.
        self._host.log_error("OpenAI API: a conversation cannot be kept, the next message will not find this one")

    def _turns_of(self, kept: Any) -> list[Turn]:
        try:
            return _turns.validate_python(kept or [])
        except ValidationError:
            self._host.log_error("OpenAI API: a kept conversation cannot be read, a new one begins")
            return []


def before(kept: Sequence[Turn], asked: Sequence[Turn]) -> Sequence[Turn]:
    """What was said before these turns of the client's, which begin with a question.

    Where they go on after it, with calls and their results, the question has been kept with the calls. Calls
    that the client has given up, to ask something else, have no results, and no LLM takes them so.
    """
    kept = _answered(kept)
    questions = [place for place, turn in enumerate(kept) if turn.role == "user"]
    if len(asked) > 1 and questions and kept[questions[-1]].text == asked[0].text:
        return kept[: questions[-1]]
    return kept


def _answered(turns: Sequence[Turn]) -> list[Turn]:
    """Without the calls that have no results, and without results that have no call."""
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
    """The last ones that there is room for, from a message of the user's on: results need their calls."""
    room, first = MAX_BYTES, len(turns)
    while first and len(turns) - first < MAX_TURNS:
        room -= len(encode(_turns.dump_python([turns[first - 1]], mode="json")))
        if room < 0:
            break
        first -= 1
    while first < len(turns) and turns[first].role != "user":
        first += 1
    return turns[first:]
