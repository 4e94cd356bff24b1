"""The chunks of one stream of completions, as bytes: what chat's and the older ones have in common."""

from collections.abc import Mapping
from typing import Any

from ..http.streamer import event

MARK = "\0"
"""Stands for the text in a chunk that is to be split around it."""


class Chunks:
    """`common`: what all chunks of the stream have in common; what is None in it is left out."""

    def __init__(self, common: Mapping[str, Any], *, include_usage: bool) -> None:
        self._common = {name: value for name, value in common.items() if value is not None}
        # With include_usage OpenAI sends the field in every chunk, null in all but the last.
        self._usage: dict[str, Any] = {"usage": None} if include_usage else {}

    def of(self, choice: Mapping[str, Any]) -> bytes:
        return event({**self._common, "choices": [choice], **self._usage})

    def usage(self, usage: Mapping[str, Any]) -> bytes:
        return event({**self._common, "choices": [], "usage": usage})


def around_mark(chunk: bytes) -> tuple[bytes, bytes]:
    """What stands before and after the `MARK` in a chunk: it is encoded once, not for each token."""
    before, after = chunk.rsplit(b'"\\u0000"', 1)
    return before, after
