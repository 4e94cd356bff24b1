"""Limits that several Cats share on a Redis; and two Cats 2 behind one balancer, on one Postgres and one Redis."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid5

import httpx
import pytest
import yaml
from asking import body, said_to, user
from host import JWT_SECRET, KEY, ROOT, WHICH, Cat, Cat1, Cat2
from openai import OpenAI
from servers import Balancer, Postgres, Redis, needs_postgres, needs_redis
from upstream import Upstream, script

CHAT = "/v1/chat/completions"
LIMIT = "x-ratelimit-limit-requests"
REMAINING = "x-ratelimit-remaining-requests"
SETTINGS_SECONDS = 1.0
"""Within so many, settings that were saved at one Cat are in force at the other."""

KEYS_SECONDS = 1.0
"""Within so many, what was changed of a key at one Cat is in force at the other, and its tokens are known."""

END_USERS = UUID("6b1c7d0e-52f5-5c0a-9d52-3a4f0c1d8e77")
"""Cat 2's namespace of end users."""

LOOK: dict[str, Any] = {"type": "function", "function": {"name": "look"}}


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[Redis]:
    server = Redis()
    yield server
    server.remove()


@pytest.fixture
def redis(shared_redis: Redis) -> Redis:
    if not shared_redis.is_running():
        shared_redis.start()
    return shared_redis


@needs_redis
class TestOneCat:
    """On a Redis of the panel's."""

    @pytest.fixture(autouse=True)
    def _counted(self, cat: Cat, settings: Callable[..., None], redis: Redis, until: Callable[..., None]) -> None:
        """With the client installed, where the Cat had to do it."""
        settings(rate_limit_per_minute=3, rate_limit_storage=redis.url)

        def is_counted() -> bool:
            return REMAINING in cat.http.post(f"/custom{CHAT}", json=body(user("hi"))).headers

        until(is_counted, "the requests are counted", timeout=120)

    def test_counts_there(self, http: httpx.Client, redis: Redis, somebody: str) -> None:
        redis.ask("FLUSHALL")
        replies = [http.post(CHAT, json=body(user("hi"), user=somebody)) for _ in range(4)]
        assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
        assert [reply.headers[REMAINING] for reply in replies] == ["2", "1", "0", "0"]
        assert 50 <= int(replies[3].headers["retry-after"]) <= 60
        assert len(redis.ask("KEYS", "*")) == 1

    def test_answers_without_it_and_says_so_once(
        self, cat: Cat, http: httpx.Client, redis: Redis, somebody: str, until: Callable[..., None]
    ) -> None:
        start = len(cat.log())
        redis.kill()
        replies = [http.post(CHAT, json=body(user("hi"), user=somebody)) for _ in range(6)]
        assert [reply.status_code for reply in replies] == [200] * 6
        assert all(LIMIT not in reply.headers for reply in replies)
        redis.start()
        until(lambda: LIMIT in http.post(CHAT, json=body(user("hi"), user=somebody)).headers, "it counts again")
        assert cat.log()[start:].count("OpenAI API: the rate limit storage") == 2
        assert cat.log()[start:].count("does not answer") == 1
        assert Redis.PASSWORD not in cat.log()

    def test_moves_with_the_settings_at_the_next_request(
        self, http: httpx.Client, settings: Callable[..., None], redis: Redis, somebody: str
    ) -> None:
        def remaining() -> str:
            return http.post(CHAT, json=body(user("hi"), user=somebody)).headers[REMAINING]

        assert [remaining(), remaining()] == ["2", "1"]
        settings(rate_limit_per_minute=3, rate_limit_storage="memory://")
        assert remaining() == "2"
        settings(rate_limit_per_minute=3, rate_limit_storage=redis.url)
        assert remaining() == "0"
        settings(rate_limit_per_minute=3, rate_limit_storage=f"{redis.url}/1")
        assert remaining() == "2"
        assert redis.connections() == 1


