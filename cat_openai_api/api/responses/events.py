"""Encoding the output items of a response, and the events of its stream in OpenAI's order and numbering."""

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from ...domain.events import Delta, Refusal, Step, Text
from ...generation.request import new_id
from ...generation.tools import CallDecoder, ClientCallDelta, ClientTools
from ...wire.json import JsonObject, encode
from .protocol import (
    ItemStatus,
    OutputCustomToolCall,
    OutputFunctionCall,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputRefusal,
    OutputText,
    OutputToolSearchCall,
    SummaryText,
)

PartType: TypeAlias = Literal["output_text", "refusal"]

TEXT_FIELD: Mapping[PartType, str] = {"output_text": "text", "refusal": "refusal"}
"""The field of a part, and of its `done` event, that has the text."""

OutputCall: TypeAlias = OutputFunctionCall | OutputCustomToolCall | OutputToolSearchCall

CALL_EVENT = {
    "function_call": "response.function_call_arguments",
    "custom_tool_call": "response.custom_tool_call_input",
}
"""By the type of the item: the first part of the types of its events. A search of tools has none of its own."""

LOGPROBS: Mapping[PartType, Mapping[str, Any]] = {"output_text": {"logprobs": []}, "refusal": {}}
"""Fields that OpenAI requires in the events of a part. The Cat provides no logprobs."""


class ResponseEventEncoder:
    """Builds the output items of one response. Each method returns the encoded events of what it changed.

    As in OpenAI's streams, an item is complete before the next one begins. An LLM may alternate between its tool calls,
    so the items of further calls begin only when the arguments of the current one are complete.
    """

    def __init__(self, tools: ClientTools) -> None:
        self.output: list[OutputItem] = []
        self._sequence_number = 0
        self._open_item: OutputItem | None = None
        self._open_part: PartType | None = None
        self._texts: list[str] = []
        self._delta_prefix = b""
        self._decoder = CallDecoder(tools)
        self._calls: list[OutputCall] = []
        self._contents: list[str] = []
        self._pending_calls: list[OutputCall] = []

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
        call = self._decoder.feed(delta)
        return self._append_call(call) if call else b""

    def finish(self, status: ItemStatus) -> bytes:
        """Finish all items. `status`: of the last one."""
        events = b"" if self.output else self._start_part("output_text")
        return events + self._start_pending_calls() + self._finish_item(status)

    def snapshot(self, status: ItemStatus = "in_progress") -> list[OutputItem]:
        """The items with all that was received up to now. `status`: of the unfinished item."""
        if self._open_part and isinstance(self._open_item, OutputMessage):
            self._open_item.content[-1] = _create_part(self._open_part, "".join(self._texts))
        if isinstance(self._open_item, OutputMessage | OutputCall):
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

    def _append_call(self, delta: ClientCallDelta) -> bytes:
        if delta.index == len(self._calls):
            call = _create_call(delta)
            self._calls.append(call)
            self._contents.append("")
            self._pending_calls.append(call)
        call = self._calls[delta.index]
        self._contents[delta.index] += delta.content
        _set_content(call, self._contents[delta.index])
        if call is self._open_item:
            return self._encode_content(call, delta.content)
        open_item = self._open_item
        must_wait = isinstance(open_item, OutputCall) and not self._is_complete(open_item)
        return b"" if must_wait or not self._pending_calls else self._start_next_call()

    def _is_complete(self, call: OutputCall) -> bool:
        """Whether no more of the call is expected: its input has ended, or its arguments are valid JSON."""
        index = self._index_of(call)
        if isinstance(call, OutputCustomToolCall):
            return self._decoder.is_complete(index)
        return _is_json(self._contents[index])

    def _index_of(self, call: OutputCall) -> int:
        return next(index for index, each in enumerate(self._calls) if each is call)

    def _start_next_call(self) -> bytes:
        call = self._pending_calls.pop(0)
        content = self._contents[self._index_of(call)]
        _set_content(call, "")
        events = self._start_item(call)
        _set_content(call, content)
        return events + self._encode_content(call, content)

    def _start_pending_calls(self) -> bytes:
        """Start the items of all pending calls, complete or not, because an item of another type follows."""
        events = b""
        while self._pending_calls:
            events += self._start_next_call()
        return events

    def _encode_content(self, call: OutputCall, delta: str) -> bytes:
        if not delta or call.type not in CALL_EVENT:
            return b""
        return self.encode_event(f"{CALL_EVENT[call.type]}.delta", **self._item_position(), delta=delta)

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
        elif isinstance(item, OutputCustomToolCall):
            rest = self._decoder.finish_call(self._index_of(item))
            events = self._append_call(rest) if rest else b""
            events += self.encode_event(f"{CALL_EVENT[item.type]}.done", **self._item_position(), input=item.input)
        elif isinstance(item, OutputFunctionCall):
            call = {"name": item.name, "arguments": item.arguments}
            events = self.encode_event(f"{CALL_EVENT[item.type]}.done", **self._item_position(), **call)
        elif isinstance(item, OutputToolSearchCall):
            item.arguments = _search_arguments(self._contents[self._index_of(item)])
        if isinstance(item, OutputMessage | OutputCall):
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


def _create_call(delta: ClientCallDelta) -> OutputCall:
    name, namespace = delta.tool.name, delta.tool.namespace or None
    if delta.tool.type == "tool_search":
        return OutputToolSearchCall(id=new_id("tsc_"), status="in_progress", call_id=delta.id)
    if delta.tool.type == "custom":
        return OutputCustomToolCall(
            id=new_id("ctc_"), status="in_progress", call_id=delta.id, name=name, namespace=namespace, input=""
        )
    return OutputFunctionCall(
        id=new_id("fc_"), status="in_progress", call_id=delta.id, name=name, namespace=namespace, arguments=""
    )


def _set_content(call: OutputCall, content: str) -> None:
    if isinstance(call, OutputCustomToolCall):
        call.input = content
    elif isinstance(call, OutputFunctionCall):
        call.arguments = content


def _search_arguments(arguments: str) -> JsonObject:
    """An object, in which a client expects them. What is none is taken for the query."""
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        parsed = None
    return parsed if isinstance(parsed, dict) else {"query": arguments}


def _is_json(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True
