"""One message in a conversation that the Cat itself keeps."""

import asyncio
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from starlette.requests import Request

from ..admission import person_meant
from ..conversation import Conversation, Turn
from ..errors import InsufficientPermissions
from ..hosts.current import host
from ..hosts.port import THE_CAT, Caller, Person, Run
from ..reply import Reply
from .protocol import MessageReply, MessageRequest

if TYPE_CHECKING:
    from ...settings import Settings

KEPT_TURNS = 40
"""Messages of a conversation that the Cat remembers, its own included."""

_turn_taking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
"""A lock for each person who is being answered: two messages at once get one order."""


def addressee(wanted: MessageRequest, caller: Caller) -> Person:
    """Whose conversation it is. Raises `InsufficientPermissions` when a person names somebody else."""
    own = (caller.person.name, caller.person.key)
    if wanted.user_id and not caller.is_service and wanted.user_id not in own:
        raise InsufficientPermissions(
            "Your key is for one person: leave user_id out, or send your own.", param="user_id"
        )
    return person_meant(caller, wanted.user_id)


async def answer(wanted: MessageRequest, person: Person, settings: "Settings", request: Request) -> MessageReply:
    async with _turn_taking.setdefault(person.key, asyncio.Lock()):
        turns = [*await host.kept_turns(person), Turn("user", (wanted.text,))]
        conversation = Conversation(tuple(turns))
        run = Run(THE_CAT, conversation, person, request, timeout=settings.request_timeout)
        reply = Reply(run, settings.max_tokens, live=not host.rewrites_replies())
        try:
            text = await reply.whole()
        finally:
            await reply.aclose()
        await host.keep_turns(person, [*turns, Turn("assistant", (text,))][-KEPT_TURNS:])
    if settings.debug_mode:
        path = {
            "message": {"characters": len(wanted.text), "turns_before": len(turns) - 1},
            "seconds": reply.age(),
            "characters": len(text),
            "finish_reason": reply.finish_reason,
        }
        host.log_path(path)
    return MessageReply(text=text, user_id=wanted.user_id or person.name, timestamp=int(time.time()))