def test_a_storage_that_there_is_none_of_is_refused_in_the_panel(cat: Cat) -> None:
    before, start = cat.settings_entry()["value"], len(cat.log())
    for url in ("mongodb://:hush@localhost:1", "redis://:hush@localhost"):
        assert cat.put_settings({"rate_limit_storage": url}).status_code == 400
    assert cat.settings_entry()["value"] == before
    assert "hush" not in cat.log()[start:]


SCALE: dict[str, Any] = yaml.safe_load((ROOT / "compose.scale.yml").read_text("utf-8"))


class CatOfSeveral(Cat2):
    """With the configuration of compose.scale.yml."""

    def __init__(self, home: Path, sql: str) -> None:
        self._sql = sql
        super().__init__(home)

    def _prepare(self, starters: tuple[str, ...]) -> None:
        super()._prepare(starters)
        (self.home / "config.py").write_text(SCALE["configs"]["cat"]["content"], "utf-8")

    def _environment(self) -> dict[str, str]:
        values = {
            "CCAT_URL": self.url,
            "CCAT_API_KEY": KEY,
            "CCAT_JWT_SECRET": JWT_SECRET,
            "CCAT_SQL": self._sql,
        }
        assert values.keys() == SCALE["x-cat"]["environment"].keys()
        return values


def fill_anew(postgres: Postgres, entries: list[tuple[str, str]]) -> None:
    """As earlier versions left a database: without the table of rows, and with entries among the Cat's own."""
    import asyncpg  # noqa: PLC0415  # it comes with Cat 2

    async def fill() -> None:
        connection = await asyncpg.connect(postgres.url)
        try:
            await connection.execute("DROP TABLE openai_api_rows")
            await connection.executemany("INSERT INTO key_value_db (key, value) VALUES ($1, $2)", entries)
        finally:
            await connection.close()

    asyncio.run(fill())


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def two(
    upstream: Upstream, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[CatOfSeveral]]:
    home = tmp_path_factory.mktemp("several")
    cats: list[CatOfSeveral] = []
    try:
        for name in ("one", "two"):
            cat = CatOfSeveral(home / name, postgres.url)
            cat.start()
            cats.append(cat)
        cats[0].use_llm(upstream.base_url)
        yield cats
    finally:
        for cat in cats:
            cat.stop()


@pytest.fixture(scope="module")
def balancer(two: list[CatOfSeveral]) -> Iterator[Balancer]:
    balancer = Balancer([cat.port for cat in two])
    yield balancer
    balancer.stop()


