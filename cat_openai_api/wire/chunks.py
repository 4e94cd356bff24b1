"""Encoding the chunks of a stream of chat completions or completions."""

from collections.abc import Mapping
from typing import Any

from .json import JsonObject
from .sse import encode_event

TEXT_PLACEHOLDER = "\0"
"""Stands for the text in a chunk that is split with `split_at_placeholder`."""


class ChunkEncoder:
    """Encodes the chunks of one stream as server-sent events.

    `common`: the fields that all chunks have; fields that are None are left out. `include_usage`: whether the client
    requested usage. OpenAI then sends the field `usage` in every chunk, null in all but the last (OpenAI API reference,
    `stream_options`).
    """

    def __init__(self, common: Mapping[str, Any], *, include_usage: bool) -> None:
        self._common = {name: value for name, value in common.items() if value is not None}
        self._usage: JsonObject = {"usage": None} if include_usage else {}

    def encode_choice(self, choice: Mapping[str, Any]) -> bytes:
        return encode_event({**self._common, "choices": [choice], **self._usage})

    def encode_usage(self, usage: Mapping[str, Any]) -> bytes:
        return encode_event({**self._common, "choices": [], "usage": usage})


def split_at_placeholder(chunk: bytes) -> tuple[bytes, bytes]:
    """The bytes before and after the `TEXT_PLACEHOLDER`, between which the text of each token is inserted."""
    before, after = chunk.rsplit(b'"\\u0000"', 1)
    return before, after
