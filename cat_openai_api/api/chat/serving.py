"""Serving chat completions: parsing a request, and rendering the reply."""

import time
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from ...domain.conversation import ToolCall
from ...errors import ApiError
from ...generation.generation import Generation
from ...generation.renderer import Renderer
from ...generation.request import GenerationRequest, new_id, resolve_capable_model
from ...generation.tools import ClientTool, decode_calls
from ...wire.sse import DONE, encode_event
from ...wire.usage import CompletionUsage
from .background import is_background_task
from .chunks import ChatChunkEncoder, format_steps
from .protocol import (
    AssistantReply,
    ChatCompletion,
    ChatCompletionRequest,
    Choice,
    CustomCall,
    FinishReason,
    FunctionCall,
    ReplyCustomToolCall,
    ReplyToolCall,
)
from .reading import read_format, read_messages, read_tools

if TYPE_CHECKING:
    from ....settings import Settings


async def parse_request(body: ChatCompletionRequest, settings: "Settings") -> GenerationRequest:
    """Raises `InvalidRequest` or `ModelNotFound`."""
    is_background = settings.skip_background_tasks and is_background_task(body.messages)
    uses_stored_conversation = settings.history == "cat" and not is_background
    tools = read_tools(body)
    parsed = read_messages(
        body.messages,
        tools,
        allow_remote_images=settings.fetch_remote_images,
        last_user_message_only=uses_stored_conversation,
    )
    format = read_format(body)
    model = await resolve_capable_model(
        body.model,
        settings,
        parsed,
        tools.functions,
        format,
        functions_path="tools" if body.tools else "functions",
        schema_path="response_format.json_schema.schema",
    )
    return GenerationRequest(
        id=new_id("chatcmpl-"),
        requested_model=body.model,
        model=model,
        parsed=parsed,
        stream=bool(body.stream),
        tools=tools,
        format=format,
        sampling=body.sampling(),
        max_tokens=(body.max_completion_tokens, body.max_tokens),
        stop_sequences=body.stop_sequences(),
        uses_stored_conversation=uses_stored_conversation,
        remember=body.store is not False and not is_background,
    )


class ChatRenderer(Renderer):
    """Renders one generation as a chat completion."""

    def __init__(self, generations: Sequence[Generation], body: ChatCompletionRequest) -> None:
        super().__init__(generations)
        (self.generation,) = generations
        self.reply = self.generation.reply
        self.body = body
        self.created = int(time.time())

    async def render(self) -> ChatCompletion:
        await self.reply.wait_for_end()
        called = decode_calls(self.reply.calls(), self.generation.request.tools)
        calls = [_wire_call(call, tool) for call, tool in called]
        legacy_call = None
        if called and self.body.functions:
            first, _ = called[0]
            legacy_call = FunctionCall(name=first.name, arguments=first.arguments)
        text, refusal = self.reply.text(), self.reply.refusal()
        message = AssistantReply(
            content=None if not text and (calls or refusal) else text,
            refusal=refusal or None,
            reasoning_content=format_steps(self.reply.steps()) or None,
            tool_calls=None if legacy_call else calls or None,
            function_call=legacy_call,
        )
        return ChatCompletion(
            id=self.generation.request.id,
            created=self.created,
            model=self.body.model,
            choices=[Choice(message=message, finish_reason=self._finish_reason())],
            usage=CompletionUsage.from_usage(await self.usage()),
            system_fingerprint=self.reply.system_fingerprint,
            service_tier=self._service_tier,
        )

    async def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        encoder = None
        if live and not self.reply.has_first_delta():
            encoder = self._create_encoder()
            yield encoder.encode_first()
        async for deltas in self.generation.deltas(live=live):
            # If the first deltas are available already, they are sent together with the first chunk.
            first_chunk = b""
            if encoder is None:
                encoder = self._create_encoder()
                first_chunk = encoder.encode_first(deltas)
            yield first_chunk + b"".join(map(encoder.encode_delta, deltas))
        if encoder is None:
            encoder = self._create_encoder()
            yield encoder.encode_first()
        if rest := encoder.encode_rest_of_calls():
            yield rest
        yield encoder.encode_chunk({}, self._finish_reason())
        if self.body.includes_usage:
            yield encoder.encode_usage(CompletionUsage.from_usage(await self.usage()).wire())
        yield DONE

    def error_events(self, error: ApiError) -> bytes:
        return encode_event(error.body()) + DONE

    def _create_encoder(self) -> ChatChunkEncoder:
        """Called as late as possible: the fingerprint is unknown before the run's first events."""
        return ChatChunkEncoder(
            {
                "id": self.generation.request.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.body.model,
                "service_tier": self._service_tier,
                "system_fingerprint": self.reply.system_fingerprint,
            },
            self.generation.request.tools,
            include_usage=self.body.includes_usage,
            is_legacy=bool(self.body.functions),
        )

    def _finish_reason(self) -> FinishReason | None:
        reason = self.reply.finish_reason
        return "function_call" if reason == "tool_calls" and self.body.functions else reason

    @property
    def _service_tier(self) -> str | None:
        """The only tier, if the client requested one (OpenAI API reference, `service_tier`)."""
        return "default" if self.body.service_tier else None


def _wire_call(call: ToolCall, tool: ClientTool) -> ReplyToolCall | ReplyCustomToolCall:
    if tool.type == "custom":
        return ReplyCustomToolCall(id=call.id, custom=CustomCall(name=call.name, input=call.arguments))
    return ReplyToolCall(id=call.id, function=FunctionCall(name=call.name, arguments=call.arguments))