@needs_redis
@needs_postgres
@pytest.mark.skipif(WHICH != "2", reason="Cheshire Cat 1.9 keeps its data in its own folder")
class TestTwoCatsBehindOneBalancer:
    CLOCK: ClassVar[dict[str, Any]] = user(
        "What time is it?", turns=[{"tool_calls": [{"name": "clock", "arguments": {}}]}, {"say": ["Tea time."]}]
    )

    @pytest.fixture
    def http(self, balancer: Balancer) -> Iterator[httpx.Client]:
        """Each request goes to the other Cat."""
        headers = {"Authorization": f"Bearer {KEY}", "Connection": "close"}
        with httpx.Client(base_url=f"{balancer.url}/custom", headers=headers, timeout=30) as plain:
            yield plain

    @pytest.fixture(autouse=True)
    def change(self, two: list[CatOfSeveral], redis: Redis) -> Callable[..., None]:
        """Change settings at the first Cat, until they are in force at the other."""

        def change(**values: Any) -> None:
            shared = {"rate_limit_storage": redis.url, "rate_limit_per_minute": 1000, **values}
            two[0].put_settings(shared).raise_for_status()
            time.sleep(SETTINGS_SECONDS)

        change()
        return change

    def test_settings_of_one_are_in_force_at_the_other_within_a_second(
        self, two: list[CatOfSeveral], http: httpx.Client, change: Callable[..., None]
    ) -> None:
        for limit in (7, 9):
            change(rate_limit_per_minute=limit)
            assert {cat.settings_entry()["value"]["rate_limit_per_minute"] for cat in two} == {limit}
            replies = [http.post(CHAT, json=body(user("hi"))) for _ in range(2)]
            assert [reply.headers[LIMIT] for reply in replies] == [str(limit)] * 2

    def test_requests_are_counted_together(
        self, two: list[CatOfSeveral], http: httpx.Client, change: Callable[..., None], somebody: str
    ) -> None:
        change(rate_limit_per_minute=4)
        replies = [http.post(CHAT, json=body(user("hi"), user=somebody)) for _ in range(6)]
        assert [reply.status_code for reply in replies] == [200, 200, 200, 200, 429, 429]
        assert [reply.headers[REMAINING] for reply in replies] == ["3", "2", "1", "0", "0", "0"]
        for cat in two:
            assert cat.http.post(f"/custom{CHAT}", json=body(user("hi"), user=somebody)).status_code == 429

    def test_a_conversation_that_the_cat_keeps_goes_on_at_the_other(
        self, http: httpx.Client, upstream: Upstream, change: Callable[..., None], tag: str, somebody: str
    ) -> None:
        change(history="cat")
        expected: list[tuple[str, str]] = []
        for number in range(4):
            question = user(f"question {number}", tag=f"{tag} {number}", say=f"answer {number}")
            http.post(CHAT, json=body(question, user=somebody)).raise_for_status()
            expected.append(("user", f"question {number}"))
            assert said_to(upstream, f"{tag} {number}") == expected
            expected.append(("assistant", f"answer {number}"))

    def test_nothing_is_lost_that_both_keep_at_the_same_time(
        self, http: httpx.Client, upstream: Upstream, change: Callable[..., None], tag: str, somebody: str
    ) -> None:
        change(history="cat")

        def ask(number: int) -> None:
            question = user(f"question {number}", say=f"answer {number}", first_delay=0.2)
            http.post(CHAT, json=body(question, user=somebody)).raise_for_status()

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(ask, range(8)))
        http.post(CHAT, json=body(user("and now?", tag=tag, say="done"), user=somebody)).raise_for_status()
        texts = [text for _, text in said_to(upstream, tag)][:-1]
        assert sorted(texts[::2]) == [f"question {number}" for number in range(8)]
        assert [text.replace("question", "answer") for text in texts[::2]] == texts[1::2]

    def test_a_response_goes_on_at_the_other(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        def create(given: str | list[Any], **fields: Any) -> dict[str, Any]:
            asked = {"model": "cheshire-cat", "user": somebody, "input": given, **fields}
            made: dict[str, Any] = http.post("/v1/responses", json=asked).raise_for_status().json()
            return made

        last: dict[str, Any] = {"id": None}
        expected: list[tuple[str, str]] = []
        for number in range(4):
            text = script(f"question {number}", tag=f"{tag} {number}", say=f"answer {number}")
            last = create(text, previous_response_id=last["id"])
            expected.append(("user", f"question {number}"))
            assert said_to(upstream, f"{tag} {number}") == expected
            expected.append(("assistant", f"answer {number}"))
        reference = {"type": "item_reference", "id": last["output"][0]["id"]}
        for number in range(2):
            create([reference, user("And?", tag=f"{tag} item {number}", say="ok")])
            assert said_to(upstream, f"{tag} item {number}") == [("assistant", "answer 3"), ("user", "And?")]
        place = f"/v1/responses/{last['id']}"
        codes = [
            http.request(method, place, params={"user": somebody}).status_code for method in ("GET", "GET", "DELETE")
        ]
        assert codes == [200, 200, 200]
        assert [http.get(place, params={"user": somebody}).status_code for _ in range(2)] == [404, 404]

    def test_usage_of_both_adds_up_to_the_token(
        self, http: httpx.Client, change: Callable[..., None], somebody: str, until: Callable[..., None]
    ) -> None:
        change(rate_limit_per_minute=0)
        keys = [
            http.post("/keys", json={"name": f"{somebody} {number}", "service": True}).json() for number in range(5)
        ]

        def ask(number: int) -> None:
            usage = {"prompt_tokens": 1000 + number, "completion_tokens": number, "total_tokens": 1000 + 2 * number}
            asked = body(user("hi", say="ok", reported_usage=usage), user=f"{somebody}{number % 7}")
            headers = {"Authorization": f"Bearer {keys[number % 5]['value']}"}
            http.post(CHAT, json=asked, headers=headers).raise_for_status()

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(ask, range(210)))

        def used(field: str, **query: Any) -> dict[str, tuple[int, int, int]]:
            query = {"start_time": int(time.time()) - 60, "bucket_width": "1h", "group_by": field, **query}
            buckets = http.get("/v1/organization/usage/completions", params=query).raise_for_status().json()["data"]
            sums: Counter[tuple[str, str]] = Counter()
            for result in (result for bucket in buckets for result in bucket["results"]):
                for name in ("num_model_requests", "input_tokens", "output_tokens"):
                    sums[result[field], name] += result[name]
            return {
                name: (sums[name, "num_model_requests"], sums[name, "input_tokens"], sums[name, "output_tokens"])
                for name, _ in sums
            }

        ids = [key["id"] for key in keys]
        until(lambda: sum(n for n, *_ in used("api_key_id", api_key_ids=ids).values()) == 210, "both have written")
        numbers = [range(which, 210, 5) for which in range(5)]
        expected = {key: (42, 42_000 + sum(of), sum(of)) for key, of in zip(ids, numbers, strict=True)}
        assert used("api_key_id", api_key_ids=ids) == expected
        people = {f"{somebody}{which}": range(which, 210, 7) for which in range(7)}
        assert used("user_id", user_ids=[*people]) == {
            name: (30, 30_000 + sum(of), sum(of)) for name, of in people.items()
        }
        for key in ids:
            http.delete(f"/keys/{key}").raise_for_status()

    def test_who_is_erased_at_one_is_not_stored_again_by_the_other(
        self, two: list[CatOfSeveral], upstream: Upstream, tag: str, somebody: str
    ) -> None:
        plain = two[1].http
        asked = {"model": "cheshire-cat", "user": somebody}
        slow = script("hi", tag=tag, say="ok", first_delay=1.5)
        kept = plain.post("/custom/v1/responses", json={**asked, "input": "hi"}).raise_for_status().json()["id"]
        with ThreadPoolExecutor(2) as threads:
            responding = threads.submit(plain.post, "/custom/v1/responses", json={**asked, "input": slow})
            sending = threads.submit(plain.post, "/custom/message", json={"text": slow, "user_id": somebody})
            upstream.wait(tag, count=2, state="running")
            erased = two[0].http.delete(f"/custom/end_users/{somebody}").raise_for_status().json()["erased"]
            assert erased["responses"] == 1
            made = responding.result().raise_for_status().json()["id"]
            sending.result().raise_for_status()
        for response in (kept, made):
            assert plain.get(f"/custom/v1/responses/{response}", params={"user": somebody}).status_code == 404
        left = two[0].http.delete(f"/custom/end_users/{somebody}").json()["erased"]
        assert (left["responses"], left["conversations"]) == (0, 0)
        query = {"start_time": int(time.time()) - 60, "user_ids": somebody}
        usage = two[0].http.get("/custom/v1/organization/usage/completions", params=query).json()["data"]
        assert [result for bucket in usage for result in bucket["results"]] == []

    def test_what_earlier_versions_stored_is_moved_once_by_both(
        self, two: list[CatOfSeveral], postgres: Postgres, somebody: str
    ) -> None:
        """They start at the same moment, and make the table too."""
        names = [f"{somebody}{number}" for number in range(20)]
        made = two[0].http.post("/custom/v1/responses", json={"model": "cheshire-cat", "input": "hi"}).json()
        rows = []
        for name in names:
            response = {**made, "id": f"resp_{name}"}
            stored = {"response": response, "input": [], "at": time.time(), "size": 100}
            key = f"openai_api_responses_{uuid5(END_USERS, name)}"
            rows += [(key, json.dumps({response["id"]: stored})), (f"{key}_lock", json.dumps(time.time()))]
        for cat in two:
            cat.stop()
        fill_anew(postgres, rows)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda cat: cat.restart(), two))

            def load(number: int) -> int:
                name = names[number % len(names)]
                place = f"/custom/v1/responses/resp_{name}"
                return two[number % 2].http.get(place, params={"user": name}).status_code

            assert {*threads.map(load, range(4 * len(names)))} == {200}
        assert not any("the Cat's storage failed" in cat.log() for cat in two)

    def test_what_an_agents_tools_said_at_one_is_known_at_the_other(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        messages = [self.CLOCK]
        for number in range(3):
            asked = {**body(*messages, user=somebody), "model": "cheshire-cat:alice"}
            reply = http.post(CHAT, json=asked).raise_for_status().json()["choices"][0]["message"]["content"]
            messages += [
                {"role": "assistant", "content": reply},
                user(f"Sure {number}?", tag=f"{tag} {number}", say="Yes."),
            ]
        for number in range(2):
            roles = [role for role, _ in said_to(upstream, f"{tag} {number}")]
            assert roles[:5] == ["user", "assistant", "tool", "assistant", "user"]

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    def test_a_turn_with_the_clients_functions_goes_on_at_the_other(
        self, balancer: Balancer, upstream: Upstream, tag: str, somebody: str, stream: bool
    ) -> None:
        """The Cat's own tool ran at the first, in the turn that ends with the client's call."""
        both = [{"name": "clock", "arguments": "{}"}, {"name": "look", "arguments": "{}"}]
        messages: list[Any] = [user("Look!", tag=tag, turns=[{"tool_calls": both}, {"say": "A cat."}])]
        options: Any = {"model": "cheshire-cat:alice", "user": somebody, "tools": [LOOK]}
        closing = {"Connection": "close"}
        with OpenAI(base_url=f"{balancer.url}/custom/v1", api_key=KEY, default_headers=closing) as client:
            called = client.chat.completions.create(messages=messages, **options).choices[0].message
            (call,) = called.tool_calls or []
            messages += [called, {"role": "tool", "tool_call_id": call.id, "content": "cat"}]
            answer = client.chat.completions.create(messages=messages, stream=stream, **options)
            if stream:
                said = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
            else:
                said = answer.choices[0].message.content
        assert said == "A cat."
        assert sorted(text for role, text in said_to(upstream, tag) if role == "tool") == ["cat", "tea time"]

    def test_a_response_in_the_background_is_read_and_cancelled_at_the_other(
        self, two: list[CatOfSeveral], upstream: Upstream, until: Callable[..., None], tag: str
    ) -> None:
        one, other = (OpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0) for cat in two)
        made = one.responses.create(
            model="cheshire-cat", input=script(tag=tag, say="tick ", repeat=300, delay=0.1), background=True
        )
        until(lambda: "tick" in other.responses.retrieve(made.id).output_text, "the other shows what there is")
        assert other.responses.retrieve(made.id).status == "in_progress"
        events = iter(other.responses.retrieve(made.id, stream=True))
        numbers = [next(events).sequence_number for _ in range(10)]
        upstream.wait(tag, state="running")
        began = time.monotonic()
        cancelled = other.responses.cancel(made.id)
        upstream.wait(tag, state="left", timeout=1)
        assert time.monotonic() - began < 2
        assert cancelled.status == "cancelled"
        numbers += [event.sequence_number for event in events]
        assert numbers == [*range(len(numbers))]
        assert one.responses.retrieve(made.id).to_dict() == cancelled.to_dict()
        assert other.responses.cancel(made.id).to_dict() == cancelled.to_dict()
        # With another event as the first one, at both Cats.
        for client in (one, other):
            again = [
                event.sequence_number for event in client.responses.retrieve(made.id, stream=True, starting_after=4)
            ]
            assert again == numbers[5:]

    def test_a_response_in_the_background_fails_when_its_cat_dies(
        self, two: list[CatOfSeveral], upstream: Upstream, until: Callable[..., None], tag: str
    ) -> None:
        """The other Cat tells, also those who read its stream; and what that one generates goes on."""
        one, other = (OpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0) for cat in two)
        asked = script(tag=tag, say="tick ", repeat=600, delay=0.1)
        lost = one.responses.create(model="cheshire-cat", input=asked, background=True)
        alive = other.responses.create(model="cheshire-cat", input=asked, background=True)
        until(lambda: "tick" in other.responses.retrieve(lost.id).output_text, "it says something")
        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(lambda: list(other.responses.retrieve(lost.id, stream=True)))
            two[0].kill()
            try:
                until(lambda: other.responses.retrieve(lost.id).status == "failed", "it has failed", timeout=20)
                events = reading.result(timeout=10)
            finally:
                two[0].start_again()
        failed = other.responses.retrieve(lost.id)
        assert failed.error is not None
        assert "interrupted" in failed.error.message
        assert failed.output_text.startswith("tick ")
        assert events[-1].type == "response.failed"
        assert [event.sequence_number for event in events] == [*range(len(events))]
        assert one.responses.retrieve(alive.id).status == "in_progress"
        assert one.responses.cancel(alive.id).status == "cancelled"

    def test_requests_of_both_at_once_are_one_count(
        self, two: list[CatOfSeveral], change: Callable[..., None], somebody: str
    ) -> None:
        change(rate_limit_per_minute=10)

        async def ask(client: httpx.AsyncClient, cat: Cat) -> int:
            return (await client.post(f"{cat.url}/custom{CHAT}", json=body(user("hi"), user=somebody))).status_code

        async def all_at_once() -> list[int]:
            async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
                return await asyncio.gather(*(ask(client, cat) for cat in two * 15))

        assert sorted(asyncio.run(all_at_once())) == [200] * 10 + [429] * 20


