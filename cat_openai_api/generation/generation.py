"""From a question to what the client gets: whole, or as a stream. Every API resource that asks the Cat does it
so."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..conversation.history import StoredConversation, before
from ..domain.conversation import Conversation, Functions, Turn
from ..domain.events import CallDelta, Delta, Refusal, Text
from ..domain.json_instruction import json_instruction
from ..domain.people import Person
from ..domain.usage import Usage
from ..hosts.current import host
from ..hosts.port import Run
from ..http.request import ApiRequest
from ..telemetry.record import RequestRecord
from ..tokens.counting import count_prompt_tokens, count_tokens
from ..wire.json import encode
from .reply import Reply
from .request import GenerationRequest

if TYPE_CHECKING:
    from ...settings import Settings


@dataclass(frozen=True)
class Generation:
    """A question and the Cat's reply to it, under way. To be closed.

    `kept`: the conversation that the Cat keeps, where this one continues it with the turns `asked`.
    """

    question: GenerationRequest
    person: Person
    conversation: Conversation
    reply: Reply
    record: RequestRecord
    kept: StoredConversation | None = None
    asked: Sequence[Turn] = ()

    async def deltas(self, *, live: bool) -> AsyncGenerator[list[Delta], None]:
        """What the client may have; not `live`: all of it at once. See `Reply.deltas`."""
        if live:
            async for deltas in self.reply.deltas():
                yield deltas
            return
        await self.reply.whole()
        whole: list[Delta] = [*self.reply.steps()]
        if text := self.reply.text():
            whole.append(Text(text))
        if refusal := self.reply.refusal():
            whole.append(Refusal(refusal))
        for index, call in enumerate(self.reply.calls()):
            whole.append(CallDelta(index, call.id, call.name, call.arguments))
        yield whole

    async def usage(self) -> Usage:
        """What the LLM reported, or else a count."""
        usage = self.record.usage = self.reply.end.usage or await self._counted()
        return usage

    async def _counted(self) -> Usage:
        """For an LLM that does not report, or that was ended before it did. Images are not counted."""
        calls = [text for call in self.reply.calls() for text in (call.name, call.arguments)]
        prompt = await count_prompt_tokens(_texts_of_prompt(self.conversation, self.question.functions))
        completion = await count_tokens([self.reply.text(), self.reply.refusal(), *calls])
        return Usage(prompt, completion, prompt + completion)

    async def aclose(self) -> None:
        """End the run if it has not ended, and keep what was said."""
        await self.reply.aclose()
        self.record.take(self.reply)
        text, calls = self.reply.text(), tuple(self.reply.calls())
        if self.kept and self.question.remember and not self.reply.has_failed and (text or calls):
            await self.kept.add(self.asked, Turn("assistant", (text,), calls))
        if self.record.debug:
            self.record.path = self._path()
            self.record.usage = self.record.usage or await self._counted()

    def _path(self) -> dict[str, Any]:
        said = self.question.reading.conversation
        messages = [("system", text) for text in said.instructions]
        messages += [(turn.role, turn.text) for turn in said.turns]
        return {
            "reply": self.question.id,
            "asked_for": self.question.requested_model,
            "messages": [{"role": role, "characters": len(text)} for role, text in messages],
        }


async def _begin(
    question: GenerationRequest,
    person: Person,
    settings: "Settings",
    request: ApiRequest,
    kept: StoredConversation | None,
) -> Generation:
    """The Cat has not been asked yet when this returns."""
    conversation = await question.reading.fetch_images()
    asked = conversation.turns
    if kept:
        conversation = replace(conversation, turns=(*before(kept.turns, asked), *asked))
    if question.format and question.format.schema is None and not conversation.mentions("json"):
        # LLMs in JSON mode want to be told of it in words too, and OpenAI's refuse a request without that word.
        instructions = (*conversation.instructions, json_instruction(question.format))
        conversation = replace(conversation, instructions=instructions)
    rewritten = host.rewrites_replies()
    run = Run(
        question.model,
        conversation,
        person,
        request,
        sampling=question.sampling,
        functions=question.functions,
        format=question.format,
        remember=question.remember,
        timeout=settings.request_timeout,
        with_steps=settings.show_steps,
        cancellation=question.cancellation,
    )
    limits = (*question.max_tokens, settings.max_tokens)
    reply = Reply(
        run,
        max_tokens=min((limit for limit in limits if limit and limit > 0), default=0),
        stops=question.stops,
        live=settings.streams_live(rewritten=rewritten) if question.stream else not rewritten,
    )
    return Generation(question, person, conversation, reply, request.record, kept, asked)


def _texts_of_prompt(conversation: Conversation, functions: Functions | None) -> list[str]:
    """A text for each message, and one for the client's functions."""
    turns = (
        "".join([turn.text, *(call.name + call.arguments for call in turn.calls)]) for turn in conversation.turns
    )
    tools = [encode([*functions.tools.values()]).decode()] if functions else []
    return [*conversation.instructions, *turns, *tools]
