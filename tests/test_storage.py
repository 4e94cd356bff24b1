"""What the plugin stores: rows that several Cats may change at once, that expire, and that outlive a restart; and what
earlier versions stored in other forms is found again."""

import asyncio
import json
import multiprocessing
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4, uuid5

import httpx
import pytest
from asking import body, said_to, user
from bridge.cat_openai_api.domain.usage import UsageCounts, UsageLabels
from bridge.cat_openai_api.errors import StorageFailed
from bridge.cat_openai_api.hosts.collections import CONVERSATIONS, RESPONSES, STATES
from bridge.cat_openai_api.hosts.shared.legacy import LegacyEntries
from bridge.cat_openai_api.hosts.shared.sql import Database, SqlStorage
from bridge.cat_openai_api.hosts.shared.sql_usage import SqlUsageTable
from bridge.cat_openai_api.hosts.storage import Collection, request_began
from bridge.cat_openai_api.hosts.usage_table import DAY, HOUR, LIFETIMES, MINUTE, UsageQuery
from bridge.cat_openai_api.hosts.v1.storage import SqliteFile
from bridge.cat_openai_api.hosts.v2 import store
from bridge.cat_openai_api.wire.off_loop import LARGE, off_loop
from host import WHICH, Cat, make_cat, plugin_zip
from servers import Postgres, needs_postgres
from upstream import Upstream, text_of

THINGS = Collection("things")
BRIEF = Collection("brief", lifetime=-1)
"""Its rows have expired when they are stored."""
FEW = Collection("few", max_rows=3)
LIGHT = Collection("light", max_bytes=300)

SECONDS_TO_FAIL = 2


class NoEntries(LegacyEntries):
    """Of a Cat that has nothing of earlier versions."""

    async def list_owners(self) -> list[str]:
        return []

    async def names(self, owner: str) -> list[str]:
        return []

    @asynccontextmanager
    async def take(self, name: str) -> AsyncGenerator[Any, None]:
        yield None


