"""The limit of generations that run at the same time."""

from ..errors import Overloaded


class ConcurrencyLimit:
    """Counts the generations that are running."""

    def __init__(self) -> None:
        self._acquired = 0

    def acquire(self, limit: int, count: int = 1) -> None:
        """Acquire `count` of `limit` slots, all or none. A `limit` of 0 is no limit. Raises `Overloaded`."""
        if limit and self._acquired + count > limit:
            raise Overloaded(limit, count)
        self._acquired += count

    def release(self, count: int = 1) -> None:
        self._acquired -= count
