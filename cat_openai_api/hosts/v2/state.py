"""What an agent and its own tools said on the way to a reply, for the turns after it.

It is no part of the client's transcript, which has the replies alone. It is kept in the Cat's database, so any
Cat on that database finds it.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...domain.conversation import ToolCall, Turn
from ...domain.people import Person
from ...wire.json import encode
from ..detect import IS_CAT_2
from ..port import Run
from ..shared.bounds import Record, newest, young
from ..shared.transcript import SECONDS_KEPT, Kept, add_state, call_signatures, found, transcript_keys
from .messages import message_of
from .store import load, update

if IS_CAT_2 or TYPE_CHECKING:
    from cat import log
    from cat.types import Message

MAX_KEPT = 64
"""Turns of one person's."""

MAX_BYTES = 1_000_000
"""Of all of one person's: what tools say can be long."""


async def keep(run: Run, reply: str, calls: Sequence[ToolCall], messages: Sequence[Any]) -> None:
    """Keep the messages that made the reply, where they are more than the client gets of them."""
    shown = sum(len(message.tool_calls) for message in messages)
    if len(messages) <= 1 and shown == len(calls):
        return
    state = [message.model_dump(mode="json", exclude={"text"}) for message in messages]
    try:
        await _keep(run, Kept(reply, call_signatures(calls), state))
    except Exception:  # the database's own, whichever it is: the reply is there all the same
        log.error("OpenAI API: what the agent's tools said cannot be kept, the next turn begins without it")


async def _keep(run: Run, kept: Kept) -> None:
    key = transcript_keys(run.person, run.model, run.conversation.turns)[-1]

    def with_this(record: dict[str, Any] | None) -> dict[str, Any]:
        young = _young(record)
        before = [Kept(**other) for other in young.pop(key, {}).get("replies", ())]
        young[key] = {"at": time.time(), "replies": [asdict(one) for one in add_state(before, kept)]}
        return _bounded(young)

    await update(_key(run.person), with_this)


async def recalled(run: Run) -> list[Any]:
    """The conversation as messages, each reply with what led to it."""
    turns = run.conversation.turns
    if not any(turn.role == "assistant" for turn in turns):
        return [message_of(turn) for turn in turns]
    try:
        record = _young(await load(_key(run.person)))
    except Exception:  # the database's own, whichever it is: the conversation itself is the client's
        log.error("OpenAI API: what the agent's tools said before cannot be read, the turn begins without it")
        record = {}
    keys = transcript_keys(run.person, run.model, turns) if record else []
    messages: list[Any] = []
    for place, turn in enumerate(turns):
        kept = None
        if turn.role == "assistant" and record and (entry := record.get(keys[place])):
            kept = found([Kept(**kept) for kept in entry["replies"]], turn)
        messages += _unfolded(kept, turn) if kept else [message_of(turn)]
    return messages


def _unfolded(kept: Kept, turn: Turn) -> list[Any]:
    messages = [Message.model_validate(message) for message in kept.state]
    if turn.calls:
        return _with_ids(messages, turn)
    if kept.reply.strip() != turn.text.strip() and messages[-1].role == "assistant":
        messages.pop()
    return messages if messages[-1].role == "assistant" else [*messages, message_of(turn)]


def _with_ids(messages: list[Any], turn: Turn) -> list[Any]:
    """The client's ids: the LLM may have given other ones when it said the same before."""
    calling = next(message for message in reversed(messages) if message.role == "assistant")
    names = {call.name for call in turn.calls}
    theirs = iter(turn.calls)
    for call in calling.tool_calls:
        if call.name in names:
            call.id = next(theirs).id
    return messages


def _young(record: Record | None) -> Record:
    return young(record, SECONDS_KEPT)


def _bounded(record: Record) -> Record:
    return newest(record, MAX_KEPT, MAX_BYTES, lambda entry: len(encode(entry)))


def _key(person: Person) -> str:
    return f"openai_api_state_{person.key}"