class Backend:
    """One of the databases that rows are stored in. `lines`: what the storages log."""

    def __init__(self, make_database: Callable[[], Database]) -> None:
        self._make_database = make_database
        self.lines: list[str] = []

    def storage(self, legacy: LegacyEntries | None = None) -> SqlStorage:
        """Another Cat's."""
        return SqlStorage(self._make_database(), legacy or NoEntries(), self.lines.append)

    def run(self, work: Callable[[SqlStorage], Coroutine[Any, Any, Any]], legacy: LegacyEntries | None = None) -> Any:
        """What comes of work with a storage."""

        async def with_storage() -> Any:
            storage = self.storage(legacy)
            try:
                return await work(storage)
            finally:
                await storage.close()

        return asyncio.run(with_storage())

    def execute(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        async def execute() -> list[dict[str, Any]]:
            database = self._make_database()
            try:
                return [dict(row) for row in await database.execute(statement, *values)]
            finally:
                await database.close()

        return asyncio.run(execute())


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.remove()


def use_engine(monkeypatch: pytest.MonkeyPatch, engine: Any) -> None:
    """In the place of the Cat's own."""
    table = SimpleNamespace(_meta=SimpleNamespace(db=engine, tablename="key_value_db"))
    monkeypatch.setattr(store, "KeyValueDB", table)


needs_piccolo = pytest.mark.skipif(not store.IS_CAT_2, reason="Cheshire Cat 2 is not installed")

KINDS = [
    "file",
    pytest.param("sqlite", marks=needs_piccolo),
    pytest.param("postgres", marks=[needs_piccolo, needs_postgres]),
]
"""Cat 1.9's file, and the two databases that Cat 2 may have."""


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    if request.param == "file":
        return Backend(lambda: SqliteFile(tmp_path / "rows.db"))
    if request.param == "sqlite":
        from piccolo.engine.sqlite import SQLiteEngine  # noqa: PLC0415  # it comes with Cat 2

        # The engine waits no more than a moment for others, so that what is tried again is seen.
        use_engine(monkeypatch, SQLiteEngine(path=str(tmp_path / "rows.db"), timeout=0.01))
    else:
        from piccolo.engine.postgres import PostgresEngine  # noqa: PLC0415

        server = request.getfixturevalue("postgres")
        use_engine(monkeypatch, PostgresEngine(config={"dsn": server.url}))
    backend = Backend(store.CatDatabase)
    if request.param == "postgres":
        backend.execute("DROP TABLE IF EXISTS openai_api_rows")
        backend.execute("DROP TABLE IF EXISTS openai_api_usage")
        backend.execute("DROP TABLE IF EXISTS key_value_db")
    return backend


def test_a_row_is_there_until_it_is_deleted(backend: Backend) -> None:
    value = {"text": "Ünïcödé \N{GRINNING FACE} \0 {} ? '", "numbers": [1, 2.5, None, True]}

    async def work(storage: SqlStorage) -> None:
        assert await storage.load(THINGS, "alice", "a") is None
        assert await storage.insert(THINGS, "alice", "a", value)
        assert not await storage.insert(THINGS, "alice", "a", "another")
        row = await storage.load(THINGS, "alice", "a")
        assert row is not None
        assert (row.key, row.value, row.expires_at) == ("a", value, None)
        assert abs(row.created_at - time.time()) < 5
        assert row.size == len(json.dumps(value, separators=(",", ":")))
        for other in ((THINGS, "bob", "a"), (FEW, "alice", "a"), (THINGS, "alice", "b"), (THINGS, "alice", "a\0")):
            assert await storage.load(*other) is None
            assert not await storage.delete(*other)
        assert await storage.delete(THINGS, "alice", "a")
        assert not await storage.delete(THINGS, "alice", "a")
        assert await storage.load(THINGS, "alice", "a") is None

    backend.run(work)
    assert backend.lines == []


def test_rows_outlive_the_process_that_stored_them(backend: Backend) -> None:
    backend.run(lambda storage: storage.insert(THINGS, "alice", "a", 1))
    row = backend.run(lambda storage: storage.load(THINGS, "alice", "a"))
    assert row.value == 1


def test_a_row_that_has_expired_is_not_there(backend: Backend) -> None:
    async def work(storage: SqlStorage) -> None:
        for _ in range(2):
            assert await storage.insert(BRIEF, "alice", "a", {"id": "x"}, parent=None)
            assert await storage.load(BRIEF, "alice", "a") is None
            assert await storage.load_many(BRIEF, "alice", ["a"]) == {}
            assert await storage.load_chain(BRIEF, "alice", "a") == []
            assert await storage.search(BRIEF, "alice", '"id":"x"') == []
            assert await storage.keys(BRIEF, "alice") == []
            assert not await storage.delete(BRIEF, "alice", "a")
        seen = []
        await storage.update(BRIEF, "alice", "a", lambda before: seen.append(before) or 1)
        assert seen == [None]

    backend.run(work)
    assert backend.lines == []


def test_expired_rows_are_swept_and_no_others(backend: Backend) -> None:
    async def work(storage: SqlStorage) -> None:
        await storage.insert(BRIEF, "nobody who returns", "a", 1)
        await storage.insert(THINGS, "alice", "a", 1)
        await storage.insert(STATES, "alice", "a", 1)
        await storage.sweep()

    backend.run(work)
    left = backend.execute("SELECT collection FROM openai_api_rows ORDER BY collection")
    assert [row["collection"] for row in left] == ["states", "things"]


def test_a_chain_goes_back_as_far_as_its_rows_are_there(backend: Backend) -> None:
    async def work(storage: SqlStorage) -> None:
        async def chain(key: str, owner: str = "alice") -> list[str]:
            return [row.key for row in await storage.load_chain(THINGS, owner, key)]

        for key, parent in (("a", None), ("b", "a"), ("c", "b"), ("left", "c"), ("right", "c"), ("d", "gone")):
            await storage.insert(THINGS, "alice", key, key, parent=parent)
        await storage.insert(THINGS, "bob", "a", "bob's")
        await storage.insert(THINGS, "bob", "b", "bob's", parent="a")
        assert await chain("left") == ["a", "b", "c", "left"]
        assert await chain("right") == ["a", "b", "c", "right"]
        assert [row.value for row in await storage.load_chain(THINGS, "bob", "b")] == ["bob's", "bob's"]
        assert await chain("d") == ["d"]
        assert await chain("gone") == await chain("c", "bob") == []
        await storage.delete(THINGS, "alice", "b")
        assert await chain("left") == ["c", "left"]

    backend.run(work)


def test_rows_are_found_by_a_part_of_their_values(backend: Backend) -> None:
    async def work(storage: SqlStorage) -> None:
        for number in range(4):
            await storage.insert(THINGS, "alice", str(number), [{"id": f"msg_{number % 2}"}, "%", '"id":"msg_7"'])
        await storage.insert(THINGS, "bob", "9", [{"id": "msg_1"}])
        assert [row.key for row in await storage.search(THINGS, "alice", '"id":"msg_1"')] == ["1", "3"]
        assert await storage.search(THINGS, "alice", '"id":"msg_%"') == []
        # In a text it is no id.
        assert await storage.search(THINGS, "alice", '"id":"msg_7"') == []

    backend.run(work)


def test_some_of_the_rows(backend: Backend) -> None:
    async def work(storage: SqlStorage) -> None:
        for key in ("a", "b", "c"):
            await storage.insert(THINGS, "alice", key, key * 2)
        assert sorted(await storage.keys(THINGS, "alice")) == ["a", "b", "c"]
        rows = await storage.load_many(THINGS, "alice", ["c", "a", "x"])
        assert {key: row.value for key, row in rows.items()} == {"a": "aa", "c": "cc"}
        assert await storage.load_many(THINGS, "alice", []) == {}

    backend.run(work)


def test_all_rows_of_one_person_can_be_deleted(backend: Backend) -> None:
    async def work(storage: SqlStorage) -> None:
        for collection in (THINGS, FEW):
            for owner in ("alice", "bob"):
                await storage.insert(collection, owner, "a", 1)
        assert await storage.delete_all("alice") == {"things": 1, "few": 1}
        assert await storage.delete_all("alice") == await storage.delete_all("nobody") == {}
        assert await storage.keys(THINGS, "alice") == await storage.keys(FEW, "alice") == []
        assert await storage.keys(THINGS, "bob") == await storage.keys(FEW, "bob") == ["a"]

    backend.run(work)


def test_a_request_from_before_the_erasure_adds_and_changes_nothing(backend: Backend) -> None:
    """Also on another Cat. Requests that begin later, and what is no request, are not affected."""

    async def work(storage: SqlStorage) -> None:
        other = backend.storage()
        request_began.set(time.time())
        await storage.insert(THINGS, "alice", "a", 1)
        await storage.delete_all("alice")
        for cat in (storage, other):
            assert not await cat.insert(THINGS, "alice", "b", 1)
            await cat.update(THINGS, "alice", "b", lambda _: 1)
            assert await cat.keys(THINGS, "alice") == []
            assert await cat.insert(THINGS, "bob", f"{id(cat)}", 1)
        request_began.set(time.time() + 0.01)
        assert await other.insert(THINGS, "alice", "b", 1)
        request_began.set(time.time() - 60)
        await storage.update(THINGS, "alice", "b", lambda _: 2)
        row = await storage.load(THINGS, "alice", "b")
        assert row is not None
        assert row.value == 1
        assert await storage.erased({"alice": time.time() - 60, "bob": 0.0}) == {"alice"}
        assert await storage.erased({"alice": time.time() + 60}) == set()
        request_began.set(None)
        assert await storage.insert(THINGS, "alice", "c", 1)
        await other.close()

    backend.run(work)
    assert backend.lines == []


OF_ALICE = UsageLabels("completions", "key_1", "alice's key", "Alice", "cheshire-cat")
OF_BOB = UsageLabels("completions", "", "bob's key", "Bob\0", "cheshire-cat")
EMBEDDED = UsageLabels("embeddings", "", "bob's key", "Bob", "cheshire-cat-embedder")
ONCE = UsageCounts(1, 10, 5, 4, 2)
NOW = 1_700_000_000 // DAY * DAY + 12 * HOUR


class TestUsage:
    @staticmethod
    def run(backend: Backend, work: Callable[[SqlUsageTable, SqlUsageTable], Coroutine[Any, Any, None]]) -> None:
        """With the tables of two Cats."""

        async def with_tables() -> None:
            databases = [backend._make_database() for _ in range(2)]
            await work(*(SqlUsageTable(database, backend.lines.append) for database in databases))
            for database in databases:
                await database.close()

        asyncio.run(with_tables())
        assert backend.lines == []

    @staticmethod
    async def sums(table: SqlUsageTable, width: int = DAY, **query: Any) -> dict[Any, UsageCounts]:
        """By start and labels."""
        kind, start, end = query.pop("kind", "completions"), query.pop("start", 0), query.pop("end", NOW + DAY)
        found = await table.sums(UsageQuery(kind, width, start, end, **query))
        return {(each.start, *each.labels.values()): each.counts for each in found}

    def test_what_cats_add_is_summed_up(self, backend: Backend) -> None:
        async def work(one: SqlUsageTable, other: SqlUsageTable) -> None:
            await one.add("one", 1, {(NOW, OF_ALICE): ONCE, (NOW + 60, OF_ALICE): ONCE, (NOW + HOUR, OF_BOB): ONCE})
            await other.add("other", 1, {(NOW, OF_ALICE): ONCE, (NOW, EMBEDDED): ONCE})
            await other.add("other", 2, {(NOW, OF_ALICE): ONCE})
            day = NOW - NOW % DAY
            assert await self.sums(one) == {(day,): UsageCounts(5, 50, 25, 20, 10)}
            assert await self.sums(one, kind="embeddings") == {(day,): ONCE}
            by_hour = await self.sums(other, HOUR, group_by=["name", "key_id"])
            assert by_hour == {(NOW, "Alice", "key_1"): UsageCounts(4, 40, 20, 16, 8), (NOW + HOUR, "Bob�", ""): ONCE}
            by_minute = await self.sums(other, MINUTE, end=NOW + HOUR)
            assert by_minute == {(NOW,): UsageCounts(3, 30, 15, 12, 6), (NOW + 60,): ONCE}
            assert await self.sums(one, names=["Alice"], models=["cheshire-cat"], key_ids=["key_1", "key_2"])
            assert await self.sums(one, names=["Alice"], key_ids=["key_2"]) == {}
            assert await self.sums(one, end=day) == await self.sums(one, start=NOW + DAY, end=NOW + 2 * DAY) == {}

        self.run(backend, work)

    def test_a_batch_that_is_added_twice_counts_once(self, backend: Backend) -> None:
        async def work(one: SqlUsageTable, other: SqlUsageTable) -> None:
            many = {(NOW, replace(OF_ALICE, key_id=f"key_{number}")): ONCE for number in range(450)}
            for _ in range(2):
                await one.add("one", 1, many)
                await other.add("other", 1, {(NOW, OF_ALICE): ONCE})
            assert [counts.requests for counts in (await self.sums(one)).values()] == [451]

        self.run(backend, work)

    def test_who_is_forgotten_is_in_no_sum_and_the_sums_stay(self, backend: Backend) -> None:
        async def work(one: SqlUsageTable, other: SqlUsageTable) -> None:
            namesake = replace(OF_ALICE, person="another alice's key")
            await one.add("one", 1, {(NOW, OF_ALICE): ONCE, (NOW, OF_BOB): ONCE, (NOW, namesake): ONCE})
            before = await self.sums(one)
            assert await other.forget(["alice's key", "nobody's"], None) == 2
            names = await self.sums(one, group_by=["name"])
            assert {name: counts.requests for (_, name), counts in names.items()} == {"": 1, "Alice": 1, "Bob�": 1}
            assert await other.forget([], "Alice") == 2
            assert await other.forget(["alice's key"], "Alice") == await other.forget([], None) == 0
            assert {name for _, name in await self.sums(one, group_by=["name"])} == {"", "Bob�"}
            assert await self.sums(one) == before
            await one.add("one", 2, {(NOW, OF_ALICE): ONCE})
            assert (await self.sums(one, names=["Alice"])).popitem()[1] == ONCE

        self.run(backend, work)

    def test_what_is_old_is_swept(self, backend: Backend) -> None:
        async def work(one: SqlUsageTable, other: SqlUsageTable) -> None:
            now = int(time.time())
            now -= now % HOUR
            times = [now, now - LIFETIMES[MINUTE] - 60, now - LIFETIMES[HOUR] - HOUR]
            await one.add("one", 1, {(moment, OF_ALICE): ONCE for moment in times})
            await other.sweep()
            left = {start for (start,) in await self.sums(one, HOUR, end=now + DAY)}
            assert left == {now, times[1] - times[1] % HOUR}
            assert {start for (start,) in await self.sums(one, MINUTE, end=now + DAY)} == {now}

        self.run(backend, work)


class TestBounds:
    def test_of_the_number_of_rows_the_oldest_go_first(self, backend: Backend) -> None:
        async def work(storage: SqlStorage) -> list[str]:
            for key in "abcde":
                await storage.insert(FEW, "alice", key, key)
                await storage.insert(FEW, "bob", key * 2, key)
            await storage.update(FEW, "alice", "c", str.upper)
            await storage.insert(FEW, "alice", "f", "f")
            return sorted(await storage.keys(FEW, "alice"))

        assert backend.run(work) == ["c", "e", "f"]

    def test_of_the_size_the_oldest_go_first(self, backend: Backend) -> None:
        async def work(storage: SqlStorage) -> list[str]:
            for key in "abcde":
                await storage.insert(LIGHT, "alice", key, "x" * 98)
            return sorted(await storage.keys(LIGHT, "alice"))

        assert backend.run(work) == ["c", "d", "e"]

    def test_the_newest_is_never_deleted(self, backend: Backend) -> None:
        async def work(storage: SqlStorage) -> list[str]:
            await storage.insert(LIGHT, "alice", "a", "x" * 100)
            await storage.insert(LIGHT, "alice", "b", "x" * 10_000)
            return await storage.keys(LIGHT, "alice")

        assert backend.run(work) == ["b"]


WRITERS = 4
CHANGES = 25


async def count_up(storage: SqlStorage) -> None:
    for _ in range(CHANGES):
        await storage.update(THINGS, "alice", "count", lambda before: (before or 0) + 1)


def count(backend: Backend) -> int:
    row = backend.run(lambda storage: storage.load(THINGS, "alice", "count"))
    assert backend.lines == []
    return int(row.value)


def test_nothing_is_lost_of_changes_at_the_same_time(backend: Backend) -> None:
    async def work(storage: SqlStorage) -> None:
        others = [backend.storage() for _ in range(WRITERS - 1)]
        await asyncio.gather(*map(count_up, [storage, *others]))
        for other in others:
            await other.close()

    backend.run(work)
    assert count(backend) == WRITERS * CHANGES


def test_nothing_is_lost_of_changes_by_several_processes(backend: Backend) -> None:
    """They create the table at the same moment, too."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(WRITERS)

    def write() -> None:
        start.wait()
        backend.run(count_up)
        assert backend.lines == []

    processes = [context.Process(target=write) for _ in range(WRITERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert count(backend) == WRITERS * CHANGES


def test_a_row_that_was_added_anew_is_another_one(backend: Backend) -> None:
    """A change of the deleted row would undo what was added."""

    async def work(storage: SqlStorage) -> Any:
        await storage.insert(THINGS, "alice", "a", ["first"])
        loop = asyncio.get_running_loop()
        other = backend.storage()
        calls = 0

        async def replace_row() -> None:
            await other.delete(THINGS, "alice", "a")
            await other.insert(THINGS, "alice", "a", ["second"])

        def change(before: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                asyncio.run_coroutine_threadsafe(replace_row(), loop).result(10)
            return [*before, "changed"]

        await storage.update(THINGS, "alice", "a", change)
        await other.close()
        row = await storage.load(THINGS, "alice", "a")
        return row and row.value

    assert backend.run(work) == ["second", "changed"]


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Somebody else writes to the file for a while."""
    with closing(sqlite3.connect(path, check_same_thread=False, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        timer = threading.Timer(seconds, lambda: other.execute("COMMIT"))
        timer.start()
        try:
            yield
        finally:
            timer.join()


@pytest.mark.parametrize("backend", KINDS[:2], indirect=True)
def test_a_file_that_others_write_to_is_waited_for(backend: Backend, tmp_path: Path) -> None:
    backend.run(lambda storage: storage.insert(THINGS, "alice", "a", 1))
    with locked(tmp_path / "rows.db", seconds=1.5):
        assert backend.run(lambda storage: storage.insert(THINGS, "alice", "b", 2))
    assert backend.run(lambda storage: storage.load(THINGS, "alice", "b")).value == 2
    assert backend.lines == []


@pytest.mark.parametrize("backend", KINDS[:2], indirect=True)
def test_a_file_that_takes_nothing_is_reported_soon(backend: Backend) -> None:
    backend.run(lambda storage: storage.insert(THINGS, "alice", "a", 1))
    backend.execute(
        "CREATE TRIGGER full BEFORE INSERT ON openai_api_rows BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
    )
    began = time.monotonic()
    with pytest.raises(StorageFailed):
        backend.run(lambda storage: storage.insert(THINGS, "alice", "b", 1))
    assert time.monotonic() - began < SECONDS_TO_FAIL
    assert backend.lines == ["OpenAI API: the Cat's storage failed: IntegrityError"]
    assert backend.run(lambda storage: storage.load(THINGS, "alice", "a")).value == 1


def test_a_file_that_cannot_be_opened_is_reported_soon(tmp_path: Path) -> None:
    backend = Backend(lambda: SqliteFile(tmp_path / "no such folder" / "rows.db"))
    began = time.monotonic()
    for work in (
        lambda storage: storage.load(THINGS, "alice", "a"),
        lambda storage: storage.update(THINGS, "alice", "a", lambda _: 1),
        lambda storage: storage.sweep(),
    ):
        with pytest.raises(StorageFailed):
            backend.run(work)
    assert time.monotonic() - began < 3 * SECONDS_TO_FAIL
    assert backend.lines == ["OpenAI API: the Cat's storage failed: OperationalError"] * 3


def test_the_file_has_one_thread_which_ends_when_it_is_closed(tmp_path: Path, until: Callable[..., None]) -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("openai-api-storage")]

    async def work() -> None:
        storage = SqlStorage(SqliteFile(tmp_path / "rows.db"), NoEntries(), lambda _: None)
        await asyncio.gather(*(storage.insert(THINGS, "alice", str(number), number) for number in range(20)))
        assert len(threads()) == 1
        await storage.close()
        await storage.close()
        until(lambda: not threads(), "the thread has ended")
        # A request that was under way stores its reply.
        assert await storage.insert(THINGS, "alice", "late", 1)
        assert not threads()

    asyncio.run(work())


def test_large_work_is_done_outside_of_the_event_loop() -> None:
    async def thread(size: int) -> int:
        return await off_loop(size, threading.get_ident)

    assert asyncio.run(thread(LARGE - 1)) == threading.get_ident()
    assert asyncio.run(thread(LARGE)) != threading.get_ident()


# What earlier versions stored

DAY = 24 * 60 * 60

ALICE = "0c3c4c1e-8a8f-4f6b-9d53-6a2f6f0f7b11"
BOB = "4f1de3a0-1111-4222-8333-123456789abc"


def turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [text], "calls": [], "call_id": ""}


def stored_response(name: str, previous: str | None = None, age: float = 0) -> dict[str, Any]:
    response = {"id": name, "object": "response", "previous_response_id": previous, "output": []}
    return {"response": response, "input": [], "at": time.time() - age, "size": 100}


def entries_of(owner: str) -> dict[str, Any]:
    """As the versions before rows stored them."""
    responses = [
        stored_response("resp_old", age=31 * DAY),
        stored_response("resp_1"),
        stored_response("resp_2", "resp_1"),
    ]
    state = {"reply": "Tea time.", "called": [], "state": [{"role": "tool"}]}
    return {
        f"openai_api_responses_{owner}": {each["response"]["id"]: each for each in responses},
        f"openai_api_conversation_cheshire-cat_{owner}": [turn("user", "Hi"), turn("assistant", "Hello.")],
        f"openai_api_conversation_cheshire-cat:my_agent_{owner}": [turn("user", "One")],
        f"openai_api_state_{owner}": {
            "digest": {"at": time.time(), "replies": [state]},
            "old": {"at": time.time() - 2 * DAY, "replies": [state]},
        },
        f"openai_api_responses_{owner}_lock": time.time(),
    }


def fill(backend: Backend, entries: dict[str, Any]) -> None:
    for name, value in entries.items():
        text = value if isinstance(value, str) else json.dumps(value)
        backend.execute("INSERT INTO key_value_db (key, value) VALUES (?, ?)", name, text)


def left_over(backend: Backend) -> list[str]:
    return sorted(row["key"] for row in backend.execute("SELECT key FROM key_value_db"))


@pytest.mark.parametrize("backend", KINDS[1:], indirect=True)
class TestEntriesOfTheCatsDatabase:
    @pytest.fixture(autouse=True)
    def _table(self, backend: Backend) -> None:
        backend.execute("CREATE TABLE key_value_db (key VARCHAR(1024) PRIMARY KEY, value JSON)")
        fill(backend, {"cat_openai_api__config__openai_api": {"history": "cat"}, "openai_api_of_somebody": 1})

    OTHERS = ("cat_openai_api__config__openai_api", "openai_api_of_somebody")

    @staticmethod
    async def check(storage: SqlStorage, owner: str) -> None:
        """All is there in rows."""
        chain = await storage.load_chain(RESPONSES, owner, "resp_2")
        assert [row.value["response"]["id"] for row in chain] == ["resp_1", "resp_2"]
        assert all(29 * DAY < (row.expires_at or 0) - time.time() < 31 * DAY for row in chain)
        assert await storage.load(RESPONSES, owner, "resp_old") is None
        rows = await storage.load_many(CONVERSATIONS, owner, ["cheshire-cat", "cheshire-cat:my_agent"])
        assert rows["cheshire-cat"].value == [turn("user", "Hi"), turn("assistant", "Hello.")]
        assert rows["cheshire-cat:my_agent"].value == [turn("user", "One")]
        assert await storage.keys(STATES, owner) == ["digest"]
        (state,) = (await storage.load_many(STATES, owner, ["digest"]))["digest"].value
        assert state["reply"] == "Tea time."

    def test_are_moved_when_their_person_comes(self, backend: Backend) -> None:
        fill(backend, {**entries_of(ALICE), **entries_of(BOB)})
        backend.run(lambda storage: self.check(storage, ALICE), store.LegacyKeyValues(store.CatDatabase()))
        assert left_over(backend) == sorted([*self.OTHERS, *entries_of(BOB)])
        assert backend.lines == []

    def test_are_moved_by_the_sweep(self, backend: Backend) -> None:
        fill(backend, {**entries_of(ALICE), **entries_of(BOB)})
        backend.run(lambda storage: storage.sweep(), store.LegacyKeyValues(store.CatDatabase()))
        assert left_over(backend) == sorted(self.OTHERS)
        for owner in (ALICE, BOB):
            backend.run(lambda storage, owner=owner: self.check(storage, owner))
        assert backend.lines == []

    def test_are_moved_once_by_several_cats(self, backend: Backend) -> None:
        """What one has changed since it moved them stays changed."""
        fill(backend, entries_of(ALICE))

        async def change(storage: SqlStorage, number: int) -> None:
            await storage.update(CONVERSATIONS, ALICE, "cheshire-cat", lambda before: [*before, str(number)])
            await storage.delete(RESPONSES, ALICE, "resp_1")

        async def work(storage: SqlStorage) -> None:
            legacy = [store.LegacyKeyValues(store.CatDatabase()) for _ in range(3)]
            cats = [storage, *map(backend.storage, legacy)]
            await asyncio.gather(*(change(cat, number) for number, cat in enumerate(cats)))
            row = await storage.load(CONVERSATIONS, ALICE, "cheshire-cat")
            assert row is not None
            assert row.value[:2] == entries_of(ALICE)[f"openai_api_conversation_cheshire-cat_{ALICE}"]
            assert sorted(row.value[2:]) == ["0", "1", "2", "3"]
            assert await storage.load(RESPONSES, ALICE, "resp_1") is None
            assert await storage.load(RESPONSES, ALICE, "resp_2") is not None

        backend.run(work, store.LegacyKeyValues(store.CatDatabase()))
        assert left_over(backend) == sorted(self.OTHERS)
        assert backend.lines == []

    def test_that_cannot_be_read_stay_and_hinder_nobody(self, backend: Backend) -> None:
        name = f"openai_api_responses_{ALICE}"
        fill(backend, {name: {"resp_1": 7}})

        async def work(storage: SqlStorage) -> None:
            for _ in range(2):
                assert await storage.load(RESPONSES, ALICE, "resp_1") is None
            assert await storage.insert(RESPONSES, ALICE, "resp_2", 1)

        backend.run(work, store.LegacyKeyValues(store.CatDatabase()))
        assert left_over(backend) == sorted([*self.OTHERS, name])
        (line,) = backend.lines
        assert name in line


# Through the API

CHAT = "/v1/chat/completions"
RESPONSES_ROUTE = "/v1/responses"
END_USERS = UUID("6b1c7d0e-52f5-5c0a-9d52-3a4f0c1d8e77")
"""Cat 2's namespace of end users."""


@pytest.fixture(scope="module")
def own_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """A Cat that can be stopped."""
    cat = make_cat(tmp_path_factory.mktemp("storage") / "home").start()
    cat.use_llm(upstream.base_url)
    yield cat
    cat.stop()


@pytest.fixture
def cat(own_cat: Cat) -> Cat:
    own_cat.put_settings({"rate_limit_per_minute": 0}).raise_for_status()
    return own_cat


@contextmanager
def database_of(cat: Cat) -> Iterator[sqlite3.Connection]:
    """The file in which the Cat has the rows."""
    (path,) = cat.home.rglob("*.db")
    with closing(sqlite3.connect(path, timeout=30)) as database, database:
        yield database


def person_key(name: str) -> str:
    """Of an end user."""
    return str(uuid5(END_USERS, name)) if WHICH == "2" else name


def restart_with(cat: Cat, entries: dict[str, Any]) -> None:
    """Put what earlier versions stored where they stored it. The cache of Cat 1.9 is in memory, so that is after the
    restart."""
    cat.stop()
    if WHICH == "2":
        with database_of(cat) as database:
            rows = [(name, json.dumps(value)) for name, value in entries.items()]
            database.executemany("INSERT INTO key_value_db (key, value) VALUES (?, ?)", rows)
    cat.restart()
    if WHICH != "2":
        cached = {f"openai_api_{sha256(name.encode()).hexdigest()}": value for name, value in entries.items()}
        cat.http.post("/wonderland/cache", json=cached).raise_for_status()


def test_responses_outlive_a_restart(cat: Cat, http: httpx.Client, upstream: Upstream, tag: str, somebody: str) -> None:
    asked = {"model": "cheshire-cat", "user": somebody}
    question = user("I am Alice.", say="Hello.")["content"]
    made = http.post(RESPONSES_ROUTE, json={**asked, "input": question}).raise_for_status().json()
    to_compact = user("I am a queen.", say="She is a queen.")["content"]
    compacted = http.post(f"{RESPONSES_ROUTE}/compact", json={**asked, "input": to_compact}).raise_for_status().json()
    cat.restart()
    assert http.get(f"{RESPONSES_ROUTE}/{made['id']}", params={"user": somebody}).json() == made
    again = user("Who am I?", tag=tag, say="Alice.")["content"]
    continued = {**asked, "input": again, "previous_response_id": made["id"]}
    http.post(RESPONSES_ROUTE, json=continued).raise_for_status()
    assert said_to(upstream, tag) == [("user", "I am Alice."), ("assistant", "Hello."), ("user", "Who am I?")]

    sealed = [compacted["output"][-1], user("Who am I?", tag=f"{tag}2", say="A queen.")]
    http.post(RESPONSES_ROUTE, json={**asked, "input": sealed}).raise_for_status()
    (record,) = upstream.wait(f"{tag}2")
    assert "She is a queen." in text_of(record["body"]["messages"][0])


def test_what_earlier_versions_stored_is_found_again(
    *, cat: Cat, http: httpx.Client, upstream: Upstream, settings: Callable[..., None], tag: str, somebody: str
) -> None:
    key = person_key(somebody)
    asked = {"model": "cheshire-cat", "user": somebody}
    made = http.post(RESPONSES_ROUTE, json={**asked, "input": "hi", "store": False}).raise_for_status().json()
    made["store"] = True
    item = {
        "id": "msg_1",
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "I am Alice."}],
    }
    stored = {"response": made, "input": [{**item, "status": "completed"}], "at": time.time() - 1000, "size": 1000}
    entries: dict[str, Any] = {
        f"openai_api_responses_{key}": {made["id"]: stored},
        f"openai_api_conversation_cheshire-cat_{key}": [turn("user", "I am Bob."), turn("assistant", "Hello.")],
    }
    restart_with(cat, entries)
    place = f"{RESPONSES_ROUTE}/{made['id']}"
    assert http.get(place, params={"user": somebody}).json() == made
    listed = http.get(f"{place}/input_items", params={"user": somebody}).json()
    assert [each["id"] for each in listed["data"]] == ["msg_1"]
    items = [{"type": "item_reference", "id": "msg_1"}, user("Who am I?", tag=tag, say="Alice.")]
    http.post(RESPONSES_ROUTE, json={**asked, "input": items}).raise_for_status()
    assert said_to(upstream, tag) == [("user", "I am Alice."), ("user", "Who am I?")]
    settings(history="cat")
    http.post(CHAT, json=body(user("Who am I?", tag=f"{tag}2", say="Bob."), user=somebody)).raise_for_status()
    assert said_to(upstream, f"{tag}2") == [("user", "I am Bob."), ("assistant", "Hello."), ("user", "Who am I?")]
    cat.restart()
    assert http.get(place, params={"user": somebody}).json() == made


