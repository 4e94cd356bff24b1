"""One message in the conversation that the Cat stores for its user."""

import time
from typing import TYPE_CHECKING

from ...conversation.history import before
from ...domain.conversation import Conversation, Turn
from ...domain.model_ids import CAT_MODEL
from ...domain.people import Caller, Person
from ...errors import InsufficientPermissions
from ...generation.reply import Reply
from ...hosts.port import Run
from ...runtime import runtime
from ...telemetry.record import RequestRecord
from .protocol import MessageReply, MessageRequest

if TYPE_CHECKING:
    from ....settings import Settings


def check_user_id(body: MessageRequest, caller: Caller) -> None:
    """Raises `InsufficientPermissions` when a caller who is one person names somebody else."""
    own = (caller.person.name, caller.person.key)
    if body.user_id and not caller.is_service and body.user_id not in own:
        raise InsufficientPermissions(
            "Your key is for one person: leave user_id out, or send your own.", param="user_id"
        )


async def answer_message(
    body: MessageRequest, person: Person, context: object, settings: "Settings", record: RequestRecord
) -> MessageReply:
    """`context`: of the `Caller`. Raises what `Reply.deltas` raises."""
    record.model = CAT_MODEL
    question = Turn("user", (body.text,))
    async with runtime.conversations.open(person, CAT_MODEL) as stored:
        record.details = {"message": {"characters": len(body.text), "turns_before": len(stored.turns)}}
        conversation = Conversation((*before(stored.turns, [question]), question))
        run = Run(CAT_MODEL, conversation, person, context, timeout=settings.request_timeout)
        reply = Reply(run, settings.max_tokens, live=not runtime.host.rewrites_replies())
        try:
            await reply.whole()
        finally:
            await reply.aclose()
            record.add_generation(reply.finish_reason, reply.end.usage, reply.first_delta_at)
        text = reply.text()
        record.details["characters"] = len(text)
        await stored.add([question], Turn("assistant", (text,)))
    return MessageReply(text=text, user_id=body.user_id or person.name, timestamp=int(time.time()))
