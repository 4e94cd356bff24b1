"""Server-sent events as OpenAI writes them: `data:` lines of JSON."""

from typing import Any

from .json import encode

DONE = b"data: [DONE]\n\n"
"""The last event of a stream of chat completions or completions."""


def encode_event(data: Any) -> bytes:
    """`data`: a JSON value."""
    return b"data: %b\n\n" % encode(data)
