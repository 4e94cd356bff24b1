"""One message in a conversation that the Cat itself keeps."""

import time
from typing import TYPE_CHECKING

from ..admission import person_meant
from ..conversation import Conversation, Turn
from ..errors import InsufficientPermissions
from ..hosts.current import host
from ..hosts.port import THE_CAT, Person, Run
from ..kept import before, kept_conversation
from ..reply import Reply
from ..routing import ApiRequest
from .protocol import MessageReply, MessageRequest

if TYPE_CHECKING:
    from ...settings import Settings


def addressee(wanted: MessageRequest, request: ApiRequest, settings: "Settings") -> Person:
    """Whose conversation it is. Raises `InsufficientPermissions` when a person names somebody else."""
    caller = request.caller
    own = (caller.person.name, caller.person.key)
    if wanted.user_id and not caller.is_service and wanted.user_id not in own:
        raise InsufficientPermissions(
            "Your key is for one person: leave user_id out, or send your own.", param="user_id"
        )
    return person_meant(request, wanted.user_id, settings)


async def answer(wanted: MessageRequest, person: Person, settings: "Settings", request: ApiRequest) -> MessageReply:
    asked = Turn("user", (wanted.text,))
    async with kept_conversation(person, THE_CAT) as kept:
        request.observation.model = THE_CAT
        request.observation.path = {"message": {"characters": len(wanted.text), "turns_before": len(kept.turns)}}
        conversation = Conversation((*before(kept.turns, [asked]), asked))
        run = Run(THE_CAT, conversation, person, request, timeout=settings.request_timeout)
        reply = Reply(run, settings.max_tokens, live=not host.rewrites_replies())
        try:
            await reply.whole()
        finally:
            await reply.aclose()
            request.observation.take(reply)
        text = reply.text()
        request.observation.path["characters"] = len(text)
        await kept.add([asked], Turn("assistant", (text,)))
    return MessageReply(text=text, user_id=wanted.user_id or person.name, timestamp=int(time.time()))
