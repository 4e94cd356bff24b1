"""One generation: a request, the run of the Cat for it, and what happens when the run ends."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..conversation.history import StoredConversation, turns_before
from ..domain.conversation import Conversation, Turn
from ..domain.events import CallDelta, Delta, Refusal, Text
from ..domain.json_instruction import json_instruction
from ..domain.people import Person
from ..domain.usage import Usage
from ..hosts.port import Questions, Run
from ..runtime import runtime
from ..telemetry.record import RequestRecord
from ..wire.json import JsonObject
from .reply import Reply
from .request import GenerationRequest
from .used import count_usage, usage_of_closed

if TYPE_CHECKING:
    from ...settings import Settings


@dataclass(frozen=True)
class Generation:
    """A request and the Cat's reply to it. It must be closed.

    `conversation`: the whole conversation that the Cat gets. `questions`: what the Cat's pipeline made of it. `stored`:
    the stored conversation that it continues, if any. `new_turns`: the turns that are added to it.
    """

    request: GenerationRequest
    conversation: Conversation
    questions: Questions
    reply: Reply
    record: RequestRecord
    stored: StoredConversation | None = None
    new_turns: Sequence[Turn] = ()

    async def deltas(self, *, live: bool) -> AsyncGenerator[list[Delta], None]:
        """What the client gets. `live`: as the LLM produces it; otherwise in one list, after the end of the reply.

        Raises what `Reply.deltas` raises.
        """
        if live:
            async for deltas in self.reply.deltas():
                yield deltas
            return
        await self.reply.wait_for_end()
        yield self.complete_deltas()

    def complete_deltas(self) -> list[Delta]:
        """What the client gets where it did not get it live: all of the reply so far."""
        complete: list[Delta] = [*self.reply.steps()]
        if text := self.reply.text():
            complete.append(Text(text))
        if refusal := self.reply.refusal():
            complete.append(Refusal(refusal))
        for index, call in enumerate(self.reply.calls()):
            complete.append(CallDelta(index, call.id, call.name, call.arguments))
        return complete

    async def usage(self) -> Usage:
        """The usage that the LLM reported, otherwise counted tokens. To be called after the end of the reply."""
        return self.reply.end.usage or await count_usage(self.reply.run, self.reply)

    async def aclose(self) -> None:
        """End the run if it has not ended, store the conversation, and add the generation to the record."""
        await self.reply.aclose()
        usage = await usage_of_closed(self.reply.run, self.reply)
        self.record.add_generation(self.reply.finish_reason, usage, self.reply.first_delta_at)
        text, calls = self.reply.final_text(), tuple(self.reply.calls())
        has_reply = self.questions.are_read and not self.reply.has_failed and (text or calls)
        if self.stored and self.request.remember and has_reply:
            turns_before = len(self.conversation.turns) - len(self.new_turns)
            await self.stored.add(self.turns_as_read()[turns_before:], Turn("assistant", (text,), calls))
        if self.record.debug:
            self.record.details = self._details()

    def turns_as_read(self) -> list[Turn]:
        """The turns of the conversation, those of the user as the Cat's pipeline left them."""
        return [self.questions.turns.get(place, turn) for place, turn in enumerate(self.conversation.turns)]

    def _details(self) -> JsonObject:
        conversation = self.request.parsed.conversation
        messages = [("system", text) for text in conversation.instructions]
        messages += [(turn.role, turn.text) for turn in conversation.turns]
        return {
            "reply": self.request.id,
            "requested_model": self.request.requested_model,
            "messages": [{"role": role, "characters": len(text)} for role, text in messages],
        }


async def prepare_generation(
    request: GenerationRequest,
    person: Person,
    context: object,
    settings: "Settings",
    record: RequestRecord,
    *,
    stored: StoredConversation | None,
) -> Generation:
    """Download the conversation's images and create the run, which does not start yet.

    `context`: of the `Caller`. `stored`: the conversation that the request continues, if any. Raises `InvalidRequest`
    for an image that cannot be downloaded.
    """
    conversation = await request.parsed.download_images()
    new_turns = conversation.turns
    if stored:
        conversation = replace(conversation, turns=(*turns_before(stored.turns, new_turns), *new_turns))
    if request.format and request.format.schema is None and not conversation.mentions("json"):
        # OpenAI's models reject JSON mode unless a message contains the word JSON (OpenAI API reference,
        # `response_format`); others need the instruction as well.
        instructions = (*conversation.instructions, json_instruction(request.format))
        conversation = replace(conversation, instructions=instructions)
    has_reply_hooks = runtime.host.rewrites_replies(request.model)
    run = Run(
        request.model,
        conversation,
        person,
        context,
        sampling=request.sampling,
        functions=request.tools.functions,
        format=request.format,
        remember=request.remember,
        conversation_only=request.conversation_only,
        timeout=settings.request_timeout,
        include_steps=settings.show_steps,
        cancellation=request.cancellation,
    )
    limits = (*request.max_tokens, settings.max_tokens)
    reply = Reply(
        run,
        max_tokens=min((limit for limit in limits if limit and limit > 0), default=0),
        stop_sequences=request.stop_sequences,
        live=settings.streams_live(has_reply_hooks=has_reply_hooks) if request.stream else not has_reply_hooks,
        stream=request.stream and settings.enable_streaming,
    )
    return Generation(request, conversation, run.questions, reply, record, stored, new_turns)
