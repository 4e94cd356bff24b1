"""One reply of the Cat on its way to a client: its text and calls piece by piece, its limit, its end."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import replace

from ..domain.conversation import JsonFormat, ToolCall
from ..domain.events import CallDelta, Delta, End, Event, Fingerprint, FinishReason, Refusal, Step, Text
from ..hosts.current import host
from ..hosts.port import Run
from ..tokens.budget import TokenBudget
from ..tokens.vocabulary import vocabulary
from .json_schema import check_json
from .stop_sequences import StopSequences


class Reply:
    """The Cat's reply to `run`, at most `max_tokens` tokens long (0: no limit) and up to the first of `stops`.

    `live`: as the LLM produces it; otherwise what the Cat's hooks left of it, at the end. Text in a format that
    must be checked is held until it was. Nothing happens until the reply is begun or iterated. It can be
    iterated once, and must be closed. `finish_reason` is None until it has come to an end.
    """

    def __init__(self, run: Run, max_tokens: int, stops: Sequence[str] = (), *, live: bool) -> None:
        self.finish_reason: FinishReason | None = None
        self.end = End()
        self.system_fingerprint: str | None = None
        self.time_to_first_token: float | None = None
        self._events = host.run(run, live=live)
        self._format = run.format
        self._stops = StopSequences(stops)
        self._budget = TokenBudget(max_tokens, vocabulary.tokenizer())
        self._said: list[str] = []
        self._refused: list[str] = []
        self._calls: list[ToolCall] = []
        self._steps: list[Step] = []
        self._deltas = self._as_they_come()
        self._first: asyncio.Task[list[Delta] | None] | None = None
        self._created = time.monotonic()
        self.has_failed = False

    def begin(self) -> Awaitable[object]:
        """Start the run. What is returned is done with the first that the client may have, or raises what was
        raised before it."""
        self._first = asyncio.ensure_future(anext(self._deltas, None))
        return self._first

    def has_begun(self) -> bool:
        """Whether there is something for the client, or the end."""
        return self._first is not None and self._first.done()

    async def deltas(self) -> AsyncGenerator[list[Delta], None]:
        """What the client may have: the pieces that are there. This runs for every token.

        Raises `InvalidModelOutput`, and what the run raises.
        """
        deltas = await (self._first or anext(self._deltas, None))
        self.time_to_first_token = self.age()
        while deltas is not None:
            yield deltas
            deltas = await anext(self._deltas, None)

    async def _as_they_come(self) -> AsyncGenerator[list[Delta], None]:
        try:
            async for events in self._events:
                deltas = [delta for event in events if (delta := self._admit(event))]
                if self._has_ended():
                    await self._events.aclose()
                if deltas:
                    yield deltas
                if self._has_ended():
                    break
            if not self._has_ended() and (rest := self._text(self._stops.rest())):
                yield [rest]
            self.finish_reason = self.finish_reason or self.end.reason or ("tool_calls" if self._calls else "stop")
            if self._format is not None:
                await self._check(self._format)
                if self._said:
                    yield [Text(self.text())]
        except Exception:
            self.has_failed = True
            raise

    async def _check(self, wanted: JsonFormat) -> None:
        """Raises `InvalidModelOutput`. A reply that was cut, refused or calls something says so itself."""
        if self.finish_reason == "stop" and not self._refused:
            await check_json(self.text(), wanted)

    def _admit(self, event: Event) -> Delta | None:
        """What of the next event the client may have; nothing once the reply has its end."""
        if self._has_ended():
            return None
        if isinstance(event, Text):
            delta, stopped = self._stops.take(event.delta)
            text = self._text(delta)
            if stopped and not self._has_ended():
                self.finish_reason = "stop"
            return text
        if isinstance(event, CallDelta):
            return self._call(event)
        if isinstance(event, Refusal):
            return self._refusal(event)
        if isinstance(event, Step):
            self._steps.append(event)
            return event
        if isinstance(event, Fingerprint):
            self.system_fingerprint = event.value
        else:
            self.end = event
        return None

    def _text(self, delta: str) -> Text | None:
        delta = self._within_budget(delta)
        if not delta:
            return None
        self._said.append(delta)
        return Text(delta) if self._format is None else None

    def _refusal(self, event: Refusal) -> Refusal | None:
        refused = self._within_budget(event.delta)
        if not refused:
            return None
        self._refused.append(refused)
        return Refusal(refused)

    def _call(self, event: CallDelta) -> CallDelta | None:
        arguments = self._within_budget(event.arguments)
        if event.index == len(self._calls):
            self._calls.append(ToolCall(event.id, event.name, arguments))
        elif arguments:
            call = self._calls[event.index]
            self._calls[event.index] = replace(call, arguments=call.arguments + arguments)
        else:
            return None
        return replace(event, arguments=arguments)

    def _within_budget(self, delta: str) -> str:
        delta, cut = self._budget.take(delta)
        if cut:
            self.finish_reason = "length"
        return delta

    async def whole(self) -> None:
        """Wait for all of it."""
        async for _ in self.deltas():
            pass

    def _has_ended(self) -> bool:
        return self.finish_reason is not None

    def text(self) -> str:
        """The text so far."""
        return "".join(self._said)

    def refusal(self) -> str:
        return "".join(self._refused)

    def calls(self) -> Sequence[ToolCall]:
        """What the client is to call, as far as the LLM has said it."""
        return self._calls

    def steps(self) -> Sequence[Step]:
        """What the Cat did, as far as that was wanted."""
        return self._steps

    def age(self) -> float:
        """Seconds since the reply was asked for, to the millisecond."""
        return round(time.monotonic() - self._created, 3)

    async def aclose(self) -> None:
        """End the run: the LLM's connection is closed when this returns."""
        if self._first is not None:
            self._first.cancel()
            await asyncio.gather(self._first, return_exceptions=True)
        await self._deltas.aclose()
        await self._events.aclose()
