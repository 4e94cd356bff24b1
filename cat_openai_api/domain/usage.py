"""Token usage."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add


@dataclass(frozen=True)
class Usage:
    """Tokens that the LLM reported. `cached` and `reasoning`: the parts of `prompt` and `completion` that OpenAI
    gives in the details; None where the LLM says nothing of them."""

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
    """Of all the LLM's calls in a run; None unless there were calls and it reported on each."""
    known = [usage for usage in reported if usage is not None]
    return reduce(add, known) if known and len(known) == len(reported) else None


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)
