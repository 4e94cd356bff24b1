"""The chunks of one prompt's choice, as bytes."""

from collections.abc import Mapping
from typing import Any

from ..streamer import event
from ..wire import encode


class Frame:
    """`common`: what all chunks of the stream have in common; what is None in it is left out. `index`: of the
    choice."""

    def __init__(self, common: Mapping[str, Any], index: int, *, include_usage: bool) -> None:
        self._common = {name: value for name, value in common.items() if value is not None}
        self._index = index
        # With include_usage OpenAI sends the field in every chunk, null in all but the last.
        self._usage: dict[str, Any] = {"usage": None} if include_usage else {}
        self._before, self._after = self.chunk("\0").rsplit(b'"\\u0000"', 1)

    def delta(self, text: str) -> bytes:
        """This runs for every token."""
        return self._before + encode(text) + self._after

    def chunk(self, text: str, finish_reason: str | None = None) -> bytes:
        choice = {"text": text, "index": self._index, "logprobs": None, "finish_reason": finish_reason}
        return event({**self._common, "choices": [choice], **self._usage})

    def usage(self, usage: dict[str, Any]) -> bytes:
        return event({**self._common, "choices": [], "usage": usage})
