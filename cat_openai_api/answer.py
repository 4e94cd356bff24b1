"""From a question to what the client gets: whole, or as a stream. Every API resource that asks the Cat does it
so."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from .conversation import Conversation, Functions, Turn
from .errors import ApiError
from .hosts.current import host
from .hosts.port import CallDelta, Person, Refusal, Run, Text, Usage
from .json_format import json_instruction
from .kept import KeptConversation, before, kept_conversation
from .observation import Observation
from .question import Question
from .reply import Delta, Reply
from .routing import ApiRequest, json_reply, unless_gone
from .streamer import EventStream
from .tokens import count_prompt_tokens, count_tokens
from .wire import WireReply, encode

if TYPE_CHECKING:
    from ..settings import Settings

HOLD_SECONDS = 5.0
"""A stream begins with the Cat's first words, so that what fails before them keeps its HTTP status; but it
begins after this time at the latest, so that comments keep the line open while the Cat thinks."""


@dataclass(frozen=True)
class Exchange:
    """A question and the Cat's reply to it, under way. To be closed.

    `kept`: the conversation that the Cat keeps, where this one continues it with the turns `asked`.
    """

    question: Question
    person: Person
    conversation: Conversation
    reply: Reply
    observation: Observation
    kept: KeptConversation | None = None
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
        usage = self.observation.usage = self.reply.end.usage or await self._counted()
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
        self.observation.take(self.reply)
        text, calls = self.reply.text(), tuple(self.reply.calls())
        if self.kept and self.question.remember and not self.reply.has_failed and (text or calls):
            await self.kept.add(self.asked, Turn("assistant", (text,), calls))
        if self.observation.debug:
            self.observation.path = self._path()
            self.observation.usage = self.observation.usage or await self._counted()

    def _path(self) -> dict[str, Any]:
        said = self.question.reading.conversation
        messages = [("system", text) for text in said.instructions]
        messages += [(turn.role, turn.text) for turn in said.turns]
        return {
            "reply": self.question.id,
            "asked_for": self.question.asked_for,
            "messages": [{"role": role, "characters": len(text)} for role, text in messages],
        }


class Answer(ABC):
    """What a client gets of an exchange, in the wire form of one API resource. To be closed."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    @abstractmethod
    async def whole(self) -> WireReply: ...

    @abstractmethod
    def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        """Those of a stream, up to its end; not `live`: all of the content in one."""

    @abstractmethod
    def failed(self, error: ApiError) -> bytes:
        """The events that end a stream which cannot go on."""

    async def aclose(self) -> None:
        await self.exchange.aclose()


async def answer(
    question: Question, person: Person, request: ApiRequest, form: Callable[[Exchange], Answer]
) -> Response:
    """Ask the Cat for `person`; the client gets the reply in the form that it asked for.

    Raises `Overloaded`, `RateLimitExceeded`, `InvalidRequest` for an image that cannot be fetched, and what
    `Reply.deltas` raises.
    """
    return await answer_all([question], person, request, lambda exchanges: form(exchanges[0]))


async def answer_all(
    questions: Sequence[Question],
    person: Person,
    request: ApiRequest,
    form: Callable[[Sequence[Exchange]], Answer],
) -> Response:
    """As `answer`, for questions to one model that get one answer, whole or as a stream all of them."""
    settings = await request.settings()
    question = questions[0]
    request.observation.model = question.model
    request.observation.stream = question.stream
    async with AsyncExitStack() as closing:
        closing.callback(await request.admit(person))
        kept = None
        if question.is_kept:
            turn = closing.enter_async_context(kept_conversation(person, question.model))
            kept = await unless_gone(request, turn)
        exchanges = [
            await unless_gone(request, _begin(question, person, settings, request, kept)) for question in questions
        ]
        reply = form(exchanges)
        closing.push_async_callback(reply.aclose)
        if not question.stream:
            return json_reply(await unless_gone(request, reply.whole()))
        with suppress(TimeoutError):
            await unless_gone(request, exchanges[0].reply.begin(), within=HOLD_SECONDS)
        events = reply.events(live=settings.enable_streaming)
        return EventStream(events, reply.failed, closing.pop_all().aclose, request.observation)


async def _begin(
    question: Question, person: Person, settings: "Settings", request: ApiRequest, kept: KeptConversation | None
) -> Exchange:
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
    return Exchange(question, person, conversation, reply, request.observation, kept, asked)


def _texts_of_prompt(conversation: Conversation, functions: Functions | None) -> list[str]:
    """A text for each message, and one for the client's functions."""
    turns = (
        "".join([turn.text, *(call.name + call.arguments for call in turn.calls)]) for turn in conversation.turns
    )
    tools = [encode([*functions.tools.values()]).decode()] if functions else []
    return [*conversation.instructions, *turns, *tools]
