"""Storage in one table of an SQL database: SQLite (3.35 or later) or Postgres."""

import asyncio
import json
import random
import secrets
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from hashlib import sha256
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from ...errors import StorageFailed
from ...wire.json import encode
from ...wire.off_loop import off_loop
from ..collections import ERASURES
from ..storage import Collection, Row, Storage, Unchanged, request_began
from .legacy import LegacyEntries, UnreadableEntry, legacy_rows
from .storage import retry, storage_failures

MAX_ATTEMPTS = 100
"""At an update. Each one that fails means that another writer has changed the row."""

MAX_CHAIN = 1000
"""Rows of one chain."""

CREATE = (
    """CREATE TABLE IF NOT EXISTS openai_api_rows (
        owner TEXT NOT NULL,
        collection TEXT NOT NULL,
        key TEXT NOT NULL,
        parent TEXT,
        value TEXT NOT NULL,
        size BIGINT NOT NULL,
        version BIGINT NOT NULL,
        created_at DOUBLE PRECISION NOT NULL,
        updated_at DOUBLE PRECISION NOT NULL,
        expires_at DOUBLE PRECISION,
        PRIMARY KEY (owner, collection, key)
    )""",
    "CREATE INDEX IF NOT EXISTS openai_api_rows_expires_at ON openai_api_rows (expires_at)",
)

COLUMNS = "key, value, size, version, created_at, expires_at"

OF_OWNER = "owner = ? AND collection = ?"

LIVE = "(expires_at IS NULL OR expires_at > ?)"

LOAD = f"SELECT {COLUMNS} FROM openai_api_rows WHERE {OF_OWNER} AND key = ?"

LOAD_MANY = f"SELECT {COLUMNS} FROM openai_api_rows WHERE {OF_OWNER} AND {LIVE} AND key IN ({{keys}})"

KEYS = f"SELECT key FROM openai_api_rows WHERE {OF_OWNER} AND {LIVE}"

SEARCH = f"""SELECT {COLUMNS} FROM openai_api_rows WHERE {OF_OWNER} AND {LIVE} AND {{position}}(value, ?) > 0
    ORDER BY updated_at, key"""

CHAIN = f"""WITH RECURSIVE chain (link, next, place) AS (
        SELECT key, parent, 1 FROM openai_api_rows WHERE {OF_OWNER} AND key = ? AND {LIVE}
        UNION ALL
        SELECT openai_api_rows.key, openai_api_rows.parent, chain.place + 1
        FROM chain JOIN openai_api_rows ON openai_api_rows.key = chain.next
        WHERE {OF_OWNER} AND {LIVE} AND chain.place < ?
    )
    SELECT {COLUMNS} FROM chain JOIN openai_api_rows ON key = link WHERE {OF_OWNER} ORDER BY place DESC"""

NOT_ERASED = f"""NOT EXISTS (
        SELECT 1 FROM openai_api_rows AS erasure
        WHERE erasure.owner = ? AND erasure.collection = '{ERASURES.name}' AND erasure.updated_at >= ?
    )"""
"""The owner has not been erased since a time."""

INSERT = f"""INSERT INTO openai_api_rows
        (owner, collection, key, parent, value, size, version, created_at, updated_at, expires_at)
    SELECT CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT),
        CAST(? AS BIGINT), CAST(? AS BIGINT),
        CAST(? AS DOUBLE PRECISION), CAST(? AS DOUBLE PRECISION), CAST(? AS DOUBLE PRECISION)
    WHERE {NOT_ERASED}
    ON CONFLICT (owner, collection, key) DO UPDATE SET
        parent = excluded.parent, value = excluded.value, size = excluded.size, version = excluded.version,
        created_at = excluded.created_at, updated_at = excluded.updated_at, expires_at = excluded.expires_at
    WHERE openai_api_rows.expires_at <= ?
    RETURNING version"""
"""In the place of an expired row, too."""

UPDATE = f"""UPDATE openai_api_rows
    SET value = ?, size = ?, version = ?, created_at = ?, updated_at = ?, expires_at = ?
    WHERE {OF_OWNER} AND key = ? AND version = ? AND {NOT_ERASED}
    RETURNING version"""

TRIM = f"""DELETE FROM openai_api_rows WHERE {OF_OWNER} AND key IN (
        SELECT key FROM (
            SELECT key, ROW_NUMBER() OVER newest AS place, CAST(SUM(size) OVER newest AS BIGINT) AS bytes
            FROM openai_api_rows WHERE {OF_OWNER} WINDOW newest AS (ORDER BY updated_at DESC, key DESC)
        ) AS ranked
        WHERE (place > ? OR bytes > ?) AND key <> ?
    )"""

