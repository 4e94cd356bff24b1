"""Serving `/message`: one message in the conversation that the Cat stores for a person."""

import time
from typing import TYPE_CHECKING

from ...conversation.history import turns_before
from ...domain.conversation import Conversation, Turn
from ...domain.model_ids import CAT_MODEL
from ...domain.people import Caller, Person
from ...errors import InsufficientPermissions
from ...generation.reply import Reply
from ...generation.used import usage_of_closed
from ...hosts.port import Run
from ...runtime import runtime
from ...telemetry.record import RequestRecord
from .protocol import MessageReply, MessageRequest

if TYPE_CHECKING:
    from ....settings import Settings


def check_user_id(body: MessageRequest, caller: Caller) -> None:
    """Raises `InsufficientPermissions` if a caller who is not a service names another person."""
    own_ids = (caller.person.name, caller.person.key)
    if body.user_id and not caller.is_service and body.user_id not in own_ids:
        raise InsufficientPermissions(
            "The credentials belong to one person. Leave user_id out or send that person's name.", param="user_id"
        )


async def reply_to_message(
    body: MessageRequest, person: Person, context: object, settings: "Settings", record: RequestRecord
) -> MessageReply:
    """`context`: of the `Caller`. Raises what `Reply.deltas` raises."""
    record.model = CAT_MODEL
    turn = Turn("user", (body.text,))
    async with runtime.conversations.open(person, CAT_MODEL) as stored:
        record.details = {"message": {"characters": len(body.text), "turns_before": len(stored.turns)}}
        conversation = Conversation((*turns_before(stored.turns, [turn]), turn))
        run = Run(CAT_MODEL, conversation, person, context, timeout=settings.request_timeout)
        reply = Reply(run, settings.max_tokens, live=not runtime.host.rewrites_replies(CAT_MODEL), stream=False)
        try:
            await reply.wait_for_end()
        finally:
            await reply.aclose()
            record.add_generation(reply.finish_reason, await usage_of_closed(run, reply), reply.first_delta_at)
        text = reply.text()
        record.details["characters"] = len(text)
        if run.questions.are_read:
            as_read = run.questions.turns.get(len(conversation.turns) - 1, turn)
            await stored.add([as_read], Turn("assistant", (text,)))
    return MessageReply(text=text, user_id=body.user_id or person.name, timestamp=int(time.time()))
