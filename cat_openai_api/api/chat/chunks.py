"""Encoding the chunks of a chat completion's stream."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...domain.events import Delta, Refusal, Step, Text
from ...generation.tools import CallDecoder, ClientCallDelta, ClientTools
from ...wire.chunks import TEXT_PLACEHOLDER, ChunkEncoder, split_at_placeholder
from ...wire.json import JsonObject, encode


def format_steps(steps: Iterable[Step]) -> str:
    """The value of `reasoning_content`, which front ends show as the model's reasoning: a paragraph for each step."""
    return "".join(f"{step.text}\n\n" for step in steps)


class ChatChunkEncoder(ChunkEncoder):
    """`is_legacy`: whether calls have the older form, `function_call`."""

    def __init__(self, common: Mapping[str, Any], tools: ClientTools, *, include_usage: bool, is_legacy: bool) -> None:
        super().__init__(common, include_usage=include_usage)
        self._is_legacy = is_legacy
        self._calls = CallDecoder(tools)
        self._before, self._after = split_at_placeholder(self.encode_chunk({"content": TEXT_PLACEHOLDER}))

    def encode_first(self, deltas: Sequence[Delta] = ()) -> bytes:
        """The chunk with the role. `deltas`: the first deltas, if known; the content is null unless they are text."""
        content = "" if not deltas or isinstance(deltas[0], Text) else None
        return self.encode_chunk({"role": "assistant", "content": content, "refusal": None})

    def encode_delta(self, delta: Delta) -> bytes:
        """This runs for every token."""
        if isinstance(delta, Text):
            return self._before + encode(delta.delta) + self._after
        if isinstance(delta, Refusal):
            return self.encode_chunk({"refusal": delta.delta})
        if isinstance(delta, Step):
            return self.encode_chunk({"reasoning_content": format_steps([delta])})
        call = self._calls.feed(delta)
        return self.encode_chunk(self._call_fields(call)) if call else b""

    def encode_rest_of_calls(self) -> bytes:
        """The chunks of what is left of calls at the end of the reply."""
        return b"".join(self.encode_chunk(self._call_fields(delta)) for delta in self._calls.finish())

    def _call_fields(self, delta: ClientCallDelta) -> JsonObject:
        type = delta.tool.type
        name = {"name": delta.tool.name} if delta.id else {}
        call = {**name, "input" if type == "custom" else "arguments": delta.content}
        if self._is_legacy:
            return {"function_call": call}
        first_fields = {"id": delta.id, "type": type} if delta.id else {}
        return {"tool_calls": [{"index": delta.index, **first_fields, type: call}]}

    def encode_chunk(self, delta: JsonObject, finish_reason: str | None = None) -> bytes:
        return self.encode_choice({"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason})
