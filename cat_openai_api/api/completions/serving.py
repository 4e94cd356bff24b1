"""Serving completions: parsing a request, and rendering the replies."""

import time
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from ...conversation.builder import ConversationBuilder, ParsedConversation
from ...domain.events import Refusal, Text
from ...errors import ApiError, invalid
from ...generation.generation import Generation
from ...generation.model_names import resolve_model
from ...generation.renderer import Renderer
from ...generation.request import GenerationRequest, new_id
from ...runtime import runtime
from ...tokens.text_input import decode_texts
from ...wire.sse import DONE, encode_event
from ...wire.usage import CompletionUsage
from .chunks import CompletionChunkEncoder
from .protocol import Choice, Completion, CompletionRequest, FinishReason

if TYPE_CHECKING:
    from ....settings import Settings


async def parse_request(body: CompletionRequest, settings: "Settings") -> list[GenerationRequest]:
    """One generation request for each prompt. Raises `InvalidRequest` or `ModelNotFound`."""
    model = resolve_model(body.model, settings)
    limit = settings.max_concurrent_requests
    if limit and len(body.prompt) > limit:
        raise invalid("prompt", f"this Cat runs at most {limit} generations at the same time; send fewer prompts")
    prompts = await decode_texts(body.prompt, "prompt", runtime.vocabulary)
    id = new_id("cmpl-")
    return [
        GenerationRequest(
            id=id,
            requested_model=body.model,
            model=model,
            parsed=_read_prompt(prompt),
            stream=bool(body.stream),
            sampling=body.sampling(),
            max_tokens=(body.max_tokens,),
            stop_sequences=body.stop_sequences(),
        )
        for prompt in prompts
    ]


def _read_prompt(prompt: str) -> ParsedConversation:
    builder = ConversationBuilder(allow_remote_images=False)
    builder.add_user_turn("prompt", [prompt])
    return builder.build("prompt")


class CompletionRenderer(Renderer):
    """Renders generations as the choices of a completion. The generations run one after the other."""

    def __init__(self, generations: Sequence[Generation], body: CompletionRequest) -> None:
        super().__init__(generations)
        self.body = body
        self.created = int(time.time())

    async def render(self) -> Completion:
        choices = []
        for index, generation in enumerate(self.generations):
            await generation.reply.wait_for_end()
            text = generation.reply.text() + generation.reply.refusal()
            choices.append(Choice(text=text, index=index, finish_reason=_finish_reason(generation)))
        return Completion(
            id=self.generations[0].request.id,
            created=self.created,
            model=self.body.model,
            choices=choices,
            usage=CompletionUsage.from_usage(await self.usage()),
            system_fingerprint=self.generations[0].reply.system_fingerprint,
        )

    async def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        for index, generation in enumerate(self.generations):
            encoder = None
            async for deltas in generation.deltas(live=live):
                encoder = encoder or self._create_encoder(index)
                if texts := [delta.delta for delta in deltas if isinstance(delta, Text | Refusal)]:
                    yield b"".join(map(encoder.encode_delta, texts))
            encoder = encoder or self._create_encoder(index)
            yield encoder.encode_chunk("", _finish_reason(generation))
        if self.body.includes_usage:
            yield self._create_encoder(0).encode_usage(CompletionUsage.from_usage(await self.usage()).wire())
        yield DONE

    def error_events(self, error: ApiError) -> bytes:
        return encode_event(error.body()) + DONE

    def _create_encoder(self, index: int) -> CompletionChunkEncoder:
        return CompletionChunkEncoder(
            {
                "id": self.generations[0].request.id,
                "object": "text_completion",
                "created": self.created,
                "model": self.body.model,
                "system_fingerprint": self.generations[0].reply.system_fingerprint,
            },
            index,
            include_usage=self.body.includes_usage,
        )


def _finish_reason(generation: Generation) -> FinishReason | None:
    """Completions have no functions, so `tool_calls` is not among their finish reasons."""
    reason = generation.reply.finish_reason
    return "stop" if reason == "tool_calls" else reason