DELETE = f"DELETE FROM openai_api_rows WHERE {OF_OWNER} AND key = ? AND {LIVE} RETURNING key"

DELETE_CHILDREN = f"DELETE FROM openai_api_rows WHERE {OF_OWNER} AND parent = ?"

NOTE_ERASURE = f"""INSERT INTO openai_api_rows
        (owner, collection, key, value, size, version, created_at, updated_at, expires_at)
    VALUES (?, '{ERASURES.name}', '', 'true', 4, ?, ?, ?, ?)
    ON CONFLICT (owner, collection, key) DO UPDATE SET
        version = excluded.version, updated_at = excluded.updated_at, expires_at = excluded.expires_at"""

DELETE_ALL = f"DELETE FROM openai_api_rows WHERE owner = ? AND collection <> '{ERASURES.name}' RETURNING collection"

ERASED = f"""SELECT owner, updated_at FROM openai_api_rows
    WHERE owner IN ({{owners}}) AND collection = '{ERASURES.name}'"""

SWEEP = "DELETE FROM openai_api_rows WHERE expires_at <= ?"

NO_LIMIT = 2**62

NO_REQUEST = 1e18
"""A time after all erasures: what no request does is not affected by them."""

MAX_STATEMENTS = 8
"""Statements that are executed at the same time. Each has a connection and, in SQLite, a thread. Hundreds of them that
wait for SQLite's one writer would take many times as long as one after the other."""

MAX_OWNERS = 500
"""Of one statement."""

Statement: TypeAlias = tuple[Any, ...]
"""SQL, and a value for each `?` in it."""

Record: TypeAlias = Mapping[str, Any]
"""A row of the table, by the names of its columns."""


class Database(ABC):
    """Where the statements are executed."""

    @property
    @abstractmethod
    def position(self) -> str:
        """The name of its function for the place of one text in another."""

    @property
    @abstractmethod
    def is_shared(self) -> bool:
        """See `Storage.is_shared`."""

    @abstractmethod
    async def execute(self, statement: str, *values: Any) -> Sequence[Record]:
        """Execute one statement and commit it; `?` in it stands for a value. Raises what the database raises."""

    async def close(self) -> None:  # noqa: B027  the host may own the connections
        """Release threads and connections. Statements can be executed after it."""


class Table:
    """Creates a table where it does not exist. `statements`: that create it and its indexes if they do not exist."""

    def __init__(self, database: Database, name: str, statements: Sequence[str]) -> None:
        self._database = database
        self._name = name
        self._statements = statements
        self._exists = False
        self._creating = asyncio.Lock()

    async def create(self) -> None:
        if self._exists:
            return
        async with self._creating:
            if not self._exists:
                try:
                    await self._database.execute(f"SELECT 1 FROM {self._name} WHERE 1 = 0")
                except Exception:  # of whatever class the database has for an unknown table; other failures come again
                    for statement in self._statements:
                        # Of several Cats that do so at the same moment Postgres may refuse all but one.
                        await retry(partial(self._database.execute, statement))
                self._exists = True


