"""The events of a run: what the Cat produces for one generation, in order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .usage import Usage


@dataclass(frozen=True)
class Text:
    """More of the text that the LLM writes as the reply. `delta` is never empty.

    `source`: a number for what the text comes from, such as one request to the LLM. Texts of another source are another
    text, which replaces this one as the reply.
    """

    delta: str
    source: int = 0


@dataclass(frozen=True)
class PluginText:
    """More of a text that a plugin sends while the run lasts, such as "Searching …", or what it has its own LLM say.

    It is for live streams. The final text need not have it. `delta` is never empty. `source`: as in `Text`, and
    different from those of `Text` events.
    """

    delta: str
    source: int


@dataclass(frozen=True)
class Step:
    """A step that the Cat took before or between its texts, such as a call of one of its own tools.

    `text`: a description of one or a few lines. It is not part of the reply.
    """

    text: str


@dataclass(frozen=True)
class Refusal:
    """More of the LLM's refusal, which is a text in OpenAI's field `refusal`. `delta` is never empty."""

    delta: str


@dataclass(frozen=True)
class CallDelta:
    """More of a call of one of the client's functions.

    `index`: number of the call in the reply, from 0. `id` and `name` are set in the first delta of each call and empty
    in the others. `arguments`: the next piece of the arguments' text, which may be empty.
    """

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Fingerprint:
    """OpenAI's `system_fingerprint`, from LLMs that report one. It comes before the LLM's first text."""

    value: str


EarlyFinishReason: TypeAlias = Literal["length", "content_filter"]

EARLY_FINISH_REASONS: Mapping[str | None, EarlyFinishReason] = {
    "length": "length",
    "content_filter": "content_filter",
}
"""By an LLM's finish reason: the reasons for which a reply ends before the LLM has completed it."""


@dataclass(frozen=True)
class End:
    """The last event of a run that neither fails nor is closed.

    `reason`: why the LLM stopped before its reply was complete; None where it was complete. `usage`: the sum over all
    calls of the LLM in the run; None unless the LLM reported the usage of each. `text`: the final text, which is what
    the pipeline returned at its end, whatever has been in `Text` and `PluginText` events before.
    """

    reason: EarlyFinishReason | None = None
    usage: Usage | None = None
    text: str = ""


Event: TypeAlias = Text | PluginText | Refusal | CallDelta | Step | Fingerprint | End

Delta: TypeAlias = Text | Refusal | CallDelta | Step
"""An event with content for the client."""

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]
"""Why a reply ended (OpenAI API reference, "Chat Completions", `finish_reason`)."""
