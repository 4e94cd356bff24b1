"""One reply of the Cat on its way to a client: its text piece by piece, its limit, its end."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import Literal

from .hosts.current import host
from .hosts.port import Run, Text
from .stops import StopSequences
from .tokens import TokenBudget, vocabulary

FinishReason = Literal["stop", "length"]


class Reply:
    """The Cat's reply to `run`, at most `max_tokens` tokens long (0: no limit) and up to the first of `stops`.

    `live`: as the LLM produces it; otherwise what the Cat's hooks left of it, at the end.
    Nothing happens until it is begun or iterated. It can be iterated once, and must be closed. `finish_reason`
    is None until the text has come to an end.
    """

    def __init__(self, run: Run, max_tokens: int, stops: Sequence[str] = (), *, live: bool) -> None:
        self.finish_reason: FinishReason | None = None
        self.seconds_to_first_words: float | None = None
        self._events = host.run(run, live=live)
        self._stops = StopSequences(stops)
        self._budget = TokenBudget(max_tokens, vocabulary.tokenizer())
        self._said: list[str] = []
        self._first: asyncio.Task[list[Text] | None] | None = None
        self._created = time.monotonic()

    def begin(self) -> Awaitable[object]:
        """Start the run. What is returned is done with the first words, or raises what the run raised."""
        self._first = asyncio.ensure_future(self._next())
        return self._first

    def has_begun(self) -> bool:
        """Whether the first words, or the end, are there."""
        return self._first is not None and self._first.done()

    async def deltas(self) -> AsyncGenerator[list[str], None]:
        """The text as the client may have it: the pieces that are there. This runs for every token."""
        events = await (self._first or self._next())
        self.seconds_to_first_words = self.age()
        while events is not None and not self._has_ended():
            deltas = [delta for event in events if (delta := self._admit(event.delta))]
            if self._has_ended():
                await self._events.aclose()
            if deltas:
                yield deltas
            events = await self._next()
        if not self._has_ended() and (rest := self._stops.rest()) and (delta := self._within_budget(rest)):
            yield [delta]
        self.finish_reason = self.finish_reason or "stop"

    def _admit(self, delta: str) -> str:
        """What of the next piece of text the client may have; nothing once the reply has its end."""
        if self._has_ended():
            return ""
        delta, stopped = self._stops.take(delta)
        delta = self._within_budget(delta)
        if stopped and not self._has_ended():
            self.finish_reason = "stop"
        return delta

    def _within_budget(self, delta: str) -> str:
        delta, cut = self._budget.take(delta)
        if cut:
            self.finish_reason = "length"
        if delta:
            self._said.append(delta)
        return delta

    async def whole(self) -> str:
        """All of the text at once."""
        async for _ in self.deltas():
            pass
        return self.text()

    def _has_ended(self) -> bool:
        return self.finish_reason is not None

    def text(self) -> str:
        """The text so far."""
        return "".join(self._said)

    def age(self) -> float:
        """Seconds since the reply was asked for, to the millisecond."""
        return round(time.monotonic() - self._created, 3)

    async def aclose(self) -> None:
        """End the run: the LLM's connection is closed when this returns."""
        if self._first is not None:
            self._first.cancel()
            await asyncio.gather(self._first, return_exceptions=True)
        await self._events.aclose()

    async def _next(self) -> list[Text] | None:
        return await anext(self._events, None)