class SqlStorage(Storage):
    """Rows are changed by compare-and-swap: a statement names the version that it replaces. No locks are held, and the
    clocks of several Cats decide about nothing but when rows expire and which are the oldest."""

    def __init__(self, database: Database, legacy: LegacyEntries, log_error: Callable[[str], object]) -> None:
        self._database = database
        self._legacy = legacy
        self._log_error = log_error
        self._table = Table(database, "openai_api_rows", CREATE)
        self._moving = asyncio.Lock()
        self._slots = asyncio.Semaphore(MAX_STATEMENTS)
        self._updating: WeakValueDictionary[tuple[str, str, str], asyncio.Lock] = WeakValueDictionary()
        self._unreadable: set[str] = set()

    @property
    def is_shared(self) -> bool:
        return self._database.is_shared

    async def load(self, collection: Collection, owner: str, key: str) -> Row | None:
        if not _is_storable(key):
            return None
        with self._failures():
            await self._prepare(owner)
            record = await self._find(collection, owner, key)
            return (await _rows([record]))[0] if record and _is_live(record) else None

    async def load_many(self, collection: Collection, owner: str, keys: Sequence[str]) -> dict[str, Row]:
        if not keys:
            return {}
        with self._failures():
            await self._prepare(owner)
            statement = LOAD_MANY.format(keys=", ".join("?" for _ in keys))
            records = await self._execute(statement, *_place(collection, owner), time.time(), *keys)
            return {row.key: row for row in await _rows(records)}

    async def load_chain(self, collection: Collection, owner: str, key: str) -> list[Row]:
        if not _is_storable(key):
            return []
        with self._failures():
            await self._prepare(owner)
            place, now = _place(collection, owner), time.time()
            return await _rows(await self._execute(CHAIN, *place, key, now, *place, now, MAX_CHAIN, *place))

    async def search(self, collection: Collection, owner: str, text: str) -> list[Row]:
        with self._failures():
            await self._prepare(owner)
            statement = SEARCH.format(position=self._database.position)
            return await _rows(await self._execute(statement, *_place(collection, owner), time.time(), text))

    async def keys(self, collection: Collection, owner: str) -> list[str]:
        with self._failures():
            await self._prepare(owner)
            records = await self._execute(KEYS, *_place(collection, owner), time.time())
            return [record["key"] for record in records]

    async def insert(
        self, collection: Collection, owner: str, key: str, value: Any, *, parent: str | None = None
    ) -> bool:
        with self._failures():
            await self._prepare(owner)
            text = await asyncio.to_thread(_encode, value)
            version = _new_version()
            now = time.time()
            is_new = await self._execute(
                *_insertion(collection, owner, key, text, version=version, now=now, parent=parent)
            )
            if not is_new:
                # The row may be ours: a statement is tried again when its connection breaks after it was executed.
                present = await self._find(collection, owner, key)
                return present is not None and present["version"] == version
            await self._trim(collection, owner, key)
            return True

    async def update(self, collection: Collection, owner: str, key: str, change: Callable[[Any], Any]) -> None:
        # Updates of one row by this process take turns. Only those of other Cats can come in between.
        turn = self._updating.setdefault((collection.name, owner, key), asyncio.Lock())
        with self._failures():
            await self._prepare(owner)
            async with turn:
                version: int | None = None
                for _ in range(MAX_ATTEMPTS):
                    present = await self._find(collection, owner, key)
                    if present and present["version"] == version:
                        break  # The statement was tried again when its connection broke after it was executed.
                    text = await asyncio.to_thread(_changed, present, change)
                    if text is None:
                        return
                    version, now = _new_version(), time.time()
                    if present is None:
                        statement = _insertion(collection, owner, key, text, version=version, now=now)
                    else:
                        created_at = present["created_at"] if _is_live(present) else now
                        content = (text, len(text), version, created_at, now, _expires_at(collection, now))
                        place = (*_place(collection, owner), key, present["version"])
                        statement = (UPDATE, *content, *place, *_erasure_condition(owner))
                    if await self._execute(*statement):
                        break
                    if await self._is_erased(owner):
                        return
                    await asyncio.sleep(random.uniform(0, 0.02))
                else:
                    raise TimeoutError(f"others have changed the row {MAX_ATTEMPTS} times")
                await self._trim(collection, owner, key)

    async def delete(self, collection: Collection, owner: str, key: str) -> bool:
        if not _is_storable(key):
            return False
        with self._failures():
            await self._prepare(owner)
            return bool(await self._execute(DELETE, *_place(collection, owner), key, time.time()))

    async def delete_children(self, collection: Collection, owner: str, parent: str) -> None:
        with self._failures():
            await self._prepare(owner)
            await self._execute(DELETE_CHILDREN, *_place(collection, owner), parent)

    async def delete_all(self, owner: str) -> dict[str, int]:
        with self._failures():
            await self._prepare(owner)
            # First the note, so that no earlier request adds a row behind the deletion.
            now = time.time()
            await self._execute(NOTE_ERASURE, digest(owner), _new_version(), now, now, _expires_at(ERASURES, now))
            deleted = await self._execute(DELETE_ALL, digest(owner))
            return {**Counter(record["collection"] for record in deleted)}

    async def erased(self, owners: Mapping[str, float]) -> set[str]:
        by_digest = {digest(owner): owner for owner in owners}
        found: set[str] = set()
        with self._failures():
            await self._table.create()
            digests = [*by_digest]
            for first in range(0, len(digests), MAX_OWNERS):
                some = digests[first : first + MAX_OWNERS]
                for record in await self._execute(ERASED.format(owners=", ".join("?" for _ in some)), *some):
                    owner = by_digest[record["owner"]]
                    if record["updated_at"] >= owners[owner]:
                        found.add(owner)
        return found

    async def sweep(self) -> None:
        with self._failures():
            await self._table.create()
            for owner in await retry(self._legacy.list_owners):
                await self._move_legacy(owner)
            await self._execute(SWEEP, time.time())

    async def close(self) -> None:
        await self._database.close()

    def _failures(self) -> AbstractContextManager[None]:
        return storage_failures(self._log_error)

    async def _execute(self, statement: str, *values: Any) -> Sequence[Record]:
        async with self._slots:
            return await retry(partial(self._database.execute, statement, *values))

    async def _is_erased(self, owner: str) -> bool:
        """Whether the owner was erased since the request began that this is a part of."""
        began = request_began.get()
        return began is not None and bool(await self.erased({owner: began}))

    async def _find(self, collection: Collection, owner: str, key: str) -> Record | None:
        """The row, also when it has expired."""
        records = await self._execute(LOAD, *_place(collection, owner), key)
        return records[0] if records else None

    async def _trim(self, collection: Collection, owner: str, newest: str) -> None:
        """Delete the rows that exceed the bounds of the collection, except `newest`."""
        if collection.max_rows is None and collection.max_bytes is None:
            return
        place, limits = _place(collection, owner), (collection.max_rows or NO_LIMIT, collection.max_bytes or NO_LIMIT)
        # The row is stored. Where this fails, the error is in the log, and the next change deletes what is too much.
        with suppress(StorageFailed), self._failures():
            await self._execute(TRIM, *place, *place, *limits, newest)

    async def _prepare(self, owner: str) -> None:
        await self._table.create()
        await self._move_legacy(owner)

    async def _move_legacy(self, owner: str) -> None:
        """Move what earlier versions stored of the person into rows."""
        if not await retry(partial(self._legacy.names, owner)):
            return
        async with self._moving:
            for name in await self._legacy.names(owner):
                if name not in self._unreadable:
                    await retry(partial(self._move_entry, name, owner))

    async def _move_entry(self, name: str, owner: str) -> None:
        try:
            async with self._legacy.take(name) as value:
                if value is not None:
                    for statement in await asyncio.to_thread(_insertions, name, owner, value):
                        await self._database.execute(*statement)
        except UnreadableEntry:
            self._unreadable.add(name)
            self._log_error(f"OpenAI API: {name}, which an earlier version stored, cannot be read and stays as it is")


