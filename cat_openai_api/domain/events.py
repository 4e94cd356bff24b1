"""The events of a run: what the Cat produces for one request, in order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .usage import Usage


@dataclass(frozen=True)
class Text:
    """Event of a run: the reply goes on with `delta`, which is never empty."""

    delta: str


@dataclass(frozen=True)
class Step:
    """Event of a run: something that the Cat did before it spoke, or between, told in a line or a few. It is no
    part of the reply."""

    text: str


@dataclass(frozen=True)
class Refusal:
    """Event of a run: the LLM declines, in OpenAI's field of that name, and goes on doing so with `delta`."""

    delta: str


@dataclass(frozen=True)
class CallDelta:
    """Event of a run: a piece of a call that the client is to make of one of its functions.

    `index`: which call, from 0. `id` and `name` are set in the first piece of each call and empty in those
    after it.
    """

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Fingerprint:
    """Event of a run: the LLM's configuration, as it calls it itself. It comes before what the LLM says, if at
    all."""

    value: str


EarlyFinishReason: TypeAlias = Literal["length", "content_filter"]


EARLY_FINISH_REASONS: Mapping[str | None, EarlyFinishReason] = {
    "length": "length",
    "content_filter": "content_filter",
}
"""Those finish reasons of an LLM that are no end of its own."""


@dataclass(frozen=True)
class End:
    """Event of a run: the last one, unless the run fails or is closed.

    `reason`: why the LLM ended where that was no end of its own. `usage`: of all the LLM's calls in the run; None
    unless it reported on each.
    """

    reason: EarlyFinishReason | None = None
    usage: Usage | None = None


Event: TypeAlias = Text | Refusal | CallDelta | Step | Fingerprint | End

Delta: TypeAlias = Text | Refusal | CallDelta | Step
"""An event that the client gets a form of."""

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]
"""OpenAI's words for why a reply ended."""
