"""The chunks of one prompt's choice, as bytes."""

from collections.abc import Mapping
from typing import Any

from ...wire.chunks import MARK, Chunks, around_mark
from ...wire.json import encode


class Frame(Chunks):
    """`index`: of the choice."""

    def __init__(self, common: Mapping[str, Any], index: int, *, include_usage: bool) -> None:
        super().__init__(common, include_usage=include_usage)
        self._index = index
        self._before, self._after = around_mark(self.chunk(MARK))

    def delta(self, text: str) -> bytes:
        """This runs for every token."""
        return self._before + encode(text) + self._after

    def chunk(self, text: str, finish_reason: str | None = None) -> bytes:
        return self.of({"text": text, "index": self._index, "logprobs": None, "finish_reason": finish_reason})
