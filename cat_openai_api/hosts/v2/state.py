"""The state of a conversation beside its messages on Cat 2: what an agent and its own tools said before a reply.

The client's transcript has the replies alone. The state is stored in the Cat's database, so any Cat on that database
finds it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...domain.conversation import ToolCall, Turn
from ...errors import StorageFailed
from ..collections import STATES
from ..detect import IS_CAT_2
from ..port import Run
from ..shared.transcript import StoredState, add_state, call_signatures, find_state, transcript_keys
from ..storage import Storage
from .messages import message_of

if IS_CAT_2 or TYPE_CHECKING:
    from cat import log
    from cat.types import Message


async def save_state(
    storage: Storage, run: Run, received: str, calls: Sequence[ToolCall], messages: Sequence[Any], *, is_known: bool
) -> None:
    """Store the messages that the run added, where there are any that the client does not get.

    `received`: the text that the client got. `calls`: those of the client's functions. `messages`: all that the run
    added, the reply included. `is_known`: whether the client got the text of that reply.
    """
    all_calls = sum(len(message.tool_calls) for message in messages)
    if not messages or (len(messages) == 1 and all_calls == len(calls) and is_known):
        return
    dumped = [message.model_dump(mode="json", exclude={"text"}) for message in messages]
    state = StoredState(received, call_signatures(calls), dumped)
    sent = run.conversation.turns
    # A conversation that the Cat stores goes on with the user's messages as plugins have left them.
    as_left = tuple(run.questions.turns.get(place, turn) for place, turn in enumerate(sent))
    keys = {transcript_keys(run.person, run.model, turns)[-1] for turns in {sent, as_left}}
    with suppress(StorageFailed):
        for key in keys:
            await storage.update(
                STATES, run.person.key, key, lambda stored: [asdict(each) for each in add_state(_states(stored), state)]
            )
        return
    # The reply itself is not affected. The error is in the log already.
    log.error("OpenAI API: the output of the agent's tools cannot be stored, the next turn begins without it")


async def messages_with_state(storage: Storage, run: Run, keys: Sequence[str], turns: Sequence[Turn]) -> list[Any]:
    """The conversation as the Cat's messages, with the stored messages before each reply.

    `keys`: its transcript keys. `turns`: its turns, the user's as plugins have left them.
    """
    states = await _load_states(storage, run, keys)
    messages: list[Any] = []
    for place, turn in enumerate(turns):
        state = find_state(states[place], turn) if place in states else None
        messages += _with_messages_before(state, turn) if state else [message_of(turn)]
    return messages


async def _load_states(storage: Storage, run: Run, keys: Sequence[str]) -> dict[int, list[StoredState]]:
    """The states after the replies of the conversation, by the place of the reply among its turns."""
    turns, owner = run.conversation.turns, run.person.key
    places = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    if not places:
        return {}
    with suppress(StorageFailed):
        stored_keys = {*await storage.keys(STATES, owner)}
        found = {keys[place]: place for place in places if keys[place] in stored_keys}
        rows = await storage.load_many(STATES, owner, [*found]) if found else {}
        return {found[key]: _states(row.value) for key, row in rows.items()}
    # The conversation itself comes from the client. The error is in the log already.
    log.error("OpenAI API: the output of the agent's tools cannot be loaded, the turn begins without it")
    return {}


def _with_messages_before(state: StoredState, turn: Turn) -> list[Any]:
    messages = [Message.model_validate(message) for message in state.state]
    if turn.calls:
        return _with_ids(messages, turn)
    if state.reply.strip() != turn.text.strip() and messages[-1].role == "assistant":
        messages.pop()
    return messages if messages[-1].role == "assistant" else [*messages, message_of(turn)]


def _with_ids(messages: list[Any], turn: Turn) -> list[Any]:
    """The messages with the ids that the client sends: the LLM may have given the same calls other ids before."""
    calling = next(message for message in reversed(messages) if message.role == "assistant")
    names = {call.name for call in turn.calls}
    clients = iter(turn.calls)
    for call in calling.tool_calls:
        if call.name in names:
            call.id = next(clients).id
    return messages


def _states(stored: Any) -> list[StoredState]:
    """From the value of a row."""
    return [StoredState(**state) for state in stored or ()]
