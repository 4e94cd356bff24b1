"""A completion, from the validated request to the pieces of its reply."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from ..answer import Answer, Exchange
from ..errors import ApiError
from ..hosts.port import Refusal, Text, Usage
from ..models.serving import resolve_model
from ..question import Question, new_id
from ..reading import Reader, Reading
from ..streamer import DONE, event
from ..texts import decoded
from ..usage import CompletionUsage
from .frames import Frame
from .protocol import Choice, Completion, CompletionRequest, FinishReason

if TYPE_CHECKING:
    from ...settings import Settings


async def understand(wanted: CompletionRequest, settings: "Settings") -> list[Question]:
    """One for each prompt. Raises `InvalidRequest` or `ModelNotFound`."""
    model = resolve_model(wanted.model, settings)
    prompts = await decoded(wanted.prompt, "prompt")
    id = new_id("cmpl-")
    return [
        Question(
            id=id,
            asked_for=wanted.model,
            model=model,
            reading=_read(prompt),
            stream=bool(wanted.stream),
            sampling=wanted.sampling(),
            max_tokens=(wanted.max_tokens,),
            stops=wanted.stops(),
        )
        for prompt in prompts
    ]


def _read(prompt: str) -> Reading:
    reader = Reader(fetches=False)
    reader.user("prompt", [prompt])
    return reader.read("prompt")


class Completions(Answer):
    """A completion, which has a choice for each exchange. The Cat is asked for them one after the other."""

    def __init__(self, exchanges: Sequence[Exchange], wanted: CompletionRequest) -> None:
        super().__init__(exchanges[0])
        self.exchanges = exchanges
        self.wanted = wanted
        self.created = int(time.time())

    async def whole(self) -> Completion:
        choices = []
        for index, exchange in enumerate(self.exchanges):
            await exchange.reply.whole()
            text = exchange.reply.text() + exchange.reply.refusal()
            choices.append(Choice(text=text, index=index, finish_reason=_finish_reason(exchange)))
        return Completion(
            id=self.exchange.question.id,
            created=self.created,
            model=self.wanted.model,
            choices=choices,
            usage=CompletionUsage.of(await self._usage()),
            system_fingerprint=self.exchange.reply.system_fingerprint,
        )

    async def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        for index, exchange in enumerate(self.exchanges):
            frame = None
            async for deltas in exchange.deltas(live=live):
                frame = frame or self._frame(index)
                if said := [delta.delta for delta in deltas if isinstance(delta, Text | Refusal)]:
                    yield b"".join(map(frame.delta, said))
            frame = frame or self._frame(index)
            yield frame.chunk("", _finish_reason(exchange))
        if self.wanted.includes_usage:
            yield self._frame(0).usage(CompletionUsage.of(await self._usage()).wire())
        yield DONE

    def failed(self, error: ApiError) -> bytes:
        return event(error.body()) + DONE

    async def aclose(self) -> None:
        async with AsyncExitStack() as closing:
            for exchange in reversed(self.exchanges):
                closing.push_async_callback(exchange.aclose)

    async def _usage(self) -> Usage:
        """Of all exchanges together."""
        usage = reduce(add, [await exchange.usage() for exchange in self.exchanges])
        self.exchange.observation.usage = usage
        return usage

    def _frame(self, index: int) -> Frame:
        return Frame(
            {
                "id": self.exchange.question.id,
                "object": "text_completion",
                "created": self.created,
                "model": self.wanted.model,
                "system_fingerprint": self.exchange.reply.system_fingerprint,
            },
            index,
            include_usage=self.wanted.includes_usage,
        )


def _finish_reason(exchange: Exchange) -> FinishReason | None:
    """There are no functions to call."""
    reason = exchange.reply.finish_reason
    return "stop" if reason == "tool_calls" else reason
