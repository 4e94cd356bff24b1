"""The chunks of one stream, as bytes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...domain.events import CallDelta, Delta, Refusal, Step, Text
from ...wire.chunks import MARK, Chunks, around_mark
from ...wire.json import encode


def format_steps(steps: Iterable[Step]) -> str:
    """The steps as front ends show what they take for thoughts: a paragraph each."""
    return "".join(f"{step.text}\n\n" for step in steps)


class Frame(Chunks):
    """`is_legacy`: calls have the older form, `function_call`."""

    def __init__(self, common: Mapping[str, Any], *, include_usage: bool, is_legacy: bool) -> None:
        super().__init__(common, include_usage=include_usage)
        self._is_legacy = is_legacy
        self._before, self._after = around_mark(self.chunk({"content": MARK}))

    def opening(self, deltas: Sequence[Delta] = ()) -> bytes:
        """The chunk with the role: its content is null where the first thing said is no text."""
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
        function = (
            {"name": delta.name, "arguments": delta.arguments} if delta.id else {"arguments": delta.arguments}
        )
        if self._is_legacy:
            return {"function_call": function}
        begin = {"id": delta.id, "type": "function"} if delta.id else {}
        return {"tool_calls": [{"index": delta.index, **begin, "function": function}]}

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        return self.of({"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason})
