"""The open WebSockets: how many there may be, and what ends them all."""

import asyncio
from collections import Counter
from typing import Protocol

from ..domain.people import Person
from ..errors import CapacityReached, ShareExceeded

MAX_CONNECTIONS = 1000
"""Open WebSockets of one Cat."""

MAX_CONNECTIONS_OF_PERSON = 256
"""Those of one caller. A service is one caller, whomever it speaks for."""

MAX_MEMORY = 256 * 1024 * 1024
"""Bytes that all connections together may remember for their next turns."""


class Connection(Protocol):
    async def shut_down(self) -> None:
        """Close the connection because the plugin is switched off or the Cat stops. Returns when it is closed."""


class Connections:
    """The open connections of one Cat, and how much they remember."""

    def __init__(self) -> None:
        self._open: dict[Connection, str] = {}
        self._counts: Counter[str] = Counter()
        self._remembered = 0

    def add(self, connection: Connection, caller: Person) -> None:
        """Raises `CapacityReached` or `ShareExceeded`."""
        if len(self._open) >= MAX_CONNECTIONS:
            raise CapacityReached(MAX_CONNECTIONS, "open WebSockets")
        if self._counts[caller.key] >= MAX_CONNECTIONS_OF_PERSON:
            raise ShareExceeded(MAX_CONNECTIONS_OF_PERSON, "open WebSockets")
        self._open[connection] = caller.key
        self._counts[caller.key] += 1

    def remove(self, connection: Connection) -> None:
        caller = self._open.pop(connection)
        self._counts[caller] -= 1
        if not self._counts[caller]:
            del self._counts[caller]

    def remember(self, size: int) -> bool:
        """Whether there is room for `size` more bytes, which are counted then."""
        if self._remembered + size > MAX_MEMORY:
            return False
        self._remembered += size
        return True

    def forget(self, size: int) -> None:
        self._remembered -= size

    async def close(self) -> None:
        await asyncio.gather(*(connection.shut_down() for connection in [*self._open]))
