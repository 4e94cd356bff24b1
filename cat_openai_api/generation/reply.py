"""The reply of one run: streamed, cut at its limits, and checked against its format."""

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
    """The Cat's reply to `run`, cut after `max_tokens` tokens (0 is no limit) and before the first stop sequence.

    `live`: as the LLM produces it; otherwise at the end of the run, as the Cat's hooks changed it. Text of a run with a
    format is held back until it has been checked. The run starts when `start` or `deltas` is called; each can be called
    once. A reply must be closed.

    `finish_reason`: None until the reply has ended. `first_delta_at`: by `time.monotonic`. `has_failed`: whether the
    run or the check of the format raised an error.
    """

    def __init__(self, run: Run, max_tokens: int, stop_sequences: Sequence[str] = (), *, live: bool) -> None:
        self.finish_reason: FinishReason | None = None
        self.end = End()
        self.system_fingerprint: str | None = None
        self.first_delta_at: float | None = None
        self.has_failed = False
        self._events = runtime.host.run(run, live=live)
        self._format = run.format
        self._stop_sequences = StopSequences(stop_sequences)
        self._budget = TokenBudget(max_tokens, runtime.vocabulary.tokenizer())
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: list[ToolCall] = []
        self._steps: list[Step] = []
        self._deltas = self._checked_deltas()
        self._first_deltas: asyncio.Task[list[Delta] | None] | None = None

    def start(self) -> Awaitable[object]:
        """Start the run. Returns a task that ends with the first delta and raises what the run raises before it."""
        self._first_deltas = asyncio.ensure_future(anext(self._deltas, None))
        return self._first_deltas

    def has_first_delta(self) -> bool:
        """Whether the first delta is available or the reply has ended."""
        return self._first_deltas is not None and self._first_deltas.done()

    async def deltas(self) -> AsyncGenerator[list[Delta], None]:
        """Yields lists of all deltas that arrived since the last one. This runs for every token.

        Raises `InvalidModelOutput`, and what `Host.run` raises.
        """
        deltas = await (self._first_deltas or anext(self._deltas, None))
        self.first_delta_at = time.monotonic()
        while deltas is not None:
            yield deltas
            deltas = await anext(self._deltas, None)

    async def _checked_deltas(self) -> AsyncGenerator[list[Delta], None]:
        try:
            async for events in self._events:
                deltas = [delta for event in events if (delta := self._process(event))]
                if self._has_ended():
                    await self._events.aclose()
                if deltas:
                    yield deltas
                if self._has_ended():
                    break
            if not self._has_ended() and (rest := self._process_text(self._stop_sequences.flush())):
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
        """Raises `InvalidModelOutput`. Replies that were cut, refusals and replies with calls are not checked."""
        if self.finish_reason == "stop" and not self._refusals:
            await check_json(self.text(), format)

    def _process(self, event: Event) -> Delta | None:
        """The delta for the client from an event of the run; None if there is none or the reply has ended."""
        if self._has_ended():
            return None
        if isinstance(event, Text):
            passed, is_stopped = self._stop_sequences.feed(event.delta)
            text = self._process_text(passed)
            if is_stopped and not self._has_ended():
                self.finish_reason = "stop"
            return text
        if isinstance(event, CallDelta):
            return self._process_call(event)
        if isinstance(event, Refusal):
            return self._process_refusal(event)
        if isinstance(event, Step):
            self._steps.append(event)
            return event
        if isinstance(event, Fingerprint):
            self.system_fingerprint = event.value
        else:
            self.end = event
        return None

    def _process_text(self, delta: str) -> Text | None:
        delta = self._apply_token_limit(delta)
        if not delta:
            return None
        self._texts.append(delta)
        return Text(delta) if self._format is None else None

    def _process_refusal(self, event: Refusal) -> Refusal | None:
        delta = self._apply_token_limit(event.delta)
        if not delta:
            return None
        self._refusals.append(delta)
        return Refusal(delta)

    def _process_call(self, event: CallDelta) -> CallDelta | None:
        arguments = self._apply_token_limit(event.arguments)
        if event.index == len(self._calls):
            self._calls.append(ToolCall(event.id, event.name, arguments))
        elif arguments:
            call = self._calls[event.index]
            self._calls[event.index] = replace(call, arguments=call.arguments + arguments)
        else:
            return None
        return replace(event, arguments=arguments)

    def _apply_token_limit(self, delta: str) -> str:
        """The part of `delta` that is within the token limit."""
        delta, is_exceeded = self._budget.feed(delta)
        if is_exceeded:
            self.finish_reason = "length"
        return delta

    async def wait_for_end(self) -> None:
        """Run to the end of the reply, in place of `deltas`. Raises what `deltas` raises."""
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
        """The Cat's own steps so far; none unless the run has `include_steps`."""
        return self._steps

    async def aclose(self) -> None:
        """End the run. The connection to the LLM is closed when this returns."""
        if self._first_deltas is not None:
            self._first_deltas.cancel()
            await asyncio.gather(self._first_deltas, return_exceptions=True)
        await self._deltas.aclose()
        await self._events.aclose()
