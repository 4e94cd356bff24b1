"""A completion, from the validated request to the pieces of its reply."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from ...conversation.builder import ConversationBuilder, ParsedConversation
from ...domain.events import Refusal, Text
from ...domain.usage import Usage
from ...errors import ApiError
from ...generation.generation import Generation
from ...generation.model_names import resolve_model
from ...generation.renderer import Renderer
from ...generation.request import GenerationRequest, new_id
from ...http.streamer import DONE, event
from ...tokens.text_input import decoded
from ...wire.usage import CompletionUsage
from .chunks import Frame
from .protocol import Choice, Completion, CompletionRequest, FinishReason

if TYPE_CHECKING:
    from ....settings import Settings


async def parse_request(body: CompletionRequest, settings: "Settings") -> list[GenerationRequest]:
    """One for each prompt. Raises `InvalidRequest` or `ModelNotFound`."""
    model = resolve_model(body.model, settings)
    prompts = await decoded(body.prompt, "prompt")
    id = new_id("cmpl-")
    return [
        GenerationRequest(
            id=id,
            requested_model=body.model,
            model=model,
            reading=_read(prompt),
            stream=bool(body.stream),
            sampling=body.sampling(),
            max_tokens=(body.max_tokens,),
            stops=body.stops(),
        )
        for prompt in prompts
    ]


def _read(prompt: str) -> ParsedConversation:
    builder = ConversationBuilder(fetches=False)
    builder.user("prompt", [prompt])
    return builder.read("prompt")


class Completions(Renderer):
    """A completion, which has a choice for each exchange. The Cat is asked for them one after the other."""

    def __init__(self, generations: Sequence[Generation], body: CompletionRequest) -> None:
        super().__init__(generations[0])
        self.generations = generations
        self.body = body
        self.created = int(time.time())

    async def whole(self) -> Completion:
        choices = []
        for index, generation in enumerate(self.generations):
            await generation.reply.whole()
            text = generation.reply.text() + generation.reply.refusal()
            choices.append(Choice(text=text, index=index, finish_reason=_finish_reason(generation)))
        return Completion(
            id=self.generation.question.id,
            created=self.created,
            model=self.body.model,
            choices=choices,
            usage=CompletionUsage.of(await self._usage()),
            system_fingerprint=self.generation.reply.system_fingerprint,
        )

    async def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        for index, generation in enumerate(self.generations):
            frame = None
            async for deltas in generation.deltas(live=live):
                frame = frame or self._frame(index)
                if said := [delta.delta for delta in deltas if isinstance(delta, Text | Refusal)]:
                    yield b"".join(map(frame.delta, said))
            frame = frame or self._frame(index)
            yield frame.chunk("", _finish_reason(generation))
        if self.body.includes_usage:
            yield self._frame(0).usage(CompletionUsage.of(await self._usage()).wire())
        yield DONE

    def failed(self, error: ApiError) -> bytes:
        return event(error.body()) + DONE

    async def aclose(self) -> None:
        async with AsyncExitStack() as closing:
            for generation in reversed(self.generations):
                closing.push_async_callback(generation.aclose)

    async def _usage(self) -> Usage:
        """Of all exchanges together."""
        usage = reduce(add, [await generation.usage() for generation in self.generations])
        self.generation.record.usage = usage
        return usage

    def _frame(self, index: int) -> Frame:
        return Frame(
            {
                "id": self.generation.question.id,
                "object": "text_completion",
                "created": self.created,
                "model": self.body.model,
                "system_fingerprint": self.generation.reply.system_fingerprint,
            },
            index,
            include_usage=self.body.includes_usage,
        )


def _finish_reason(generation: Generation) -> FinishReason | None:
    """There are no functions to call."""
    reason = generation.reply.finish_reason
    return "stop" if reason == "tool_calls" else reason
