"""Images and files in the results of calls, which OpenAI's Responses API allows and chat completions do not.

Servers of OpenAI's chat completions refuse them in messages of the role `tool`. So they go to the LLM in a message of
the role `user` behind the results.
"""

from collections.abc import Iterable
from dataclasses import replace

from ...domain.conversation import Part, Turn

NOTE = "This is part of the results of the tools:"


def media_of(turn: Turn) -> list[Part]:
    """The parts of a tool's turn that are no text."""
    return [part for part in turn.parts if not isinstance(part, str)] if turn.role == "tool" else []


def media_turn(media: Iterable[Part]) -> Turn:
    return Turn("user", (NOTE, *media))


def without_media(turn: Turn) -> Turn:
    """The tool's turn with its text alone."""
    return replace(turn, parts=(turn.text or "See the next message.",))
