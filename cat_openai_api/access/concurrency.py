"""How many requests are answered at once."""

from ..errors import Overloaded


class ConcurrencyLimit:
    """The places for requests that are answered at once."""

    def __init__(self) -> None:
        self._acquired = 0

    def acquire(self, limit: int) -> None:
        """Take one of `limit` places; 0 is no limit. Raises `Overloaded`."""
        if limit and self._acquired >= limit:
            raise Overloaded(limit)
        self._acquired += 1

    def release(self) -> None:
        """Give a place back."""
        self._acquired -= 1


concurrency_limit = ConcurrencyLimit()
