"""Token usage."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add


@dataclass(frozen=True)
class Usage:
    """Numbers of tokens.

    `total`: prompt and completion, as the LLM reports it. `cached`: those of `prompt` that the LLM had cached.
    `reasoning`: those of `completion` that are not in the text. Both are None where the LLM does not report them.
    """

    prompt: int
    completion: int
    total: int
    cached: int | None = None
    reasoning: int | None = None

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.total + other.total,
            _sum(self.cached, other.cached),
            _sum(self.reasoning, other.reasoning),
        )


def total_usage(reported: Sequence[Usage | None]) -> Usage | None:
    """The sum over all calls of the LLM in a run; None if there were no calls or one of them has no report."""
    known = [usage for usage in reported if usage is not None]
    return reduce(add, known) if known and len(known) == len(reported) else None


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)
