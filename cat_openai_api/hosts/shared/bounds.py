"""How much of a growing record is kept: entries by name, oldest first, each with its time in the field `at`."""

import time
from collections.abc import Callable
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]


def young(record: Record | None, seconds: float) -> Record:
    """Without entries that are older."""
    oldest = time.time() - seconds
    return {name: entry for name, entry in (record or {}).items() if entry["at"] > oldest}


def newest(record: Record, entries: int, size: int, size_of: Callable[[Any], int]) -> Record:
    """The newest that there is room for; in any case the newest. `size`: of all together, in bytes."""
    kept: list[tuple[str, Any]] = []
    for name, entry in list(reversed(record.items()))[:entries]:
        size -= size_of(entry)
        if size < 0 and kept:
            break
        kept.append((name, entry))
    return dict(reversed(kept))
