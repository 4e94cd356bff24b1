"""A completion, from the validated request to the chunks of its response."""

import time
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from ...conversation.builder import ConversationBuilder, ParsedConversation
from ...domain.events import Refusal, Text
from ...errors import ApiError
from ...generation.generation import Generation
from ...generation.model_names import resolve_model
from ...generation.renderer import Renderer
from ...generation.request import GenerationRequest, new_id
from ...runtime import runtime
from ...tokens.text_input import decode_texts
from ...wire.sse import DONE, event
from ...wire.usage import CompletionUsage
from .chunks import CompletionChunks
from .protocol import Choice, Completion, CompletionRequest, FinishReason

if TYPE_CHECKING:
    from ....settings import Settings


async def parse_request(body: CompletionRequest, settings: "Settings") -> list[GenerationRequest]:
    """One generation request for each prompt. Raises `InvalidRequest` or `ModelNotFound`."""
    model = resolve_model(body.model, settings)
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
            stops=body.stops(),
        )
        for prompt in prompts
    ]


def _read_prompt(prompt: str) -> ParsedConversation:
    builder = ConversationBuilder(fetches=False)
    builder.user("prompt", [prompt])
    return builder.build("prompt")


class CompletionRenderer(Renderer):
    """A completion with a choice for each generation. The generations run one after the other."""

    def __init__(self, generations: Sequence[Generation], body: CompletionRequest) -> None:
        super().__init__(generations)
        self.body = body
        self.created = int(time.time())

    async def whole(self) -> Completion:
        choices = []
        for index, generation in enumerate(self.generations):
            await generation.reply.whole()
            text = generation.reply.text() + generation.reply.refusal()
            choices.append(Choice(text=text, index=index, finish_reason=_finish_reason(generation)))
        return Completion(
            id=self.generations[0].request.id,
            created=self.created,
            model=self.body.model,
            choices=choices,
            usage=CompletionUsage.of(await self.usage()),
            system_fingerprint=self.generations[0].reply.system_fingerprint,
        )

    async def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        for index, generation in enumerate(self.generations):
            chunks = None
            async for deltas in generation.deltas(live=live):
                chunks = chunks or self._chunks(index)
                if texts := [delta.delta for delta in deltas if isinstance(delta, Text | Refusal)]:
                    yield b"".join(map(chunks.delta, texts))
            chunks = chunks or self._chunks(index)
            yield chunks.chunk("", _finish_reason(generation))
        if self.body.includes_usage:
            yield self._chunks(0).with_usage(CompletionUsage.of(await self.usage()).wire())
        yield DONE

    def failed(self, error: ApiError) -> bytes:
        return event(error.body()) + DONE

    def _chunks(self, index: int) -> CompletionChunks:
        return CompletionChunks(
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
    """A completion has no functions to call."""
    reason = generation.reply.finish_reason
    return "stop" if reason == "tool_calls" else reason
