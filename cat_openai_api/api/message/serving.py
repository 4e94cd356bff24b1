"""One message in a conversation that the Cat itself keeps."""

import time
from typing import TYPE_CHECKING

from ...access.end_user import resolve_end_user
from ...conversation.history import before, open_conversation
from ...domain.conversation import Conversation, Turn
from ...domain.model_ids import CAT_MODEL
from ...domain.people import Person
from ...errors import InsufficientPermissions
from ...generation.reply import Reply
from ...hosts.current import host
from ...hosts.port import Run
from ...http.request import ApiRequest
from .protocol import MessageReply, MessageRequest

if TYPE_CHECKING:
    from ....settings import Settings


def addressee(body: MessageRequest, request: ApiRequest, settings: "Settings") -> Person:
    """Whose conversation it is. Raises `InsufficientPermissions` when a person names somebody else."""
    caller = request.caller
    own = (caller.person.name, caller.person.key)
    if body.user_id and not caller.is_service and body.user_id not in own:
        raise InsufficientPermissions(
            "Your key is for one person: leave user_id out, or send your own.", param="user_id"
        )
    return resolve_end_user(request, body.user_id, settings)


async def answer(body: MessageRequest, person: Person, settings: "Settings", request: ApiRequest) -> MessageReply:
    asked = Turn("user", (body.text,))
    async with open_conversation(person, CAT_MODEL) as kept:
        request.record.model = CAT_MODEL
        request.record.path = {"message": {"characters": len(body.text), "turns_before": len(kept.turns)}}
        conversation = Conversation((*before(kept.turns, [asked]), asked))
        run = Run(CAT_MODEL, conversation, person, request, timeout=settings.request_timeout)
        reply = Reply(run, settings.max_tokens, live=not host.rewrites_replies())
        try:
            await reply.whole()
        finally:
            await reply.aclose()
            request.record.take(reply)
        text = reply.text()
        request.record.path["characters"] = len(text)
        await kept.add([asked], Turn("assistant", (text,)))
    return MessageReply(text=text, user_id=body.user_id or person.name, timestamp=int(time.time()))
