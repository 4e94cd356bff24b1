"""A chat completion, from the validated request to the pieces of its reply."""

import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from ..answer import Answer, Exchange
from ..errors import ApiError
from ..question import Question, model_for, new_id
from ..streamer import DONE, event
from ..usage import CompletionUsage
from .background import is_background_task
from .frames import Frame, told
from .protocol import (
    AssistantReply,
    ChatCompletion,
    ChatCompletionRequest,
    Choice,
    FinishReason,
    FunctionCall,
    ReplyToolCall,
)
from .reading import read

if TYPE_CHECKING:
    from ...settings import Settings


async def understand(wanted: ChatCompletionRequest, settings: "Settings") -> Question:
    """Raises `InvalidRequest` or `ModelNotFound`."""
    in_background = settings.skip_background_tasks and is_background_task(wanted.messages)
    is_kept = settings.history == "cat" and not in_background
    reading = read(wanted.messages, fetches_images=settings.fetch_remote_images, since_the_question=is_kept)
    functions, format = wanted.client_functions(), wanted.json_format()
    model = await model_for(
        wanted.model,
        settings,
        reading,
        functions,
        format,
        functions_at="tools" if wanted.tools else "functions",
        schema_at="response_format.json_schema.schema",
    )
    return Question(
        id=new_id("chatcmpl-"),
        asked_for=wanted.model,
        model=model,
        reading=reading,
        stream=bool(wanted.stream),
        functions=functions,
        format=format,
        sampling=wanted.sampling(),
        max_tokens=(wanted.max_completion_tokens, wanted.max_tokens),
        stops=wanted.stops(),
        is_kept=is_kept,
        remember=wanted.store is not False and not in_background,
    )


class Completion(Answer):
    """A chat completion."""

    def __init__(self, exchange: Exchange, wanted: ChatCompletionRequest) -> None:
        super().__init__(exchange)
        self.wanted = wanted
        self.reply = exchange.reply
        self.created = int(time.time())

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
            reasoning_content=told(self.reply.steps()) or None,
            tool_calls=None if legacy else calls or None,
            function_call=legacy,
        )
        return ChatCompletion(
            id=self.exchange.question.id,
            created=self.created,
            model=self.wanted.model,
            choices=[Choice(message=message, finish_reason=self._finish_reason())],
            usage=CompletionUsage.of(await self.exchange.usage()),
            system_fingerprint=self.reply.system_fingerprint,
            service_tier=self.service_tier,
        )

    async def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        frame = None
        if live and not self.reply.has_begun():
            frame = self._frame()
            yield frame.opening()
        async for deltas in self.exchange.deltas(live=live):
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
        if self.wanted.includes_usage:
            yield frame.usage(CompletionUsage.of(await self.exchange.usage()).wire())
        yield DONE

    def failed(self, error: ApiError) -> bytes:
        return event(error.body()) + DONE

    def _frame(self) -> Frame:
        return Frame(
            {
                "id": self.exchange.question.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.wanted.model,
                "service_tier": self.service_tier,
                "system_fingerprint": self.reply.system_fingerprint,
            },
            include_usage=self.wanted.includes_usage,
            is_legacy=bool(self.wanted.functions),
        )

    def _finish_reason(self) -> FinishReason | None:
        reason = self.reply.finish_reason
        return "function_call" if reason == "tool_calls" and self.wanted.functions else reason

    @property
    def service_tier(self) -> str | None:
        """There is one tier, named where the client asks about it (OpenAI API reference, `service_tier`)."""
        return "default" if self.wanted.service_tier else None
