"""The chunks of one stream of chat completions or completions, as bytes."""

from collections.abc import Mapping
from typing import Any

from .sse import event

TEXT_MARK = "\0"
"""Stands for the text in a chunk that is split around it."""


class Chunks:
    """`common`: the fields that all chunks of the stream have; those that are None are left out."""

    def __init__(self, common: Mapping[str, Any], *, include_usage: bool) -> None:
        self._common = {name: value for name, value in common.items() if value is not None}
        # With include_usage OpenAI sends the field in every chunk, null in all but the last.
        self._usage: dict[str, Any] = {"usage": None} if include_usage else {}

    def with_choice(self, choice: Mapping[str, Any]) -> bytes:
        return event({**self._common, "choices": [choice], **self._usage})

    def with_usage(self, usage: Mapping[str, Any]) -> bytes:
        return event({**self._common, "choices": [], "usage": usage})


def split_at_mark(chunk: bytes) -> tuple[bytes, bytes]:
    """What stands before and after the `TEXT_MARK` in a chunk: it is encoded once, and not for each token."""
    before, after = chunk.rsplit(b'"\\u0000"', 1)
    return before, after
