"""The reply of one run: streamed, cut at its limits, and checked against its format."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import replace

from ..domain.conversation import JsonFormat, ToolCall
from ..domain.events import CallDelta, Delta, End, Event, Fingerprint, FinishReason, PluginText, Refusal, Step, Text
from ..errors import UpstreamError
from ..hosts.port import Run
from ..runtime import runtime
from ..tokens.budget import TokenBudget
from .json_schema import check_json
from .live_text import LiveText
from .text_limits import TextLimits


class Reply:
    """The Cat's reply to `run`, cut after `max_tokens` tokens (0 is no limit) and before the first stop sequence.

    The reply is the run's final text. With `stream` its text is yielded while the run lasts, together with what plugins
    send meanwhile, and then what the final text has beyond that. Without `stream`, and for a run with a format, which
    has to be checked first, only the final text is yielded, at the end of the run.

    The limits are for the final text: the LLM's text ends the run as soon as it reaches one of them, but the text of a
    plugin does not. That is cut at the same number of tokens, and left out where the client has set stop sequences.

    `live`: see `Host.run`. The run starts when `start` or `deltas` is called; each can be called once. A reply must be
    closed.

    `has_begun`: whether the run has started. `finish_reason`: None until the reply has ended. `first_delta_at`: by
    `time.monotonic`. `has_failed`: whether the run or the check of the format raised an error. `has_llm_failed`:
    whether that was an error of the Cat's pipeline or its LLM.
    """

    def __init__(
        self, run: Run, max_tokens: int, stop_sequences: Sequence[str] = (), *, live: bool, stream: bool
    ) -> None:
        self.finish_reason: FinishReason | None = None
        self.end = End()
        self.system_fingerprint: str | None = None
        self.first_delta_at: float | None = None
        self.has_begun = False
        self.has_failed = False
        self.has_llm_failed = False
        self.run = run
        self._events = runtime.host.run(run, live=live)
        self._format = run.format
        self._streams_text = stream and run.format is None
        self._max_tokens = max_tokens
        self._stop_sequences = stop_sequences
        self._limits = self._create_limits()
        self._plugin_limits = self._create_limits()
        self._live_text = LiveText(stop_sequences)
        self._source: int | None = None
        self._unsent = ""
        self._sent_texts: list[str] = []
        self._reply_texts: list[str] = []
        self._final_text: str | None = None
        self._refusals: list[str] = []
        self._calls: list[ToolCall] = []
        self._steps: list[Step] = []
        self._deltas = self._checked_deltas()
        self._first_deltas: asyncio.Task[list[Delta] | None] | None = None
        run.receipt.text, run.receipt.final_text = self.text, self.final_text

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
        while deltas is not None:
            yield deltas
            deltas = await anext(self._deltas, None)

    async def _checked_deltas(self) -> AsyncGenerator[list[Delta], None]:
        self.has_begun = True
        try:
            async for events in self._events:
                deltas = [delta for event in events if (delta := self._process(event))]
                if self.first_delta_at is None and (deltas or self._reply_texts):
                    self.first_delta_at = time.monotonic()
                if self._limits.reason:
                    await self._events.aclose()
                if deltas:
                    yield deltas
                if self._limits.reason:
                    break
            self.first_delta_at = self.first_delta_at or time.monotonic()
            self.finish_reason = self._limits.reason or self.end.reason or ("tool_calls" if self._calls else "stop")
            if self._format is not None:
                await self._check(self._format)
            if not self._streams_text and (text := self.text()):
                yield [Text(text)]
        except Exception as error:
            self.has_failed, self.has_llm_failed = True, isinstance(error, UpstreamError)
            raise

    async def _check(self, format: JsonFormat) -> None:
        """Raises `InvalidModelOutput`. Replies that were cut, refusals and replies with calls are not checked."""
        if self.finish_reason == "stop" and not self._refusals:
            await check_json(self.text(), format)

    def _process(self, event: Event) -> Delta | None:
        """The delta for the client from an event of the run; None if there is none or the reply has ended."""
        if self._limits.reason:
            return None
        if isinstance(event, Text):
            return self._process_text(event)
        if isinstance(event, CallDelta):
            return self._process_call(event)
        if isinstance(event, End):
            self.end = event
            return self._process_final_text(event.text)
        return self._process_rare(event)

    def _process_rare(self, event: PluginText | Refusal | Step | Fingerprint) -> Delta | None:
        if isinstance(event, PluginText):
            return self._process_plugin_text(event)
        if isinstance(event, Refusal):
            return self._process_refusal(event)
        if isinstance(event, Step):
            self._steps.append(event)
            return event
        self.system_fingerprint = event.value
        return None

    def _process_text(self, event: Text) -> Text | None:
        """This runs for every token."""
        if event.source != self._source:
            self._begin_text(event.source)
        self._unsent += self._live_text.add(event.source, event.delta)
        passed = self._limits.feed(event.delta)
        if not passed:
            return None
        self._reply_texts.append(passed)
        return self._send(passed)

    def _begin_text(self, source: int) -> None:
        """The LLM writes another text in place of the one before, of which the client may have got something."""
        self._source = source
        if self._reply_texts:
            self._unsent += self._limits.flush()
            self._limits = self._create_limits()
            self._reply_texts = []
            if not self._streams_text:
                self._live_text = LiveText(self._stop_sequences)

    def _process_plugin_text(self, event: PluginText) -> Text | None:
        if not self._streams_text or self._stop_sequences:
            return None
        passed = self._plugin_limits.feed(event.delta)
        if not passed:
            return None
        self._unsent += self._live_text.add(event.source, passed)
        return self._send(passed)

    def _process_final_text(self, final: str) -> Text | None:
        known, separator, rest = self._live_text.compare(final)
        if not rest:
            self._final_text = final
            return self._send(self._limits.flush())
        if not known:
            self._unsent += self._limits.flush() + separator
        self._limits = self._create_limits()
        passed = self._limits.feed(known)
        added = self._limits.feed(rest) + self._limits.flush()
        self._final_text = passed + added
        return self._send(added)

    def _send(self, text: str) -> Text | None:
        """The delta with a text, and with what has to come before it. This runs for every token."""
        if not text or not self._streams_text:
            return None
        if self._unsent:
            text, self._unsent = self._unsent + text, ""
        self._sent_texts.append(text)
        return Text(text)

    def _process_refusal(self, event: Refusal) -> Refusal | None:
        delta = self._limits.count(event.delta)
        if not delta:
            return None
        self._refusals.append(delta)
        return Refusal(delta)

    def _process_call(self, event: CallDelta) -> CallDelta | None:
        arguments = self._limits.count(event.arguments)
        if event.index == len(self._calls):
            self._calls.append(ToolCall(event.id, event.name, arguments))
        elif arguments:
            call = self._calls[event.index]
            self._calls[event.index] = replace(call, arguments=call.arguments + arguments)
        else:
            return None
        return replace(event, arguments=arguments)

    def _create_limits(self) -> TextLimits:
        return TextLimits(TokenBudget(self._max_tokens, runtime.vocabulary.tokenizer()), self._stop_sequences)

    async def wait_for_end(self) -> None:
        """Run to the end of the reply, in place of `deltas`. Raises what `deltas` raises."""
        async for _ in self.deltas():
            pass

    def text(self) -> str:
        """The text that the client gets, so far."""
        return "".join(self._sent_texts) if self._streams_text else self.final_text()

    def final_text(self) -> str:
        """The final text within its limits, for the conversation that goes on after the reply.

        Of a run that was ended before its end: what the LLM had written by then, else what plugins had sent.
        """
        if self._final_text is not None:
            return self._final_text
        return "".join(self._reply_texts or self._sent_texts)

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
