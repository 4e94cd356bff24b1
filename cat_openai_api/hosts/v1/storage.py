"""Storage of Cat 1.9: an SQLite file in the Cat's data folder, and what earlier versions stored in the Cat's cache."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...domain.model_ids import CAT_MODEL
from ..detect import IS_CAT_1
from ..shared.legacy import CONVERSATION_PREFIX, RESPONSES_PREFIX, LegacyEntries
from ..shared.sql import Database, Record
from .state import delete_from_cache, is_in_cache, load_from_cache

if IS_CAT_1 or TYPE_CHECKING:
    from cat.env import get_env
    from cat.looking_glass.cheshire_cat import CheshireCat

FILE_NAME = "openai_api.db"


class SqliteFile(Database):
    """A file that is used in one thread, which ends with `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="openai-api-storage")
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False

    @property
    def position(self) -> str:
        return "instr"

    @property
    def is_shared(self) -> bool:
        return False

    async def execute(self, statement: str, *values: Any) -> Sequence[Record]:
        if self._is_closed:
            return await asyncio.to_thread(self._execute_once, statement, values)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._execute, statement, values)

    async def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
            self._thread.shutdown(wait=False)

    def _execute(self, statement: str, values: Sequence[Any]) -> list[Record]:
        if self._connection is None:
            self._connection = self._connect()
        return _execute(self._connection, statement, values)

    def _execute_once(self, statement: str, values: Sequence[Any]) -> list[Record]:
        with closing(self._connect()) as connection:
            return _execute(connection, statement, values)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        # What was committed outlives a crash of the Cat. That of the machine may undo the last seconds.
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()


def storage_path() -> Path:
    """Beside the Cat's own file of settings, in the folder that Docker installations keep as a volume."""
    return Path(get_env("CCAT_METADATA_FILE")).with_name(FILE_NAME)


def _execute(connection: sqlite3.Connection, statement: str, values: Sequence[Any]) -> list[Record]:
    return [dict(row) for row in connection.execute(statement, values)]


class LegacyCache(LegacyEntries):
    """The entries of the Cat's cache, which cannot list them: each person's are looked up when the person returns."""

    async def list_owners(self) -> list[str]:
        return []

    async def names(self, owner: str) -> list[str]:
        names = (f"{RESPONSES_PREFIX}{owner}", f"{CONVERSATION_PREFIX}{CAT_MODEL}_{owner}")
        return [name for name in names if is_in_cache(CheshireCat().cache, name)]

    @asynccontextmanager
    async def take(self, name: str) -> AsyncGenerator[Any, None]:
        cache = CheshireCat().cache
        yield load_from_cache(cache, name)
        delete_from_cache(cache, name)
