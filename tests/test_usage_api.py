"""Usage: counted behind the requests, added up, and read in OpenAI's published form."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import body, user
from bridge.cat_openai_api.domain.usage import Usage, UsageCounts, UsageLabels
from bridge.cat_openai_api.errors import StorageFailed
from bridge.cat_openai_api.telemetry import usage_log
from bridge.cat_openai_api.telemetry.usage_log import UsageLog
from host import KEY, Cat, make_cat
from openai import OpenAI
from upstream import Upstream

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/organization/usage/completions"
EMBEDDINGS = "/v1/organization/usage/embeddings"
DAY = 24 * 60 * 60

REPORTED = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def says(**fields: Any) -> dict[str, Any]:
    """A user message to which the LLM replies with `REPORTED` as its usage."""
    return user("hi", say="one two", reported_usage=REPORTED, **fields)


def results(http: httpx.Client, path: str = COMPLETIONS, **query: Any) -> list[dict[str, Any]]:
    """The results of today."""
    reply = http.get(path, params={"start_time": int(time.time()) - 1, **query})
    assert reply.status_code == 200, reply.text
    return [result for bucket in reply.json()["data"] for result in bucket["results"]]


def sums(found: Sequence[dict[str, Any]]) -> tuple[int, int, int]:
    """Requests, input and output tokens."""
    fields = ("num_model_requests", "input_tokens", "output_tokens")
    return tuple(sum(result[field] for result in found) for field in fields)  # type: ignore[return-value]


def test_requests_of_every_kind_are_counted_for_their_end_user(
    http: httpx.Client, somebody: str, until: Callable[..., None]
) -> None:
    chat = {**body(says()), "user": somebody}
    responses = {"model": "cheshire-cat", "input": says()["content"], "user": somebody}
    http.post(CHAT, json=chat).raise_for_status()
    http.post("/v1/responses", json=responses).raise_for_status()
    http.post("/message", json={"text": says()["content"], "user_id": somebody}).raise_for_status()
    completions = {"model": "cheshire-cat", "prompt": [says()["content"]] * 2, "user": somebody}
    http.post("/v1/completions", json=completions).raise_for_status()
    for path, asked in ((CHAT, chat), ("/v1/responses", responses)):
        with http.stream("POST", path, json={**asked, "stream": True}) as reply:
            reply.read()
    # A stream has ended for its client a moment before it has been counted.
    until(lambda: sums(results(http, user_ids=somebody))[0] == 6, "all are counted")
    (result,) = results(http, user_ids=somebody, group_by="user_id,model")
    # The two prompts of one request are one request.
    assert result == {
        "object": "organization.usage.completions.result",
        "num_model_requests": 6,
        "input_tokens": 7 * 11,
        "input_cached_tokens": 7 * 4,
        "input_uncached_tokens": 7 * 7,
        "output_tokens": 7 * 7,
        "output_reasoning_tokens": 7 * 3,
        "project_id": None,
        "user_id": somebody,
        "api_key_id": None,
        "model": "cheshire-cat",
        "batch": None,
        "service_tier": None,
    }


def test_what_an_llm_does_not_report_is_counted(client: OpenAI, http: httpx.Client, somebody: str) -> None:
    asked: dict[str, Any] = {**body(user("hi", say=["one ", "two ", "three"], usage=False)), "user": somebody}
    whole = client.chat.completions.create(**asked).usage
    *_, last = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    client.chat.completions.create(**{**asked, "store": False})
    assert whole
    assert last.usage
    requests, tokens_in, tokens_out = sums(results(http, user_ids=somebody))
    assert requests == 3
    assert tokens_in > whole.prompt_tokens + last.usage.prompt_tokens
    assert tokens_out == 3 * whole.completion_tokens == 3 * last.usage.completion_tokens


def test_thoughts_that_are_only_in_the_total_are_counted(http: httpx.Client, somebody: str) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40}
    http.post(CHAT, json={**body(user("hi", say="ok", reported_usage=usage)), "user": somebody}).raise_for_status()
    assert sums(results(http, user_ids=somebody)) == (1, 10, 30)


def test_requests_that_reach_no_llm_are_not_counted(http: httpx.Client, somebody: str) -> None:
    assert http.post(CHAT, json={**body(), "user": somebody}).status_code == 400
    assert http.post(CHAT, json={**body(says()), "model": "none", "user": somebody}).status_code == 404
    assert results(http, user_ids=somebody) == []


def test_embeddings_are_counted_apart(http: httpx.Client, somebody: str) -> None:
    asked = {"model": "cheshire-cat-embedder", "input": ["one", "two"], "user": somebody}
    tokens = http.post("/v1/embeddings", json=asked).raise_for_status().json()["usage"]["prompt_tokens"]
    assert results(http, user_ids=somebody) == []
    (result,) = results(http, EMBEDDINGS, user_ids=somebody, group_by="user_id")
    assert result == {
        "object": "organization.usage.embeddings.result",
        "num_model_requests": 1,
        "input_tokens": tokens,
        "project_id": None,
        "user_id": somebody,
        "api_key_id": None,
        "model": None,
    }


def test_groups_and_filters(http: httpx.Client, somebody: str) -> None:
    others = [f"{somebody}-{number}" for number in range(3)]
    for number, name in enumerate(others):
        for _ in range(number + 1):
            http.post(CHAT, json={**body(says()), "user": name}).raise_for_status()
    grouped = results(http, user_ids=others, group_by="user_id")
    assert {result["user_id"]: result["num_model_requests"] for result in grouped} == dict(
        zip(others, (1, 2, 3), strict=True)
    )
    assert sums(results(http, user_ids=others)) == (6, 66, 42)
    assert sums(results(http, **{"user_ids[]": others[1:], "group_by[]": ["user_id", "model"]})) == (5, 55, 35)
    (all_fields,) = results(
        http, user_ids=others, group_by=["project_id", "batch", "service_tier", "model", "api_key_id"]
    )
    fields = ("project_id", "batch", "service_tier", "model", "api_key_id")
    assert [all_fields[field] for field in fields] == [None, False, "default", "cheshire-cat", None]
    assert results(http, user_ids=others, models="cheshire-cat:nobody") == []
    assert results(http, user_ids=others, api_key_ids="key_nobodys") == []
    assert results(http, user_ids=others, project_ids="a project") == []
    assert results(http, user_ids=others, batch=True) == []
    assert sums(results(http, user_ids=others, models=["cheshire-cat", "x"], batch=False)) == (6, 66, 42)


def test_the_official_sdk_reads_it(cat: Cat, http: httpx.Client, somebody: str) -> None:
    http.post(CHAT, json={**body(says()), "user": somebody}).raise_for_status()
    with OpenAI(base_url=cat.base_url, api_key="none", admin_api_key=KEY, max_retries=0) as client:
        usage = client.admin.organization.usage
        start = int(time.time()) - 1
        page = usage.completions(
            start_time=start, user_ids=[somebody], group_by=["user_id", "model"], bucket_width="1h"
        )
        embeddings = usage.embeddings(start_time=start, user_ids=[somebody], group_by=["user_id"])
    (result,) = page.data[-1].results
    assert result.object == "organization.usage.completions.result"
    assert (result.user_id, result.model, result.input_tokens) == (somebody, "cheshire-cat", 11)
    assert (embeddings.has_more, embeddings.data[0].results) == (False, [])


@pytest.mark.parametrize(("width", "seconds", "most"), [("1m", 60, 1440), ("1h", 3600, 168), ("1d", DAY, 31)])
def test_pages_of_buckets_follow_each_other_without_gaps(
    http: httpx.Client, width: str, seconds: int, most: int
) -> None:
    now = int(time.time())
    query: dict[str, Any] = {"start_time": now - 10 * seconds, "end_time": now + 100 * seconds, "bucket_width": width}
    pages = [http.get(COMPLETIONS, params={**query, "limit": 4}).json()]
    while pages[-1]["has_more"]:
        pages.append(http.get(COMPLETIONS, params={**query, "limit": 4, "page": pages[-1]["next_page"]}).json())
    assert [page["next_page"] is None for page in pages] == [False, False, True]
    buckets = [bucket for page in pages for bucket in page["data"]]
    first = query["start_time"] // seconds * seconds
    assert [bucket["start_time"] for bucket in buckets] == [first + number * seconds for number in range(11)]
    assert all(bucket["end_time"] == bucket["start_time"] + seconds for bucket in buckets)
    whole = http.get(COMPLETIONS, params={**query, "start_time": 0, "limit": most}).json()
    assert (len(whole["data"]), whole["has_more"]) == (most, True)
    reply = http.get(COMPLETIONS, params={**query, "limit": most + 1})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "limit")


def test_without_a_limit_a_page_has_as_many_buckets_as_on_openai(http: httpx.Client) -> None:
    pages = [http.get(COMPLETIONS, params={"start_time": 0, "bucket_width": width}) for width in ("1m", "1h", "1d")]
    assert [len(page.json()["data"]) for page in pages] == [60, 24, 7]
    assert len(http.get(COMPLETIONS, params={"start_time": 0}).json()["data"]) == 7


def test_a_time_that_has_not_come_has_no_buckets(http: httpx.Client) -> None:
    page = http.get(COMPLETIONS, params={"start_time": int(time.time()) + 2 * DAY}).json()
    assert page == {"object": "page", "data": [], "has_more": False, "next_page": None}


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ({}, "start_time", "missing_required_parameter"),
        ({"start_time": "yesterday"}, "start_time", "invalid_value"),
        ({"start_time": -1}, "start_time", "invalid_value"),
        ({"start_time": 10**18}, "start_time", "invalid_value"),
        ({"start_time": 100, "end_time": 100}, "end_time", "invalid_value"),
        ({"start_time": 0, "bucket_width": "1w"}, "bucket_width", "invalid_value"),
        ({"start_time": 0, "group_by": "person"}, "group_by", "invalid_value"),
        ({"start_time": 0, "group_by[]": ["model", "line"]}, "group_by", "invalid_value"),
        ({"start_time": 0, "limit": 0}, "limit", "invalid_value"),
        ({"start_time": 0, "page": "page_AAAA"}, "page", "invalid_value"),
        ({"start_time": 0, "page": "page_" + "A" * 400}, "page", "invalid_value"),
        ({"start_time": DAY, "page": "page_AAAAAAAAAAA="}, "page", "invalid_value"),
        ({"start_time": 0, "page": "\N{CAT}"}, "page", "invalid_value"),
        ({"start_time": 0, "user_ids": ["x"] * 501}, "user_ids", "invalid_value"),
    ],
    ids=str,
)
def test_an_invalid_query_is_refused(http: httpx.Client, query: dict[str, Any], param: str, code: str) -> None:
    reply = http.get(COMPLETIONS, params=query)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"], error["code"]) == (400, param, code)


def test_only_admins_read_it(cat: Cat) -> None:
    query = f"{cat.url}/custom{COMPLETIONS}?start_time=0"
    assert httpx.get(query).status_code == 401
    reply = httpx.get(query, headers={"Authorization": f"Bearer {cat.token('dinah')}"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "insufficient_permissions")


@pytest.fixture(scope="module")
def own_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """One that is stopped."""
    cat = make_cat(tmp_path_factory.mktemp("stopped") / "home").start()
    cat.use_llm(upstream.base_url)
    cat.put_settings({"rate_limit_per_minute": 0, "max_concurrent_requests": 0}).raise_for_status()
    yield cat
    cat.stop()


def ask(cat: Cat, name: str, *, store: bool | None = None, **fields: Any) -> httpx.Response:
    return cat.http.post("/custom" + CHAT, json={**body(says(**fields)), "user": name, "store": store})


def counted(cat: Cat, name: str) -> int:
    query = {"start_time": int(time.time()) - DAY, "user_ids": name}
    page = cat.http.get(f"/custom{COMPLETIONS}", params=query).raise_for_status().json()
    return sum(result["num_model_requests"] for bucket in page["data"] for result in bucket["results"])


def test_a_clean_stop_loses_nothing(own_cat: Cat, upstream: Upstream, somebody: str, tag: str) -> None:
    """Also of a request that is still being answered when the Cat is told to stop."""
    with ThreadPoolExecutor(8) as pool:
        last = pool.submit(ask, own_cat, somebody, tag=tag, first_delay=1.0)
        upstream.wait(tag, state="running")
        replies = [*pool.map(lambda _: ask(own_cat, somebody), range(40))]
        stopping = pool.submit(own_cat.restart)
        assert [reply.status_code for reply in [*replies, last.result()]] == [200] * 41
        stopping.result()
    assert counted(own_cat, somebody) == 41


def test_a_crash_loses_a_second_at_most(own_cat: Cat, somebody: str) -> None:
    assert ask(own_cat, somebody).status_code == 200
    time.sleep(1)  # that second
    os.kill(own_cat.pid, signal.SIGKILL)
    own_cat.restart()
    assert counted(own_cat, somebody) == 1


def test_what_is_counted_while_the_plugin_is_switched_off_is_not_lost(
    own_cat: Cat, upstream: Upstream, somebody: str, tag: str, until: Callable[..., None]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, own_cat, somebody, tag=tag, first_delay=1.0)
        upstream.wait(tag, state="running")
        assert own_cat.folder
        own_cat.toggle(own_cat.folder)
        reply = asked.result()
        own_cat.toggle(own_cat.folder)
    # Some Cats close the connections to the LLM when plugins change.
    expected = 1 if reply.status_code == 200 else 0
    until(lambda: counted(own_cat, somebody) == expected, "it is counted")


class Table:
    """A table of usage that can fail, and may have written all the same."""

    def __init__(self) -> None:
        self.batches: dict[int, dict[tuple[int, UsageLabels], UsageCounts]] = {}
        self.fails = False
        self.erased: set[str] = set()

    async def add(self, writer: str, batch: int, counts: Mapping[tuple[int, UsageLabels], UsageCounts]) -> None:
        self.batches[batch] = dict(counts)
        if self.fails:
            raise StorageFailed

    async def erased_since(self, owners: Mapping[str, float]) -> set[str]:
        return self.erased & owners.keys()

    def total(self) -> UsageCounts:
        return sum((counts for batch in self.batches.values() for counts in batch.values()), UsageCounts())

    def names(self) -> set[str]:
        return {labels.name for batch in self.batches.values() for _, labels in batch}


class FakeHost:
    def __init__(self, table: Table) -> None:
        self.usage = table
        self.storage = type("Storage", (), {"erased": staticmethod(table.erased_since)})
        self.lines: list[str] = []

    def log_error(self, message: str) -> None:
        self.lines.append(message)


def labels(name: str = "alice", key_id: str = "") -> UsageLabels:
    return UsageLabels("completions", key_id, name, name, "cheshire-cat")


USAGE = Usage(11, 7, 18)


def test_a_batch_of_which_nobody_knows_whether_it_was_written_is_written_again_as_it_was() -> None:
    table = Table()

    async def work() -> None:
        log = UsageLog(FakeHost(table))  # type: ignore[arg-type]
        log.add(labels(), USAGE, time.time())
        table.fails = True
        with pytest.raises(StorageFailed):
            await log.flush()
        log.add(labels(), USAGE, time.time())
        table.fails = False
        await log.close()

    asyncio.run(work())
    assert [counts.requests for batch in table.batches.values() for counts in batch.values()] == [1, 1]
    assert table.total() == UsageCounts(2, 22, 14)


def test_names_are_bounded_and_nothing_is_lost_of_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_log, "MAX_PEOPLE", 10)
    monkeypatch.setattr(usage_log, "MAX_PENDING", 50)
    table = Table()
    host = FakeHost(table)

    async def work() -> None:
        log = UsageLog(host)  # type: ignore[arg-type]
        for number in range(1000):
            log.add(labels(f"person {number}"), USAGE, time.time())
        await log.close()

    asyncio.run(work())
    assert table.total() == UsageCounts(1000, 11_000, 7_000)
    assert table.names() == {"", *(f"person {number}" for number in range(10))}
    assert host.lines == []


def test_while_the_storage_fails_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_log, "MAX_PENDING", 20)
    table = Table()
    host = FakeHost(table)

    async def work() -> int:
        log = UsageLog(host)  # type: ignore[arg-type]
        for number in range(1000):
            log.add(labels(key_id=f"key {number}"), USAGE, time.time())
        pending = len(log._pending)
        await log.close()
        return pending

    assert asyncio.run(work()) == 40
    assert host.lines == ["OpenAI API: usage cannot be written, and more of it is not counted"]


def test_somebody_who_was_erased_is_written_without_a_name() -> None:
    table = Table()
    table.erased = {"alice"}

    async def work() -> None:
        log = UsageLog(FakeHost(table))  # type: ignore[arg-type]
        for name in ("alice", "bob"):
            log.add(labels(name), USAGE, time.time())
        await log.close()

    asyncio.run(work())
    assert table.names() == {"", "bob"}
    assert table.total().requests == 2


def test_requests_do_not_wait_for_the_storage(own_cat: Cat, somebody: str) -> None:
    """While somebody else has locked the database."""
    assert ask(own_cat, somebody).status_code == 200
    path = next(path for path in Path(own_cat.home).rglob("*.db") if path.name in ("core.db", "openai_api.db"))
    locked, release = threading.Event(), threading.Event()

    def lock() -> None:
        import sqlite3  # noqa: PLC0415

        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        connection.execute("BEGIN IMMEDIATE")
        locked.set()
        release.wait(20)
        connection.execute("COMMIT")
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        locking = pool.submit(lock)
        locked.wait(10)
        started = time.monotonic()
        # Without a trace: what is stored of a conversation would be waited for.
        statuses = [ask(own_cat, somebody, store=False).status_code for _ in range(5)]
        seconds = time.monotonic() - started
        release.set()
        locking.result()
    assert statuses == [200] * 5
    assert seconds < 3
    assert counted(own_cat, somebody) == 6