def _place(collection: Collection, owner: str) -> tuple[str, str]:
    """The values of `OF_OWNER`."""
    return digest(owner), collection.name


def digest(owner: str) -> str:
    """In the place of a name, which may be any text of a client's."""
    return sha256(owner.encode()).hexdigest()


def _is_storable(key: str) -> bool:
    """Whether there can be a row of that key: Postgres refuses statements with a NUL in a text."""
    return "\0" not in key


def _is_live(record: Record) -> bool:
    return record["expires_at"] is None or record["expires_at"] > time.time()


def _expires_at(collection: Collection, changed_at: float) -> float | None:
    return None if collection.lifetime is None else changed_at + collection.lifetime


def _new_version() -> int:
    """No number that the row had before, also where it was deleted and added again."""
    return secrets.randbits(62)


def _encode(value: Any) -> str:
    return encode(value).decode("ascii")


def _changed(present: Record | None, change: Callable[[Any], Any]) -> str | None:
    """What `change` makes of the row's value, as JSON; None where the row stays as it is."""
    value = change(json.loads(present["value"]) if present and _is_live(present) else None)
    return None if isinstance(value, Unchanged) else _encode(value)


def _insertions(name: str, owner: str, value: Any) -> list[Statement]:
    """For the rows of an entry that have not expired. Raises `UnreadableEntry`."""
    now = time.time()
    return [
        _insertion(row.collection, owner, row.key, _encode(row.value), now=row.stored_at, parent=row.parent)
        for row in legacy_rows(name, owner, value)
        if row.collection.lifetime is None or row.stored_at + row.collection.lifetime > now
    ]


def _insertion(
    collection: Collection, owner: str, key: str, text: str, *, now: float, parent: str | None = None, version: int = 0
) -> Statement:
    """`text`: the value as JSON. `version`: 0 is a new one."""
    expires_at = _expires_at(collection, now)
    content = (parent, text, len(text), version or _new_version(), now, now, expires_at)
    return INSERT, *_place(collection, owner), key, *content, *_erasure_condition(owner), time.time()


def _erasure_condition(owner: str) -> tuple[str, float]:
    """The values of `NOT_ERASED`, for the request that this is a part of."""
    began = request_began.get()
    return digest(owner), NO_REQUEST if began is None else began


async def _rows(records: Sequence[Record]) -> list[Row]:
    return await off_loop(sum(record["size"] for record in records), lambda: [_row(record) for record in records])


def _row(record: Record) -> Row:
    return Row(
        key=record["key"],
        value=json.loads(record["value"]),
        created_at=record["created_at"],
        expires_at=record["expires_at"],
        size=record["size"],
        version=record["version"],
    )
