"""Encoding the chunks of a completion's stream."""

from collections.abc import Mapping
from typing import Any

from ...wire.chunks import TEXT_PLACEHOLDER, ChunkEncoder, split_at_placeholder
from ...wire.json import encode


class CompletionChunkEncoder(ChunkEncoder):
    """Encodes the chunks of one choice. `index`: of the choice."""

    def __init__(self, common: Mapping[str, Any], index: int, *, include_usage: bool) -> None:
        super().__init__(common, include_usage=include_usage)
        self._index = index
        self._before, self._after = split_at_placeholder(self.encode_chunk(TEXT_PLACEHOLDER))

    def encode_delta(self, text: str) -> bytes:
        """This runs for every token."""
        return self._before + encode(text) + self._after

    def encode_chunk(self, text: str, finish_reason: str | None = None) -> bytes:
        return self.encode_choice(
            {"text": text, "index": self._index, "logprobs": None, "finish_reason": finish_reason}
        )
