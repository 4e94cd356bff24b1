"""The port to a Cat's storage: rows of JSON, each in a collection and owned by one person."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

request_began: ContextVar[float | None] = ContextVar("openai_api_request_began", default=None)
"""When the request began that the code is a part of, in seconds since the epoch; None outside of requests, and before
it is known whom the request is for."""


@dataclass(frozen=True)
class Collection:
    """A kind of row, with its bounds for each owner.

    `lifetime`: seconds from a row's last change until it expires; None: it never expires. `max_rows` and `max_bytes`:
    of one owner's rows together. A change that exceeds them deletes the rows that were changed longest ago, but never
    the row that it changes itself.
    """

    name: str
    lifetime: float | None = None
    max_rows: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True)
class Row:
    """`value`: any JSON value. `created_at`, `expires_at`: seconds since the epoch; `expires_at` None: never.
    `size`: of the value as JSON, in bytes. `version`: another number after each change."""

    key: str
    value: Any
    created_at: float
    expires_at: float | None
    size: int
    version: int


class Unchanged:
    """What the change of a row returns to leave the row as it is, see `Storage.update`."""


class Storage(ABC):
    """Rows identified by collection, owner and key. `owner` is the `key` of a `Person`.

    Other Cats may use the same storage. A row that has expired does not exist for any of these methods. JSON that is
    large is encoded and decoded outside of the event loop. Each method but `close` raises `StorageFailed`, after a line
    in the Cat's log.

    A request (see `request_began`) that began before its owner was erased, on whichever Cat, adds and changes nothing
    any more: `insert` returns False, and `update` does nothing.
    """

    @property
    @abstractmethod
    def is_shared(self) -> bool:
        """Whether other Cats may use the same storage at the same time."""

    @abstractmethod
    async def load(self, collection: Collection, owner: str, key: str) -> Row | None: ...

    @abstractmethod
    async def load_many(self, collection: Collection, owner: str, keys: Sequence[str]) -> dict[str, Row]:
        """Those of the keys that exist, by key."""

    @abstractmethod
    async def load_chain(self, collection: Collection, owner: str, key: str) -> list[Row]:
        """The row, and before it its parent, the parent of that and so on, as far back as they exist; the row is the
        last. Empty where the row does not exist."""

    @abstractmethod
    async def search(self, collection: Collection, owner: str, text: str) -> list[Row]:
        """The rows whose value contains `text` where it is encoded by `wire.json.encode`; oldest first."""

    @abstractmethod
    async def keys(self, collection: Collection, owner: str) -> list[str]:
        """In no order."""

    @abstractmethod
    async def insert(
        self, collection: Collection, owner: str, key: str, value: Any, *, parent: str | None = None
    ) -> bool:
        """Add a row. `parent`: the key of the row that this one continues, for `load_chain`.

        False where a row of that key exists: that one stays as it is.
        """

    @abstractmethod
    async def update(self, collection: Collection, owner: str, key: str, change: Callable[[Any], Any]) -> None:
        """Replace the value of the row by what `change` returns for it, or add the row; do nothing for `Unchanged`.

        `change` is called with None where the row does not exist. It is called in a worker thread, and once more for
        each time that another writer was faster, so it must have no side effects. No writer's change is lost.
        """

    @abstractmethod
    async def delete(self, collection: Collection, owner: str, key: str) -> bool:
        """Whether the row existed."""

    @abstractmethod
    async def delete_children(self, collection: Collection, owner: str, parent: str) -> None:
        """Delete the rows with that parent."""

    @abstractmethod
    async def delete_all(self, owner: str) -> Mapping[str, int]:
        """Erase the owner: delete the rows in all collections, also those that requests under way would still add.

        Returns the number of deleted rows by the name of their collection.
        """

    @abstractmethod
    async def erased(self, owners: Mapping[str, float]) -> set[str]:
        """Those of the owners who were erased at the time given for each, or later. Known for a day."""

    @abstractmethod
    async def sweep(self) -> None:
        """Delete the expired rows of all owners, and move what earlier versions of the plugin stored into rows."""

    @abstractmethod
    async def close(self) -> None:
        """Release threads and connections. Requests that are still under way may use the storage after it."""
