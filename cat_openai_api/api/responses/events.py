"""A response while it grows, and the events that tell of it, in the order and numbering that OpenAI publishes."""

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from ...domain.events import CallDelta, Delta, Refusal, Step, Text
from ...generation.request import new_id
from ...wire.json import encode
from .protocol import (
    ItemStatus,
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputRefusal,
    OutputText,
    SummaryText,
)

PartKind: TypeAlias = Literal["output_text", "refusal"]

FIELD: Mapping[PartKind, str] = {"output_text": "text", "refusal": "refusal"}

LOGPROBS: Mapping[PartKind, Mapping[str, Any]] = {"output_text": {"logprobs": []}, "refusal": {}}
"""There are none."""


class ResponseEventEncoder:
    """The items of one response. Each method answers with the events of what it did.

    As at OpenAI, each item ends before the next begins. An LLM may go back and forth between its calls, so a call
    waits until the arguments of the one before it are whole.
    """

    def __init__(self) -> None:
        self.output: list[OutputItem] = []
        self._number = 0
        self._open: OutputItem | None = None
        self._kind: PartKind | None = None
        self._texts: list[str] = []
        self._frame = b""
        self._calls: list[OutputCall] = []
        self._waiting: list[OutputCall] = []

    def event(self, type: str, **fields: Any) -> bytes:
        data = {"type": type, **fields, "sequence_number": self._number}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (type.encode(), encode(data))

    def take(self, delta: Delta) -> bytes:
        """This runs for every token."""
        if isinstance(delta, Text):
            opened = b"" if self._kind == "output_text" else self._open_part("output_text")
            return opened + self._grow(delta.delta)
        if isinstance(delta, Refusal):
            opened = b"" if self._kind == "refusal" else self._open_part("refusal")
            return opened + self._grow(delta.delta)
        if isinstance(delta, Step):
            return self._step(delta)
        return self._call(delta)

    def end(self, status: ItemStatus) -> bytes:
        """All that is open ends, the last of it with `status`."""
        told = b"" if self.output else self._open_part("output_text")
        return told + self._tell_waiting() + self._end(status)

    def so_far(self, status: ItemStatus = "in_progress") -> list[OutputItem]:
        """The items as they stand; `status`: of the one that is open."""
        if self._kind and isinstance(self._open, OutputMessage):
            self._open.content[-1] = _part(self._kind, "".join(self._texts))
        if isinstance(self._open, OutputMessage | OutputCall):
            self._open.status = status
        return self.output

    def _grow(self, delta: str) -> bytes:
        self._texts.append(delta)
        number, self._number = self._number, self._number + 1
        return b'%b%b,"sequence_number":%d}\n\n' % (self._frame, encode(delta), number)

    def _open_part(self, kind: PartKind) -> bytes:
        told = self._tell_waiting()
        if isinstance(self._open, OutputMessage):
            message = self._open
            told += self._end_part(message)
        else:
            message = OutputMessage(id=new_id("msg_"), status="in_progress", content=[])
            told += self._begin(message)
        part = _part(kind, "")
        message.content.append(part)
        self._kind = kind
        place = self._place_of_part(message)
        told += self.event("response.content_part.added", **place, part=part.wire())
        type = f"response.{kind}.delta"
        head = encode({"type": type, **place, **LOGPROBS[kind], "delta": ""})
        self._frame = b"event: %b\ndata: %b" % (type.encode(), head.removesuffix(b'""}'))
        return told

    def _end_part(self, message: OutputMessage) -> bytes:
        kind, text = self._kind, "".join(self._texts)
        assert kind is not None
        self._kind, self._texts = None, []
        part = message.content[-1] = _part(kind, text)
        place = self._place_of_part(message)
        done = self.event(f"response.{kind}.done", **place, **{FIELD[kind]: text}, **LOGPROBS[kind])
        return done + self.event("response.content_part.done", **place, part=part.wire())

    def _step(self, step: Step) -> bytes:
        told = self._tell_waiting()
        if isinstance(self._open, OutputReasoning):
            reasoning = self._open
        else:
            reasoning = OutputReasoning(id=new_id("rs_"), summary=[])
            told += self._begin(reasoning)
        part = SummaryText(text=step.text)
        reasoning.summary.append(part)
        place = {**self._place(), "summary_index": len(reasoning.summary) - 1}
        event, summary = self.event, "response.reasoning_summary"
        return b"".join(
            [
                told,
                event(f"{summary}_part.added", **place, part=SummaryText(text="").wire()),
                event(f"{summary}_text.delta", **place, delta=step.text),
                event(f"{summary}_text.done", **place, text=step.text),
                event(f"{summary}_part.done", **place, part=part.wire()),
            ]
        )

    def _call(self, delta: CallDelta) -> bytes:
        if delta.index == len(self._calls):
            call = OutputCall(id=new_id("fc_"), status="in_progress", call_id=delta.id, name=delta.name, arguments="")
            self._calls.append(call)
            self._waiting.append(call)
        call = self._calls[delta.index]
        call.arguments += delta.arguments
        if call is self._open:
            return self._arguments(delta.arguments)
        must_wait = isinstance(self._open, OutputCall) and not _is_whole(self._open.arguments)
        return b"" if must_wait or not self._waiting else self._tell_next_call()

    def _tell_next_call(self) -> bytes:
        call = self._waiting.pop(0)
        arguments, call.arguments = call.arguments, ""
        told = self._begin(call)
        call.arguments = arguments
        return told + self._arguments(arguments)

    def _tell_waiting(self) -> bytes:
        """The calls that wait, each as far as it has come."""
        told = b""
        while self._waiting:
            told += self._tell_next_call()
        return told

    def _arguments(self, delta: str) -> bytes:
        return self.event("response.function_call_arguments.delta", **self._place(), delta=delta) if delta else b""

    def _begin(self, item: OutputItem) -> bytes:
        told = self._end("completed")
        self.output.append(item)
        self._open = item
        return told + self.event("response.output_item.added", output_index=len(self.output) - 1, item=item.wire())

    def _end(self, status: ItemStatus) -> bytes:
        item, told = self._open, b""
        if item is None:
            return told
        if isinstance(item, OutputMessage):
            told = self._end_part(item)
        elif isinstance(item, OutputCall):
            done = {"name": item.name, "arguments": item.arguments}
            told = self.event("response.function_call_arguments.done", **self._place(), **done)
        if not isinstance(item, OutputReasoning):
            item.status = status
        self._open = None
        place = len(self.output) - 1
        return told + self.event("response.output_item.done", output_index=place, item=item.wire())

    def _place(self) -> dict[str, Any]:
        """Of the open item, which is the last one."""
        return {"item_id": self.output[-1].id, "output_index": len(self.output) - 1}

    def _place_of_part(self, message: OutputMessage) -> dict[str, Any]:
        return {**self._place(), "content_index": len(message.content) - 1}


def _part(kind: PartKind, text: str) -> OutputText | OutputRefusal:
    return OutputText(text=text) if kind == "output_text" else OutputRefusal(refusal=text)


def _is_whole(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True