class Cat1OfSeveral(Cat1):
    """With the plugin's storage in a file of its own, which another one may use too."""

    def __init__(self, home: Path, storage: Path) -> None:
        self._storage = storage
        super().__init__(home)

    def _prepare(self, starters: tuple[str, ...]) -> None:
        super()._prepare(starters)
        (self.home / "cat" / "data" / "openai_api.db").symlink_to(self._storage)


@pytest.fixture(scope="module")
def pair(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Cat]]:
    """Two Cats on one database."""
    if WHICH == "2":
        yield request.getfixturevalue("two")
        return
    home = tmp_path_factory.mktemp("pair")
    cats: list[Cat] = []
    try:
        for name in ("one", "two"):
            cats.append(Cat1OfSeveral(home / name, home / "shared.db").start())
            cats[-1].use_llm(upstream.base_url)
        yield cats
    finally:
        for cat in cats:
            cat.stop()


@needs_postgres
class TestKeysOfTwoCats:
    HUNDRED: ClassVar[dict[str, Any]] = body(
        user(
            "hi",
            say="ok",
            first_delay=0.1,
            reported_usage={"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100},
        )
    )
    """Has the LLM report 100 tokens."""

    @pytest.fixture(autouse=True)
    def _unlimited(self, pair: list[Cat]) -> None:
        for cat in pair:
            cat.put_settings({"rate_limit_per_minute": 0, "max_concurrent_requests": 0}).raise_for_status()

    def make_key(self, cat: Cat, **fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = cat.http.post("/custom/keys", json={"name": "x", **fields}).raise_for_status().json()
        return made

    def ask(self, cat: Cat, key: dict[str, Any]) -> int:
        headers = {"Authorization": f"Bearer {key['value']}"}
        return httpx.post(f"{cat.url}/custom{CHAT}", json=self.HUNDRED, headers=headers, timeout=60).status_code

    def used(self, cat: Cat, key: dict[str, Any]) -> int:
        tokens: int = cat.http.get(f"/custom/keys/{key['id']}").raise_for_status().json()["tokens_today"]
        return tokens

    def all_at_once(self, cats: list[Cat], keys: list[dict[str, Any]], at_once: int = 50) -> list[int]:
        """The statuses of a request with each of the keys at each of the Cats in turn."""

        async def ask_all() -> list[int]:
            places = asyncio.Semaphore(at_once)

            async def ask(client: httpx.AsyncClient, cat: Cat, key: dict[str, Any]) -> int:
                headers = {"Authorization": f"Bearer {key['value']}"}
                async with places:
                    reply = await client.post(f"{cat.url}/custom{CHAT}", json=self.HUNDRED, headers=headers)
                return reply.status_code

            async with httpx.AsyncClient(timeout=120) as client:
                asked = (ask(client, cats[number % len(cats)], key) for number, key in enumerate(keys))
                return await asyncio.gather(*asked)

        return asyncio.run(ask_all())

    def test_a_key_is_valid_at_the_other_at_once_and_changes_are_within_a_second(self, pair: list[Cat]) -> None:
        one, other = pair
        for _ in range(3):
            key = self.make_key(one)
            assert self.ask(other, key) == 200
        for cat, fields, status in ((one, {"enabled": False}, 401), (other, {"enabled": True}, 200)):
            cat.http.post(f"/custom/keys/{key['id']}", json=fields).raise_for_status()
            time.sleep(KEYS_SECONDS)
            assert [self.ask(each, key) for each in pair] == [status] * 2
        other.http.delete(f"/custom/keys/{key['id']}").raise_for_status()
        time.sleep(KEYS_SECONDS)
        assert [self.ask(each, key) for each in pair] == [401] * 2
        assert one.http.get(f"/custom/keys/{key['id']}").status_code == 404

    def test_a_budget_ends_for_both_with_the_request_that_uses_it_up(self, pair: list[Cat]) -> None:
        key = self.make_key(pair[0], tokens_per_day=450)
        assert [self.ask(pair[number % 2], key) for number in range(8)] == [200] * 5 + [429] * 3
        assert [self.used(cat, key) for cat in pair] == [500, 500]

    def test_requests_of_both_at_once_exceed_it_by_one_at_most(self, pair: list[Cat]) -> None:
        key = self.make_key(pair[0], tokens_per_day=1000)
        statuses = self.all_at_once(pair, [key] * 40)
        assert statuses.count(200) in (10, 11)
        assert statuses.count(429) == 40 - statuses.count(200)
        assert self.used(pair[1], key) == 100 * statuses.count(200)

    def test_tokens_of_many_keys_add_up(self, pair: list[Cat]) -> None:
        keys = [self.make_key(pair[number % 2], tokens_per_day=[None, 10**6][number % 2]) for number in range(6)]
        asked = [key for key in keys for _ in range(21)]
        assert self.all_at_once(pair, asked) == [200] * len(asked)
        time.sleep(KEYS_SECONDS)
        assert {self.used(cat, key) for cat in pair for key in keys} == {2100}


def test_the_compose_file_names_what_the_plugin_is_made_of() -> None:
    build = SCALE["x-cat"]["build"]["dockerfile_inline"]
    for name in ("plugin.json", "requirements.txt", "settings.py", "cat_openai_api"):
        assert (ROOT / name).exists()
        assert f" {name} " in build
    assert {"balancer", "cat-1", "cat-2", "postgres", "redis"} == SCALE["services"].keys()
