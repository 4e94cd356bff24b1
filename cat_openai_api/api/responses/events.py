"""Encoding the output items of a response, and the events of its stream in OpenAI's order and numbering."""

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from ...domain.events import CallDelta, Delta, Refusal, Step, Text
from ...generation.request import new_id
from ...wire.json import JsonObject, encode
from .protocol import (
    ItemStatus,
    OutputFunctionCall,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputRefusal,
    OutputText,
    SummaryText,
)

PartType: TypeAlias = Literal["output_text", "refusal"]

TEXT_FIELD: Mapping[PartType, str] = {"output_text": "text", "refusal": "refusal"}
"""The field of a part, and of its `done` event, that has the text."""

LOGPROBS: Mapping[PartType, Mapping[str, Any]] = {"output_text": {"logprobs": []}, "refusal": {}}
"""Fields that OpenAI requires in the events of a part. The Cat provides no logprobs."""


class ResponseEventEncoder:
    """Builds the output items of one response. Each method returns the encoded events of what it changed.

    As in OpenAI's streams, an item is complete before the next one begins. An LLM may alternate between its tool calls,
    so the items of further calls begin only when the arguments of the current one are complete.
    """

    def __init__(self) -> None:
        self.output: list[OutputItem] = []
        self._sequence_number = 0
        self._open_item: OutputItem | None = None
        self._open_part: PartType | None = None
        self._texts: list[str] = []
        self._delta_prefix = b""
        self._calls: list[OutputFunctionCall] = []
        self._pending_calls: list[OutputFunctionCall] = []

    def encode_event(self, type: str, **fields: Any) -> bytes:
        data = {"type": type, **fields, "sequence_number": self._sequence_number}
        self._sequence_number += 1
        return b"event: %b\ndata: %b\n\n" % (type.encode(), encode(data))

    def encode_delta(self, delta: Delta) -> bytes:
        """This runs for every token."""
        if isinstance(delta, Text):
            events = b"" if self._open_part == "output_text" else self._start_part("output_text")
            return events + self._append_text(delta.delta)
        if isinstance(delta, Refusal):
            events = b"" if self._open_part == "refusal" else self._start_part("refusal")
            return events + self._append_text(delta.delta)
        if isinstance(delta, Step):
            return self._add_step(delta)
        return self._append_call(delta)

    def finish(self, status: ItemStatus) -> bytes:
        """Finish all items. `status`: of the last one."""
        events = b"" if self.output else self._start_part("output_text")
        return events + self._start_pending_calls() + self._finish_item(status)

    def snapshot(self, status: ItemStatus = "in_progress") -> list[OutputItem]:
        """The items with all that was received up to now. `status`: of the unfinished item."""
        if self._open_part and isinstance(self._open_item, OutputMessage):
            self._open_item.content[-1] = _create_part(self._open_part, "".join(self._texts))
        if isinstance(self._open_item, OutputMessage | OutputFunctionCall):
            self._open_item.status = status
        return self.output

    def _append_text(self, delta: str) -> bytes:
        self._texts.append(delta)
        number, self._sequence_number = self._sequence_number, self._sequence_number + 1
        return b'%b%b,"sequence_number":%d}\n\n' % (self._delta_prefix, encode(delta), number)

    def _start_part(self, type: PartType) -> bytes:
        events = self._start_pending_calls()
        if isinstance(self._open_item, OutputMessage):
            message = self._open_item
            events += self._finish_part(message)
        else:
            message = OutputMessage(id=new_id("msg_"), status="in_progress", content=[])
            events += self._start_item(message)
        part = _create_part(type, "")
        message.content.append(part)
        self._open_part = type
        position = self._part_position(message)
        events += self.encode_event("response.content_part.added", **position, part=part.wire())
        event_type = f"response.{type}.delta"
        data = encode({"type": event_type, **position, **LOGPROBS[type], "delta": ""})
        self._delta_prefix = b"event: %b\ndata: %b" % (event_type.encode(), data.removesuffix(b'""}'))
        return events

    def _finish_part(self, message: OutputMessage) -> bytes:
        type, text = self._open_part, "".join(self._texts)
        assert type is not None
        self._open_part, self._texts = None, []
        part = message.content[-1] = _create_part(type, text)
        position = self._part_position(message)
        text_field = {TEXT_FIELD[type]: text}
        done = self.encode_event(f"response.{type}.done", **position, **text_field, **LOGPROBS[type])
        return done + self.encode_event("response.content_part.done", **position, part=part.wire())

    def _add_step(self, step: Step) -> bytes:
        events = self._start_pending_calls()
        if isinstance(self._open_item, OutputReasoning):
            reasoning = self._open_item
        else:
            reasoning = OutputReasoning(id=new_id("rs_"), summary=[])
            events += self._start_item(reasoning)
        part = SummaryText(text=step.text)
        reasoning.summary.append(part)
        position = {**self._item_position(), "summary_index": len(reasoning.summary) - 1}
        encode_event, prefix = self.encode_event, "response.reasoning_summary"
        return b"".join(
            [
                events,
                encode_event(f"{prefix}_part.added", **position, part=SummaryText(text="").wire()),
                encode_event(f"{prefix}_text.delta", **position, delta=step.text),
                encode_event(f"{prefix}_text.done", **position, text=step.text),
                encode_event(f"{prefix}_part.done", **position, part=part.wire()),
            ]
        )

    def _append_call(self, delta: CallDelta) -> bytes:
        if delta.index == len(self._calls):
            call = OutputFunctionCall(
                id=new_id("fc_"), status="in_progress", call_id=delta.id, name=delta.name, arguments=""
            )
            self._calls.append(call)
            self._pending_calls.append(call)
        call = self._calls[delta.index]
        call.arguments += delta.arguments
        if call is self._open_item:
            return self._encode_arguments(delta.arguments)
        open_item = self._open_item
        must_wait = isinstance(open_item, OutputFunctionCall) and not _is_complete(open_item.arguments)
        return b"" if must_wait or not self._pending_calls else self._start_next_call()

    def _start_next_call(self) -> bytes:
        call = self._pending_calls.pop(0)
        arguments, call.arguments = call.arguments, ""
        events = self._start_item(call)
        call.arguments = arguments
        return events + self._encode_arguments(arguments)

    def _start_pending_calls(self) -> bytes:
        """Start the items of all pending calls, complete or not, because an item of another type follows."""
        events = b""
        while self._pending_calls:
            events += self._start_next_call()
        return events

    def _encode_arguments(self, delta: str) -> bytes:
        if not delta:
            return b""
        return self.encode_event("response.function_call_arguments.delta", **self._item_position(), delta=delta)

    def _start_item(self, item: OutputItem) -> bytes:
        events = self._finish_item("completed")
        self.output.append(item)
        self._open_item = item
        index = len(self.output) - 1
        return events + self.encode_event("response.output_item.added", output_index=index, item=item.wire())

    def _finish_item(self, status: ItemStatus) -> bytes:
        item, events = self._open_item, b""
        if item is None:
            return events
        if isinstance(item, OutputMessage):
            events = self._finish_part(item)
        elif isinstance(item, OutputFunctionCall):
            call = {"name": item.name, "arguments": item.arguments}
            events = self.encode_event("response.function_call_arguments.done", **self._item_position(), **call)
        if isinstance(item, OutputMessage | OutputFunctionCall):
            item.status = status
        self._open_item = None
        index = len(self.output) - 1
        return events + self.encode_event("response.output_item.done", output_index=index, item=item.wire())

    def _item_position(self) -> JsonObject:
        """The fields that identify the open item, which is the last one."""
        return {"item_id": self.output[-1].id, "output_index": len(self.output) - 1}

    def _part_position(self, message: OutputMessage) -> JsonObject:
        """The fields that identify the last part of the open item."""
        return {**self._item_position(), "content_index": len(message.content) - 1}


def _create_part(type: PartType, text: str) -> OutputText | OutputRefusal:
    return OutputText(text=text) if type == "output_text" else OutputRefusal(refusal=text)


def _is_complete(arguments: str) -> bool:
    """Whether the arguments of a call are valid JSON, so that no more of them is expected."""
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True
