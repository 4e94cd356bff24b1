"""The port to the table of usage: sums of requests and tokens by time, key, person and model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..domain.usage import UsageCounts, UsageKind, UsageLabels

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR

LIFETIMES = {MINUTE: 2 * DAY, HOUR: 90 * DAY}
"""Seconds that sums over a minute and over an hour are kept."""

GroupBy: TypeAlias = Literal["key_id", "name", "model"]


@dataclass(frozen=True)
class UsageQuery:
    """Which sums to read.

    `width`: seconds of a bucket: `MINUTE`, `HOUR` or `DAY`. `start`, `end`: seconds since the epoch, multiples of
    `width`; `end` is exclusive. `group_by`: labels by which the sums of a bucket are kept apart. `key_ids`, `names`,
    `models`: only these; None is no condition.
    """

    kind: UsageKind
    width: int
    start: int
    end: int
    group_by: Sequence[GroupBy] = ()
    key_ids: Sequence[str] | None = None
    names: Sequence[str] | None = None
    models: Sequence[str] | None = None


@dataclass(frozen=True)
class UsageSum:
    """`start`: of the bucket. `labels`: the values of the labels in `group_by`; an empty one is not known."""

    start: int
    labels: Mapping[GroupBy, str]
    counts: UsageCounts


class UsageTable(ABC):
    """Times are in UTC. Each method raises `StorageFailed`, after a line in the Cat's log."""

    @abstractmethod
    async def add(self, writer: str, batch: int, counts: Mapping[tuple[int, UsageLabels], UsageCounts]) -> None:
        """Add counts, given by the minute in seconds since the epoch and their labels.

        `writer`: unique to the process. `batch`: a larger number than those of the writer's batches before. A batch
        that is added once more, because it was not known whether it had been added, is not counted twice.
        """

    @abstractmethod
    async def sums(self, query: UsageQuery) -> list[UsageSum]:
        """Ordered by start. Buckets without usage are left out."""

    @abstractmethod
    async def forget(self, persons: Sequence[str], name: str | None) -> int:
        """Take the persons, and everybody with that name, out of the sums, which stay. Returns how many rows had them.

        `persons`: keys of `Person`.
        """

    @abstractmethod
    async def sweep(self) -> None:
        """Delete what is older than `LIFETIMES`."""
