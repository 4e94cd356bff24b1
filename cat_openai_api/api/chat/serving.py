"""A chat completion, from the validated request to the pieces of its reply."""

import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from ...errors import ApiError
from ...generation.generation import Generation
from ...generation.renderer import Renderer
from ...generation.request import GenerationRequest, model_for, new_id
from ...http.streamer import DONE, event
from ...wire.usage import CompletionUsage
from .background import is_background_task
from .chunks import Frame, format_steps
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
    from ....settings import Settings


async def parse_request(body: ChatCompletionRequest, settings: "Settings") -> GenerationRequest:
    """Raises `InvalidRequest` or `ModelNotFound`."""
    in_background = settings.skip_background_tasks and is_background_task(body.messages)
    is_stored = settings.history == "cat" and not in_background
    reading = read(body.messages, fetches_images=settings.fetch_remote_images, since_the_question=is_stored)
    functions, format = body.client_functions(), body.json_format()
    model = await model_for(
        body.model,
        settings,
        reading,
        functions,
        format,
        functions_at="tools" if body.tools else "functions",
        schema_at="response_format.json_schema.schema",
    )
    return GenerationRequest(
        id=new_id("chatcmpl-"),
        requested_model=body.model,
        model=model,
        reading=reading,
        stream=bool(body.stream),
        functions=functions,
        format=format,
        sampling=body.sampling(),
        max_tokens=(body.max_completion_tokens, body.max_tokens),
        stops=body.stops(),
        is_stored=is_stored,
        remember=body.store is not False and not in_background,
    )


class Completion(Renderer):
    """A chat completion."""

    def __init__(self, generation: Generation, body: ChatCompletionRequest) -> None:
        super().__init__(generation)
        self.body = body
        self.reply = generation.reply
        self.created = int(time.time())

    async def whole(self) -> ChatCompletion:
        await self.reply.whole()
        calls = [
            ReplyToolCall(id=call.id, function=FunctionCall(name=call.name, arguments=call.arguments))
            for call in self.reply.calls()
        ]
        legacy = calls[0].function if calls and self.body.functions else None
        text, refusal = self.reply.text(), self.reply.refusal()
        message = AssistantReply(
            content=None if not text and (calls or refusal) else text,
            refusal=refusal or None,
            reasoning_content=format_steps(self.reply.steps()) or None,
            tool_calls=None if legacy else calls or None,
            function_call=legacy,
        )
        return ChatCompletion(
            id=self.generation.question.id,
            created=self.created,
            model=self.body.model,
            choices=[Choice(message=message, finish_reason=self._finish_reason())],
            usage=CompletionUsage.of(await self.generation.usage()),
            system_fingerprint=self.reply.system_fingerprint,
            service_tier=self.service_tier,
        )

    async def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        frame = None
        if live and not self.reply.has_begun():
            frame = self._frame()
            yield frame.opening()
        async for deltas in self.generation.deltas(live=live):
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
        if self.body.includes_usage:
            yield frame.usage(CompletionUsage.of(await self.generation.usage()).wire())
        yield DONE

    def failed(self, error: ApiError) -> bytes:
        return event(error.body()) + DONE

    def _frame(self) -> Frame:
        return Frame(
            {
                "id": self.generation.question.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.body.model,
                "service_tier": self.service_tier,
                "system_fingerprint": self.reply.system_fingerprint,
            },
            include_usage=self.body.includes_usage,
            is_legacy=bool(self.body.functions),
        )

    def _finish_reason(self) -> FinishReason | None:
        reason = self.reply.finish_reason
        return "function_call" if reason == "tool_calls" and self.body.functions else reason

    @property
    def service_tier(self) -> str | None:
        """There is one tier, named where the client asks about it (OpenAI API reference, `service_tier`)."""
        return "default" if self.body.service_tier else None
