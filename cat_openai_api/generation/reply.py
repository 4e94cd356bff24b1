"""The reply of one run on its way to a client: cut at its limits, checked, piece by piece."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import replace

from ..domain.conversation import JsonFormat, ToolCall
from ..domain.events import CallDelta, Delta, End, Event, Fingerprint, FinishReason, Refusal, Step, Text
from ..hosts.port import Run
from ..runtime import runtime
from ..tokens.budget import TokenBudget
from .json_schema import check_json
from .stop_sequences import StopSequences


class Reply:
    """The Cat's reply to `run`, at most `max_tokens` tokens long (0: no limit) and up to the first of `stops`.

    `live`: as the LLM produces it; otherwise what the Cat's hooks left of it, at the end. Text in a format that is
    checked is held back until it has been checked. Nothing runs until the reply is started or iterated, which is
    possible once. Close it.

    `finish_reason` is None until the reply has come to its end. `first_delta_at`: by `time.monotonic`. `has_failed`:
    the run or a check raised an error.
    """

    def __init__(self, run: Run, max_tokens: int, stops: Sequence[str] = (), *, live: bool) -> None:
        self.finish_reason: FinishReason | None = None
        self.end = End()
        self.system_fingerprint: str | None = None
        self.first_delta_at: float | None = None
        self.has_failed = False
        self._events = runtime.host.run(run, live=live)
        self._format = run.format
        self._stops = StopSequences(stops)
        self._budget = TokenBudget(max_tokens, runtime.vocabulary.tokenizer())
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: list[ToolCall] = []
        self._steps: list[Step] = []
        self._deltas = self._checked_deltas()
        self._first: asyncio.Task[list[Delta] | None] | None = None

    def start(self) -> Awaitable[object]:
        """Start the run. What is returned can be awaited for the first delta; it raises what is raised before it."""
        self._first = asyncio.ensure_future(anext(self._deltas, None))
        return self._first

    def has_first_delta(self) -> bool:
        """Whether there is something for the client, or the end of the reply."""
        return self._first is not None and self._first.done()

    async def deltas(self) -> AsyncGenerator[list[Delta], None]:
        """What the client gets: each time all that has come since the last time. This runs for every token.

        Raises `InvalidModelOutput`, and what the run raises.
        """
        deltas = await (self._first or anext(self._deltas, None))
        self.first_delta_at = time.monotonic()
        while deltas is not None:
            yield deltas
            deltas = await anext(self._deltas, None)

    async def _checked_deltas(self) -> AsyncGenerator[list[Delta], None]:
        try:
            async for events in self._events:
                deltas = [delta for event in events if (delta := self._take(event))]
                if self._has_ended():
                    await self._events.aclose()
                if deltas:
                    yield deltas
                if self._has_ended():
                    break
            if not self._has_ended() and (rest := self._take_text(self._stops.rest())):
                yield [rest]
            self.finish_reason = self.finish_reason or self.end.reason or ("tool_calls" if self._calls else "stop")
            if self._format is not None:
                await self._check(self._format)
                if self._texts:
                    yield [Text(self.text())]
        except Exception:
            self.has_failed = True
            raise

    async def _check(self, format: JsonFormat) -> None:
        """Raises `InvalidModelOutput`. Not checked is a reply that was cut, is a refusal or calls functions."""
        if self.finish_reason == "stop" and not self._refusals:
            await check_json(self.text(), format)

    def _take(self, event: Event) -> Delta | None:
        """What the client gets of the next event of the run; nothing once the reply has its end."""
        if self._has_ended():
            return None
        if isinstance(event, Text):
            passed, stopped = self._stops.take(event.delta)
            text = self._take_text(passed)
            if stopped and not self._has_ended():
                self.finish_reason = "stop"
            return text
        if isinstance(event, CallDelta):
            return self._take_call(event)
        if isinstance(event, Refusal):
            return self._take_refusal(event)
        if isinstance(event, Step):
            self._steps.append(event)
            return event
        if isinstance(event, Fingerprint):
            self.system_fingerprint = event.value
        else:
            self.end = event
        return None

    def _take_text(self, delta: str) -> Text | None:
        delta = self._cut(delta)
        if not delta:
            return None
        self._texts.append(delta)
        return Text(delta) if self._format is None else None

    def _take_refusal(self, event: Refusal) -> Refusal | None:
        delta = self._cut(event.delta)
        if not delta:
            return None
        self._refusals.append(delta)
        return Refusal(delta)

    def _take_call(self, event: CallDelta) -> CallDelta | None:
        arguments = self._cut(event.arguments)
        if event.index == len(self._calls):
            self._calls.append(ToolCall(event.id, event.name, arguments))
        elif arguments:
            call = self._calls[event.index]
            self._calls[event.index] = replace(call, arguments=call.arguments + arguments)
        else:
            return None
        return replace(event, arguments=arguments)

    def _cut(self, delta: str) -> str:
        """As much of it as the token limit lets pass."""
        delta, cut = self._budget.take(delta)
        if cut:
            self.finish_reason = "length"
        return delta

    async def whole(self) -> None:
        """Wait for the end of the reply. Raises what `deltas` raises."""
        async for _ in self.deltas():
            pass

    def _has_ended(self) -> bool:
        return self.finish_reason is not None

    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    def refusal(self) -> str:
        """The text of the refusal so far."""
        return "".join(self._refusals)

    def calls(self) -> Sequence[ToolCall]:
        """The calls of the client's functions so far."""
        return self._calls

    def steps(self) -> Sequence[Step]:
        """The Cat's own steps so far, where the run was asked for them."""
        return self._steps

    async def aclose(self) -> None:
        """End the run. The LLM's connection is closed when this returns."""
        if self._first is not None:
            self._first.cancel()
            await asyncio.gather(self._first, return_exceptions=True)
        await self._deltas.aclose()
        await self._events.aclose()