@pytest.mark.skipif(WHICH != "2", reason="the states of Cheshire Cat 1.9 are in its cache, as before")
def test_states_that_earlier_versions_stored_are_found_again(
    cat: Cat, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    turns = [{"tool_calls": [{"name": "clock", "arguments": {}}]}, {"say": ["Tea time."]}]
    question, model = user("What time is it?", turns=turns), "cheshire-cat:alice"
    http.post(CHAT, json={**body(question, user=somebody), "model": model}).raise_for_status()
    key = person_key(somebody)
    owner = sha256(key.encode()).hexdigest()
    with database_of(cat) as database:
        of_owner = "FROM openai_api_rows WHERE owner = ? AND collection = 'states'"
        ((digest, replies),) = database.execute(f"SELECT key, value {of_owner}", [owner]).fetchall()
        database.execute(f"DELETE {of_owner}", [owner])
    entry = {digest: {"at": time.time(), "replies": json.loads(replies)}}
    restart_with(cat, {f"openai_api_state_{key}": entry, f"openai_api_state_{key}_lock": time.time()})
    messages = [question, {"role": "assistant", "content": "Tea time."}, user("Sure?", tag=tag, say="Yes.")]
    http.post(CHAT, json={**body(*messages, user=somebody), "model": model}).raise_for_status()
    assert [role for role, _ in said_to(upstream, tag)] == ["user", "assistant", "tool", "assistant", "user"]


@pytest.mark.skipif(WHICH != "2", reason="Cheshire Cat 1.9 cannot list its cache")
def test_also_of_people_who_never_return(cat: Cat, until: Callable[..., None]) -> None:
    names = [person_key(f"{uuid4()}") for _ in range(5)]
    conversation = [turn("user", "Hi"), turn("assistant", "Hello.")]
    entries: dict[str, Any] = {f"openai_api_conversation_cheshire-cat_{name}": conversation for name in names}
    locks = {f"openai_api_state_{name}_lock": time.time() for name in names}
    restart_with(cat, {**entries, **locks})

    def keys() -> set[str]:
        with database_of(cat) as database:
            return {key for (key,) in database.execute("SELECT key FROM key_value_db")}

    until(lambda: not keys() & {*entries, *locks}, "the entries are moved")
    with database_of(cat) as database:
        owners = {owner for (owner,) in database.execute("SELECT owner FROM openai_api_rows")}
    assert {sha256(name.encode()).hexdigest() for name in names} <= owners


def test_rows_of_people_who_never_return_are_swept(
    cat: Cat, http: httpx.Client, somebody: str, until: Callable[..., None]
) -> None:
    asked = {"model": "cheshire-cat", "user": somebody, "input": "hi"}
    expired, other = (http.post(RESPONSES_ROUTE, json=asked).raise_for_status().json()["id"] for _ in range(2))
    cat.stop()
    with database_of(cat) as database:
        database.execute("UPDATE openai_api_rows SET expires_at = ? WHERE key = ?", [time.time() - 1, expired])

    def stored() -> set[str]:
        with database_of(cat) as database:
            return {key for (key,) in database.execute("SELECT key FROM openai_api_rows")}

    assert {expired, other} <= stored()
    cat.restart()
    until(lambda: expired not in stored(), "the row is swept")
    assert other in stored()


def test_a_plugin_that_is_uploaded_sweeps_too(upstream: Upstream, tmp_path: Path, until: Callable[..., None]) -> None:
    """Cheshire Cat 1.9 imports it in a worker thread."""
    cat = make_cat(tmp_path / "home", folder=None).start()
    try:
        cat.use_llm(upstream.base_url)
        plugin = cat.install("cat_openai_api.zip", plugin_zip(tmp_path))
        asked = {"model": "cheshire-cat", "input": "hi"}
        expired = cat.http.post("/custom/v1/responses", json=asked).raise_for_status().json()["id"]
        cat.remove(plugin)
        with database_of(cat) as database:
            database.execute("UPDATE openai_api_rows SET expires_at = ?", [time.time() - 1])
        cat.install("cat_openai_api.zip", plugin_zip(tmp_path))

        def stored() -> set[str]:
            with database_of(cat) as database:
                return {key for (key,) in database.execute("SELECT key FROM openai_api_rows")}

        until(lambda: expired not in stored(), "the row is swept")
    finally:
        cat.stop()


def test_ids_that_nothing_can_have_are_not_found(http: httpx.Client, somebody: str) -> None:
    for name in ("resp_%00", "resp_" + "x" * 5000, "resp_'", "%F0%9F%98%BA"):
        reply = http.get(f"{RESPONSES_ROUTE}/{name}", params={"user": somebody})
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "response_not_found")
    asked = {"model": "cheshire-cat", "user": somebody, "input": "hi", "previous_response_id": "resp_\0"}
    reply = http.post(RESPONSES_ROUTE, json=asked)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "previous_response_not_found")


def test_items_of_many_responses_can_be_named_in_one_request(
    http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    asked = {"model": "cheshire-cat", "user": somebody}

    def reply(number: int) -> dict[str, Any]:
        made = http.post(RESPONSES_ROUTE, json={**asked, "input": user(say=f"reply {number}")["content"]})
        item: dict[str, Any] = made.raise_for_status().json()["output"][0]
        return item

    with ThreadPoolExecutor(4) as threads:
        items = list(threads.map(reply, range(8)))
    references = [{"type": "item_reference", "id": item["id"]} for item in items]
    http.post(
        RESPONSES_ROUTE, json={**asked, "input": [*references, user("Now?", tag=tag, say="ok")]}
    ).raise_for_status()
    (record,) = upstream.wait(tag)
    sent = json.dumps(record["body"]["messages"])
    assert all(f"reply {number}" in sent for number in range(8))
    unknown = [*references[:2], {"type": "item_reference", "id": "msg_unknown"}, references[2], user("x")]
    refused = http.post(RESPONSES_ROUTE, json={**asked, "input": unknown})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input[2].id")
