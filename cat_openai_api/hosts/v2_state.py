"""What an agent and its own tools said on the way to a reply, for the turns after it.

It is no part of the client's transcript, which has the replies alone. It is kept in the Cat's database, so any
Cat on that database finds it.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ..conversation import ToolCall, Turn
from ..wire import encode
from .detect import IS_CAT_2
from .port import Person, Run
from .transcript import SECONDS_KEPT, Kept, called_by, found, keys_of, with_another
from .v2_messages import message_of

if IS_CAT_2 or TYPE_CHECKING:
    from cat import db, log
    from cat.types import Message

    # Called DB before 2.0.21.
    Store = getattr(db, "Store", None) or db.DB

MOST_KEPT = 64
"""Turns of one person's."""

MOST_BYTES = 1_000_000
"""Of all of one person's: what tools say can be long."""

_keeping: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
"""A lock for each person whose record is being written."""


async def keep(run: Run, reply: str, calls: Sequence[ToolCall], messages: Sequence[Any]) -> None:
    """Keep the messages that made the reply, where they are more than the client gets of them."""
    shown = sum(len(message.tool_calls) for message in messages)
    if len(messages) <= 1 and shown == len(calls):
        return
    state = [message.model_dump(mode="json", exclude={"text"}) for message in messages]
    try:
        await _keep(run, Kept(reply, called_by(calls), state))
    except Exception:  # the database's own, whichever it is: the reply is there all the same
        log.error("OpenAI API: what the agent's tools said cannot be kept, the next turn begins without it")


async def _keep(run: Run, kept: Kept) -> None:
    key = keys_of(run.person, run.model, run.conversation.turns)[-1]
    async with _keeping.setdefault(run.person.key, asyncio.Lock()):
        record = await _record(run.person)
        before = [Kept(**other) for other in record.pop(key, {}).get("replies", ())]
        record[key] = {"at": time.time(), "replies": [asdict(one) for one in with_another(before, kept)]}
        await Store.save(_key(run.person), _bounded(record))


async def recalled(run: Run) -> list[Any]:
    """The conversation as messages, each reply with what led to it."""
    turns = run.conversation.turns
    if not any(turn.role == "assistant" for turn in turns):
        return [message_of(turn) for turn in turns]
    record = await _record(run.person)
    keys = keys_of(run.person, run.model, turns) if record else []
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


async def _record(person: Person) -> dict[str, Any]:
    """By key, oldest first."""
    record = await Store.load(_key(person), default={})
    return {key: entry for key, entry in record.items() if entry["at"] > time.time() - SECONDS_KEPT}


def _bounded(record: dict[str, Any]) -> dict[str, Any]:
    """The newest that there is room for; in any case the newest."""
    room = MOST_BYTES
    kept: dict[str, Any] = {}
    for key, entry in list(reversed(record.items()))[:MOST_KEPT]:
        room -= len(encode(entry))
        if room < 0 and kept:
            break
        kept[key] = entry
    return dict(reversed(kept.items()))


def _key(person: Person) -> str:
    return f"openai_api_state_{person.key}"
