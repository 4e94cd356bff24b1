"""One reply of the Cat on its way to a client: its text piece by piece, its limit, its end."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Literal

from .hosts.current import host
from .hosts.port import Run, Text
from .tokens import TokenBudget, vocabulary

FinishReason = Literal["stop", "length"]


class Reply:
    """The Cat's reply to `run`, at most `max_tokens` tokens long (0: no limit).

    Nothing happens until it is begun or iterated. It can be iterated once, and must be closed. `finish_reason`
    is None until the text has come to an end.
    """

    def __init__(self, run: Run, max_tokens: int) -> None:
        self.finish_reason: FinishReason | None = None
        self.seconds_to_first_words: float | None = None
        self._events = host.run(run, live=not host.rewrites_replies())
        self._budget = TokenBudget(max_tokens, vocabulary.tokenizer())
        self._said: list[str] = []
        self._first: asyncio.Task[Text | None] | None = None
        self._created = time.monotonic()

    async def begin(self, within: float) -> None:
        """Start the run and wait for its first words, at most so many seconds. Raises what the run raised."""
        self._first = asyncio.ensure_future(self._next())
        done, _ = await asyncio.wait([self._first], timeout=within)
        if done:
            self._first.result()

    async def deltas(self) -> AsyncGenerator[str, None]:
        """The text as the client may have it. This runs for every token."""
        event = await (self._first or self._next())
        self.seconds_to_first_words = self.age()
        while event is not None:
            delta, cut = self._budget.take(event.delta)
            if delta:
                self._said.append(delta)
                yield delta
            if cut:
                self.finish_reason = "length"
                await self._events.aclose()
                return
            event = await self._next()
        self.finish_reason = "stop"

    async def whole(self) -> str:
        """All of the text at once."""
        async for _ in self.deltas():
            pass
        return self.text()

    def text(self) -> str:
        """The text so far."""
        return "".join(self._said)

    def age(self) -> float:
        """Seconds since the reply was asked for."""
        return time.monotonic() - self._created

    async def aclose(self) -> None:
        """End the run: the LLM's connection is closed when this returns."""
        if self._first is not None:
            self._first.cancel()
            await asyncio.gather(self._first, return_exceptions=True)
        await self._events.aclose()

    async def _next(self) -> Text | None:
        return await anext(self._events, None)
