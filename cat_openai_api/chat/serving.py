"""A chat completion, from the validated request to the pieces of its reply."""

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..conversation import Conversation, Functions, Turn
from ..errors import invalid
from ..hosts.current import host
from ..hosts.port import CallDelta, Kind, Person, Refusal, Run, Text, Usage
from ..json_format import json_instruction
from ..kept import KeptConversation, before
from ..models.serving import resolve_model
from ..observation import Observation
from ..reply import Delta, Reply
from ..routing import ApiRequest
from ..structured import SchemaRefused, check_schema
from ..tokens import count_prompt_tokens, count_tokens
from ..wire import encode
from .background import is_background_task
from .frames import Frame
from .protocol import (
    AssistantReply,
    ChatCompletion,
    ChatCompletionRequest,
    Choice,
    CompletionTokensDetails,
    CompletionUsage,
    FinishReason,
    FunctionCall,
    JsonSchemaFormat,
    PromptTokensDetails,
    ReplyToolCall,
    RequestMessage,
)
from .reading import Reading, read

if TYPE_CHECKING:
    from ...settings import Settings


@dataclass(frozen=True)
class Completion:
    """One completion under way: the Cat's reply and what its wire form needs of the request.

    `kept`: the conversation that the Cat keeps, where this one continues it with the turns `asked`.
    """

    question: "Question"
    conversation: Conversation
    reply: Reply
    observation: Observation
    kept: KeptConversation | None = None
    asked: Sequence[Turn] = ()
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def wanted(self) -> ChatCompletionRequest:
        return self.question.wanted

    async def whole(self) -> ChatCompletion:
        await self.reply.whole()
        calls = [
            ReplyToolCall(id=call.id, function=FunctionCall(name=call.name, arguments=call.arguments))
            for call in self.reply.calls()
        ]
        legacy = calls[0].function if calls and self.wanted.functions else None
        text, refusal = self.reply.text(), self.reply.refusal()
        message = AssistantReply(
            content=None if not text and (calls or refusal) else text,
            refusal=refusal or None,
            tool_calls=None if legacy else calls or None,
            function_call=legacy,
        )
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.wanted.model,
            choices=[Choice(message=message, finish_reason=self._finish_reason())],
            usage=await self.usage(),
            system_fingerprint=self.reply.system_fingerprint,
            service_tier=self.service_tier,
        )

    async def chunks(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        """The events of a stream; not `live`: all of the content in one."""
        frame = None
        if live and not self.reply.has_begun():
            frame = self._frame()
            yield frame.opening()
        async for deltas in self._deltas(live=live):
            # One write for the opening and the first words, where those are there already.
            opening = b""
            if frame is None:
                frame = self._frame()
                opening = frame.opening(deltas)
            yield opening + b"".join(map(frame.delta, deltas))
        if frame is None:
            frame = self._frame()
            yield frame.opening()
        yield frame.chunk({}, self._finish_reason())
        if self._includes_usage:
            yield frame.usage((await self.usage()).wire())

    def _frame(self) -> Frame:
        return Frame(
            {
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.wanted.model,
                "service_tier": self.service_tier,
                "system_fingerprint": self.reply.system_fingerprint,
            },
            include_usage=self._includes_usage,
            is_legacy=bool(self.wanted.functions),
        )

    @property
    def _includes_usage(self) -> bool:
        return bool(self.wanted.stream_options and self.wanted.stream_options.include_usage)

    async def _deltas(self, *, live: bool) -> AsyncGenerator[list[Delta], None]:
        if live:
            async for deltas in self.reply.deltas():
                yield deltas
            return
        await self.reply.whole()
        deltas = []
        if text := self.reply.text():
            deltas.append(Text(text))
        if refusal := self.reply.refusal():
            deltas.append(Refusal(refusal))
        for index, call in enumerate(self.reply.calls()):
            deltas.append(CallDelta(index, call.id, call.name, call.arguments))
        yield deltas

    def _finish_reason(self) -> FinishReason | None:
        reason = self.reply.finish_reason
        return "function_call" if reason == "tool_calls" and self.wanted.functions else reason

    @property
    def service_tier(self) -> str | None:
        """There is one tier, named where the client asks about it (OpenAI API reference, `service_tier`)."""
        return "default" if self.wanted.service_tier else None

    async def usage(self) -> CompletionUsage:
        reported = self.observation.usage = self.reply.end.usage or await self._counted()
        return CompletionUsage(
            prompt_tokens=reported.prompt,
            completion_tokens=reported.completion,
            total_tokens=reported.total,
            prompt_tokens_details=None
            if reported.cached is None
            else PromptTokensDetails(cached_tokens=reported.cached),
            completion_tokens_details=None
            if reported.reasoning is None
            else CompletionTokensDetails(reasoning_tokens=reported.reasoning),
        )

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
        return {
            "completion": self.id,
            "asked_for": self.wanted.model,
            "messages": [
                {"role": message.role, "characters": _characters(message)} for message in self.wanted.messages
            ],
        }


@dataclass(frozen=True)
class Question:
    """A request that can be answered, as far as that can be told before anything has run."""

    wanted: ChatCompletionRequest
    model: str
    reading: Reading
    functions: Functions | None
    is_kept: bool
    remember: bool


async def understand(wanted: ChatCompletionRequest, settings: "Settings") -> Question:
    """Raises `InvalidRequest` or `ModelNotFound`."""
    in_background = settings.skip_background_tasks and is_background_task(wanted.messages)
    is_kept = settings.history == "cat" and not in_background
    reading = read(wanted.messages, remote_images=settings.fetch_remote_images, since_the_question=is_kept)
    functions = wanted.client_functions()
    if isinstance(wanted.response_format, JsonSchemaFormat):
        try:
            await check_schema(wanted.response_format.json_schema.schema_ or {})
        except SchemaRefused as problem:
            raise invalid("response_format.json_schema.schema", str(problem)) from problem
    model = resolve_model(wanted.model, settings)
    kinds: dict[Kind, str] = dict(reading.kinds)
    if functions:
        kinds[Functions] = "tools" if wanted.tools else "functions"
    for kind, path in kinds.items():
        if not await host.takes(model, kind):
            message = f"the LLM of this Cat takes no {kind.__name__.lower()}; leave it out"
            raise invalid(path, message, "unsupported_parameter")
    return Question(
        wanted=wanted,
        model=model,
        reading=reading,
        functions=functions,
        is_kept=is_kept,
        remember=wanted.store is not False and not in_background,
    )


async def start_completion(
    question: Question,
    person: Person,
    settings: "Settings",
    request: ApiRequest,
    kept: KeptConversation | None,
) -> Completion:
    """Prepare the completion; the Cat has not been asked yet. Raises `InvalidRequest` for an image that cannot be
    fetched."""
    wanted = question.wanted
    conversation = await question.reading.fetch_images()
    asked = conversation.turns
    if kept:
        conversation = replace(conversation, turns=(*before(kept.turns, asked), *asked))
    wanted_format = wanted.json_format()
    if wanted_format and wanted_format.schema is None and not conversation.mentions("json"):
        # LLMs in JSON mode want to be told of it in words too, and OpenAI's refuse a request without that word.
        instructions = (*conversation.instructions, json_instruction(wanted_format))
        conversation = replace(conversation, instructions=instructions)
    rewritten = host.rewrites_replies()
    limits = (wanted.max_completion_tokens, wanted.max_tokens, settings.max_tokens)
    return Completion(
        question=question,
        conversation=conversation,
        observation=request.observation,
        kept=kept,
        asked=asked,
        reply=Reply(
            Run(
                question.model,
                conversation,
                person,
                request,
                sampling=wanted.sampling(),
                functions=question.functions,
                format=wanted_format,
                remember=question.remember,
                timeout=settings.request_timeout,
            ),
            max_tokens=min((limit for limit in limits if limit and limit > 0), default=0),
            stops=wanted.stops(),
            live=settings.streams_live(rewritten=rewritten) if wanted.stream else not rewritten,
        ),
    )


def _texts_of_prompt(conversation: Conversation, functions: Functions | None) -> list[str]:
    """A text for each message, and one for the client's functions."""
    turns = (
        "".join([turn.text, *(call.name + call.arguments for call in turn.calls)]) for turn in conversation.turns
    )
    tools = [encode([*functions.tools.values()]).decode()] if functions else []
    return [*conversation.instructions, *turns, *tools]


def _characters(message: RequestMessage) -> int:
    content = message.content
    if content is None or isinstance(content, str):
        return len(content or "")
    return sum(len(getattr(part, "text", "")) for part in content)
