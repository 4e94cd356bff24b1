"""The chunks of one stream of a chat completion, as bytes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...domain.events import CallDelta, Delta, Refusal, Step, Text
from ...wire.chunks import TEXT_MARK, Chunks, split_at_mark
from ...wire.json import encode


def format_steps(steps: Iterable[Step]) -> str:
    """The Cat's steps as one text, a paragraph each: front ends show it as the model's thoughts."""
    return "".join(f"{step.text}\n\n" for step in steps)


class ChatChunks(Chunks):
    """`is_legacy`: calls are written in the older form, `function_call`."""

    def __init__(self, common: Mapping[str, Any], *, include_usage: bool, is_legacy: bool) -> None:
        super().__init__(common, include_usage=include_usage)
        self._is_legacy = is_legacy
        self._before, self._after = split_at_mark(self.chunk({"content": TEXT_MARK}))

    def first(self, deltas: Sequence[Delta] = ()) -> bytes:
        """The first chunk, which has the role. Its content is null where the first of `deltas` is no text."""
        content = "" if not deltas or isinstance(deltas[0], Text) else None
        return self.chunk({"role": "assistant", "content": content, "refusal": None})

    def delta(self, delta: Delta) -> bytes:
        """This runs for every token."""
        if isinstance(delta, Text):
            return self._before + encode(delta.delta) + self._after
        if isinstance(delta, Refusal):
            return self.chunk({"refusal": delta.delta})
        if isinstance(delta, Step):
            return self.chunk({"reasoning_content": format_steps([delta])})
        return self.chunk(self._call(delta))

    def _call(self, delta: CallDelta) -> dict[str, Any]:
        function = {"name": delta.name, "arguments": delta.arguments} if delta.id else {"arguments": delta.arguments}
        if self._is_legacy:
            return {"function_call": function}
        begin = {"id": delta.id, "type": "function"} if delta.id else {}
        return {"tool_calls": [{"index": delta.index, **begin, "function": function}]}

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        return self.with_choice({"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason})
