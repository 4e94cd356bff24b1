"""The chunks of one prompt's choice, as bytes."""

from collections.abc import Mapping
from typing import Any

from ...wire.chunks import TEXT_MARK, Chunks, split_at_mark
from ...wire.json import encode


class CompletionChunks(Chunks):
    """`index`: of the choice."""

    def __init__(self, common: Mapping[str, Any], index: int, *, include_usage: bool) -> None:
        super().__init__(common, include_usage=include_usage)
        self._index = index
        self._before, self._after = split_at_mark(self.chunk(TEXT_MARK))

    def delta(self, text: str) -> bytes:
        """This runs for every token."""
        return self._before + encode(text) + self._after

    def chunk(self, text: str, finish_reason: str | None = None) -> bytes:
        return self.with_choice({"text": text, "index": self._index, "logprobs": None, "finish_reason": finish_reason})
