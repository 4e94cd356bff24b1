"""Token usage."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Literal, TypeAlias

UsageKind: TypeAlias = Literal["completions", "embeddings"]


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


@dataclass(frozen=True)
class UsageLabels:
    """By what a request is counted.

    `key_id`: of the API key; empty for other credentials. `person`: the `key` of a `Person`, `name`: the person's name;
    both are empty where the person is not known any more. `model`: the Cat's id of it.
    """

    kind: UsageKind
    key_id: str
    person: str
    name: str
    model: str


@dataclass(frozen=True)
class UsageCounts:
    """Sums over requests. `cached` are part of `input`, `reasoning` of `output`, as far as the LLM reported them."""

    requests: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0

    @classmethod
    def of_request(cls, usage: Usage) -> "UsageCounts":
        """Some LLMs report a total that includes thoughts, and a completion that does not."""
        output = max(usage.completion, usage.total - usage.prompt)
        return cls(1, usage.prompt, output, usage.cached or 0, usage.reasoning or 0)

    def __add__(self, other: "UsageCounts") -> "UsageCounts":
        return UsageCounts(
            self.requests + other.requests,
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
        )
