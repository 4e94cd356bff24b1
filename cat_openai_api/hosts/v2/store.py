"""The database of Cat 2: a table of the plugin's own in it, and what earlier versions stored among the Cat's."""

import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..detect import IS_CAT_2
from ..shared.legacy import CONVERSATION_PREFIX, LOCK_SUFFIX, PREFIX, RESPONSES_PREFIX, STATE_PREFIX, LegacyEntries
from ..shared.sql import Database, Record

if IS_CAT_2 or TYPE_CHECKING:
    from cat.db import KeyValueDB
    from cat.db.models import UserKeyValueDB
    from piccolo.querystring import QueryString

LEGACY_NAME = re.compile(
    f"(?:{RESPONSES_PREFIX}|{CONVERSATION_PREFIX}.+_|{STATE_PREFIX})"
    rf"(?P<owner>[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})(?:{LOCK_SUFFIX})?"
)
"""`owner`: the key of a person, which is a UUID on this Cat."""


class CatDatabase(Database):
    """The Cat's SQLite file or Postgres, through the Cat's own engine.

    The table is no Piccolo `Table`. Piccolo registers those for as long as the process runs, and so it would hold the
    modules of a plugin that was switched off.
    """

    @property
    def engine(self) -> Any:
        return KeyValueDB._meta.db

    @property
    def position(self) -> str:
        return "instr" if self.engine.engine_type == "sqlite" else "strpos"

    @property
    def is_shared(self) -> bool:
        return bool(self.engine.engine_type != "sqlite")

    async def execute(self, statement: str, *values: Any) -> Sequence[Record]:
        return await self.engine.run_querystring(QueryString(statement.replace("?", "{}"), *values))


async def delete_memories(user: Any) -> int:
    """Delete what plugins have stored for the user with `User.save`. Returns how many values. Raises what the database
    raises."""
    key = UserKeyValueDB.key
    return len(await UserKeyValueDB.delete().where(UserKeyValueDB.user_id == user.id).returning(key))


class LegacyKeyValues(LegacyEntries):
    """The entries of the Cat's key-value table. They are listed once, and whenever `list_owners` is called."""

    def __init__(self, database: CatDatabase) -> None:
        self._database = database
        self._names: dict[str, list[str]] | None = None

    async def list_owners(self) -> list[str]:
        return [*await self._list()]

    async def names(self, owner: str) -> list[str]:
        listed = await self._list() if self._names is None else self._names
        return [*listed.get(owner, ())]

    @asynccontextmanager
    async def take(self, name: str) -> AsyncGenerator[Any, None]:
        async with self._database.engine.transaction():
            deleted = await self._database.execute(f"DELETE FROM {self._table} WHERE key = ? RETURNING value", name)
            yield deleted[0]["value"] if deleted else None
        self._remove(name)

    async def _list(self) -> dict[str, list[str]]:
        statement = f"SELECT key FROM {self._table} WHERE substr(key, 1, {len(PREFIX)}) = ?"
        names: defaultdict[str, list[str]] = defaultdict(list)
        for record in await self._database.execute(statement, PREFIX):
            if found := LEGACY_NAME.fullmatch(record["key"]):
                names[found["owner"]].append(record["key"])
        self._names = {**names}
        return self._names

    def _remove(self, name: str) -> None:
        found = LEGACY_NAME.fullmatch(name)
        if found and self._names:
            names = self._names.get(found["owner"], [])
            if name in names:
                names.remove(name)

    @property
    def _table(self) -> str:
        return KeyValueDB._meta.tablename
