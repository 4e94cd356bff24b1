"""Keys of this API: what an admin makes of them, what each opens and for whom, and that they open nothing else."""

import asyncio
import json
import re
import socket
import sqlite3
import statistics
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from asking import chat_body
from bridge.cat_openai_api.access.authentication import Authentication
from bridge.cat_openai_api.access.exposure import key_warning
from bridge.cat_openai_api.access.keys import KeyStore
from bridge.cat_openai_api.domain.keys import ApiKey
from bridge.cat_openai_api.domain.people import Access
from bridge.cat_openai_api.errors import InvalidApiKey
from host import KEY, WHICH, Cat, make_cat, needs_memory, signed
from openai import AuthenticationError, NotFoundError, OpenAI, RateLimitError
from starlette.requests import HTTPConnection
from upstream import Upstream, script
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

CHAT = "/v1/chat/completions"

VALUE = re.compile(r"sk-cat-([0-9a-f]{16})_[0-9a-f]{64}")

OPEN = {"/custom/health", "/custom/connect"}

MASTER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def own_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """A Cat that can be restarted, with other plugins that have routes."""
    starters = ("chats", "ui", "uploads") if WHICH == "2" else ()
    cat = make_cat(tmp_path_factory.mktemp("keys") / "home", starters=starters).start()
    cat.use_llm(upstream.base_url)
    yield cat
    cat.stop()


@pytest.fixture
def cat(own_cat: Cat) -> Cat:
    own_cat.put_settings({"rate_limit_per_minute": 0}).raise_for_status()
    return own_cat


def make_key(cat: Cat, name: str = "a client", **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = cat.http.post("/custom/keys", json={"name": name, **fields}).raise_for_status().json()
    return made


def change(cat: Cat, key: dict[str, Any], **fields: Any) -> None:
    cat.http.post(f"/custom/keys/{key['id']}", json=fields).raise_for_status()


def retrieve(cat: Cat, key: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = cat.http.get(f"/custom/keys/{key['id']}").raise_for_status().json()
    return found


def bearer(key: dict[str, Any] | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key if isinstance(key, str) else key['value']}"}


def ask(cat: Cat, key: dict[str, Any] | str, text: str = "hi", headers: Any = None, **more: Any) -> httpx.Response:
    sent = {**bearer(key), **(headers or {})}
    return httpx.post(f"{cat.url}/custom{CHAT}", json=chat_body(text, **more), headers=sent, timeout=30)


def who(cat: Cat, key: dict[str, Any], upstream: Upstream, tag: str, **more: Any) -> str:
    """For whom a request with the key runs: a name that the test plugin puts into the prompt."""
    count = len(upstream.requests(tag))
    fields = {"model": "cheshire-cat:mirror"} if WHICH == "2" else {}
    reply = ask(cat, key, script(tag=tag, say="ok"), **{**fields, **more})
    assert reply.status_code == 200, reply.text
    record = upstream.wait(tag, count=count + 1)[-1]
    found = re.search(
        r"The person before you is '(.*?)'\.$",
        json.dumps(record["body"]["messages"][0]).replace("\\n", "\n"),
        re.MULTILINE,
    )
    assert found
    return found[1]


class TestTheRoutes:
    def test_a_key_is_shown_once(self, cat: Cat) -> None:
        reply = cat.http.post("/custom/keys", json={"name": "n8n"})
        made = reply.json()
        assert reply.headers["cache-control"] == "no-store"
        found = VALUE.fullmatch(made["value"])
        assert found
        assert made == {
            "id": f"key_{found[1]}",
            "object": "api_key",
            "name": "n8n",
            "redacted_value": f"sk-cat-{found[1]}_…",
            "end_user": None,
            "service": False,
            "models": None,
            "rate_limit_per_minute": None,
            "tokens_per_day": None,
            "expires_at": None,
            "enabled": True,
            "created_at": made["created_at"],
            "last_used_at": None,
            "tokens_today": 0,
            "value": made["value"],
        }
        assert abs(made["created_at"] - time.time()) < 60
        value = made.pop("value")
        assert retrieve(cat, made) == made
        ask(cat, value)
        listed = cat.http.get("/custom/keys", params={"limit": 100}).text
        secret = value.partition("_")[2]
        assert made["id"] in listed
        assert secret not in listed
        assert secret not in cat.log()

    def test_a_stolen_database_gives_no_key(self, cat: Cat) -> None:
        secret = make_key(cat)["value"].partition("_")[2]
        stored = [path for path in cat.home.rglob("*") if path.is_file() and not path.is_symlink()]
        assert stored
        assert not [path for path in stored if secret.encode() in path.read_bytes()]

    def test_keys_are_not_among_the_cats_own_settings(self, cat: Cat) -> None:
        made = make_key(cat, "A name that nothing else has")
        settings = cat.http.get("/settings").text
        assert made["id"] not in settings
        assert made["name"] not in settings

    def test_all_fields(self, cat: Cat) -> None:
        expires_at = int(time.time()) + 1000
        limits = {
            "models": ["cheshire-cat", "cheshire-cat-embedder"],
            "rate_limit_per_minute": 7,
            "tokens_per_day": 1000,
            "expires_at": expires_at,
        }
        made = make_key(cat, "all", end_user="alice", **limits)
        assert {**limits, "end_user": "alice", "service": False}.items() <= made.items()
        change(cat, made, name="other", models=None, tokens_per_day=2000)
        changed = {**made, "name": "other", "models": None, "tokens_per_day": 2000}
        del changed["value"]
        assert retrieve(cat, made) == changed
        change(cat, made, rate_limit_per_minute=None, tokens_per_day=None, expires_at=None, enabled=False)
        cleared = {"rate_limit_per_minute": None, "tokens_per_day": None, "expires_at": None, "enabled": False}
        assert retrieve(cat, made) == {**changed, **cleared}

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"name": None}, "name"),
            ({"name": ""}, "name"),
            ({"name": " "}, "name"),
            ({"name": "x" * 101}, "name"),
            ({"end_user": "alice", "service": True}, "service"),
            ({"end_user": ""}, "end_user"),
            ({"end_user": "x" * 513}, "end_user"),
            ({"end_user": "openai-api-key:key_0"}, "end_user"),
            ({"service": "yes"}, "service"),
            ({"models": []}, "models"),
            ({"models": ["gpt-4o"]}, "models[0]"),
            ({"models": ["cheshire-cat", 1]}, "models[1]"),
            ({"rate_limit_per_minute": -1}, "rate_limit_per_minute"),
            ({"rate_limit_per_minute": 1.5}, "rate_limit_per_minute"),
            ({"tokens_per_day": 0}, "tokens_per_day"),
            ({"tokens_per_day": 10**13}, "tokens_per_day"),
            ({"expires_at": 1}, "expires_at"),
            ({"expires_at": 1_900_000_000_000}, "expires_at"),
            ({"expires_at": "tomorrow"}, "expires_at"),
            ({"tokens_per_dya": 5}, "tokens_per_dya"),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_named_and_makes_no_key(self, cat: Cat, fields: dict[str, Any], param: str) -> None:
        before = cat.http.get("/custom/keys", params={"limit": 100}).json()
        reply = cat.http.post("/custom/keys", json={"name": "wrong", **fields})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
        assert cat.http.get("/custom/keys", params={"limit": 100}).json() == before

    def test_whom_a_key_is_for_cannot_be_changed(self, cat: Cat) -> None:
        made = make_key(cat)
        for fields in ({"end_user": "bob"}, {"service": True}, {"name": None}, {"enabled": None}):
            reply = cat.http.post(f"/custom/keys/{made['id']}", json=fields)
            assert (reply.status_code, reply.json()["error"]["param"]) == (400, next(iter(fields)))

    def test_an_unknown_key_is_404(self, cat: Cat) -> None:
        for method, body in (("GET", None), ("POST", {"enabled": True}), ("DELETE", None)):
            for key_id in ("key_0000000000000000", "nothing", "%00"):
                reply = cat.http.request(method, f"/custom/keys/{key_id}", json=body)
                assert (reply.status_code, reply.json()["error"]["code"]) == (404, "key_not_found")

    def test_pages(self, cat: Cat) -> None:
        made = [make_key(cat, f"page {number}")["id"] for number in range(3)]

        def read(**params: Any) -> dict[str, Any]:
            found: dict[str, Any] = cat.http.get("/custom/keys", params=params).raise_for_status().json()
            return found

        everything = read(limit=100)
        ids = [key["id"] for key in everything["data"]]
        assert {*made} <= {*ids}
        assert (everything["object"], everything["has_more"]) == ("list", False)
        assert (everything["first_id"], everything["last_id"]) == (ids[0], ids[-1])
        paged: list[str] = []
        page = read(limit=2)
        while page["has_more"]:
            paged += [key["id"] for key in page["data"]]
            page = read(limit=2, after=paged[-1])
        assert [*paged, *(key["id"] for key in page["data"])] == ids
        assert [key["id"] for key in read(limit=100, order="desc")["data"]] == ids[::-1]
        for params, param in (({"after": "key_no"}, "after"), ({"limit": 0}, "limit"), ({"limit": 101}, "limit")):
            reply = cat.http.get("/custom/keys", params=params)
            assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)

    def test_they_are_for_admins(self, cat: Cat) -> None:
        made = make_key(cat)
        for headers, status in (
            ({}, 401),
            (bearer("wrong"), 401),
            (bearer(made), 403),
            (bearer(make_key(cat, service=True)), 403),
            (bearer(cat.token("alice")), 403),
        ):
            for method, path in (
                ("GET", "/custom/keys"),
                ("POST", "/custom/keys"),
                ("GET", f"/custom/keys/{made['id']}"),
                ("POST", f"/custom/keys/{made['id']}"),
                ("DELETE", f"/custom/keys/{made['id']}"),
                ("GET", "/custom/metrics"),
            ):
                reply = httpx.request(
                    method, cat.url + path, headers=headers, json={"name": "x"} if method == "POST" else None
                )
                assert reply.status_code == status, (method, path, headers)
        assert ask(cat, made).status_code == 200


class TestWhatAKeyOpens:
    def test_the_official_sdk_works_with_it(self, cat: Cat) -> None:
        made = make_key(cat)
        with OpenAI(base_url=cat.base_url, api_key=made["value"], max_retries=0) as client:
            assert "cheshire-cat" in {model.id for model in client.models.list()}
            chat = client.chat.completions.create(
                model="cheshire-cat", messages=[{"role": "user", "content": script(say="Hello.")}]
            )
            assert chat.choices[0].message.content == "Hello."
            response = client.responses.create(model="cheshire-cat", input=script(say="Hello."))
            assert client.responses.retrieve(response.id).output_text == "Hello."
            assert client.embeddings.create(model="cheshire-cat-embedder", input="hi").data
            change(cat, made, enabled=False)
            with pytest.raises(AuthenticationError, match="disabled"):
                client.models.list()

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    def test_the_scheme_may_be_in_any_case(self, cat: Cat, scheme: str) -> None:
        headers = {"Authorization": f"{scheme} {make_key(cat)['value']}"}
        assert httpx.get(f"{cat.url}/custom/v1/models", headers=headers).status_code == 200

    def test_none_of_the_cats_own_routes(self, cat: Cat) -> None:
        """A key of this API is worth there what a wrong key is worth."""
        keys = [make_key(cat), make_key(cat, service=True), make_key(cat, end_user="admin")]
        paths = cat.http.get("/openapi.json").raise_for_status().json()["paths"]
        own = {path: methods for path, methods in paths.items() if not path.startswith(("/custom/", "/wonderland/"))}
        assert len(own) > 8
        refused = 0
        sent: dict[str, Any]
        for path, methods in own.items():
            place = cat.url + re.sub(r"{.*?}", "nothing", path)
            for method in methods:
                wrong = httpx.request(method, place, headers=bearer("wrong"), follow_redirects=False)
                refused += wrong.status_code in (401, 403)
                value = keys[2]["value"]
                for sent in (
                    *({"headers": {**bearer(key), "user_id": "admin"}} for key in keys),
                    {"headers": {"access_token": value}},
                    {"headers": {"Cookie": f"access_token={value}; ccat_user_token={value}"}},
                    {"params": {"token": value, "access_token": value, "api_key": value}},
                ):
                    reply = httpx.request(method, place, follow_redirects=False, **sent)
                    assert reply.status_code in (wrong.status_code, 307), (method, path, sent)
        assert refused > 8

    @pytest.mark.skipif(WHICH == "2", reason="Cheshire Cat 2 has no WebSockets")
    def test_none_of_the_cats_web_sockets(self, cat: Cat) -> None:
        made = make_key(cat, service=True)
        for path in ("/ws", "/ws/admin"):
            place = cat.url.replace("http", "ws") + path
            with pytest.raises(InvalidStatus):
                connect(f"{place}?token={made['value']}", additional_headers=bearer(made)).close()

    def test_the_credential_of_the_request_counts_and_no_other(self, cat: Cat) -> None:
        """A cookie or a header of somebody else's is not added to a key, nor a key to it."""
        made = make_key(cat)
        claims = {"sub": "1b2a5a3c-54a5-5d1b-8f6c-7f0f4c7f7f11", "username": "admin", "roles": ["admin"]}
        cookie = {"Cookie": f"access_token={signed(claims)}; ccat_user_token={KEY}"}
        for path in ("/custom/keys", "/custom/metrics"):
            assert httpx.get(cat.url + path, headers={**bearer(made), **cookie, "access_token": KEY}).status_code == 403
        for headers in (
            {"X-Api-Key": made["value"]},
            {"Cookie": f"access_token={made['value']}"},
            {"Authorization": made["value"]},
            {"Authorization": f"Basic {made['value']}"},
            {"Authorization": f"Bearer {made['value']} {KEY}"},
            {"Authorization": f"Bearer {KEY} {made['value']}"},
            bearer(made["value"].upper()),
            bearer(made["value"][:-1]),
            bearer(made["value"] + "0"),
            bearer("sk-cat-"),
            bearer("sk-cat-" + "x" * 20_000),
        ):
            assert httpx.get(f"{cat.url}/custom/v1/models", headers=headers).status_code == 401, headers

    def test_disabled_expired_and_deleted_from_the_next_request_on(
        self, cat: Cat, upstream: Upstream, tag: str
    ) -> None:
        made = make_key(cat)
        assert ask(cat, made).status_code == 200
        for fields, message in (
            ({"enabled": False}, "This API key is disabled."),
            ({"enabled": True, "expires_at": int(time.time()) - 1}, "This API key has expired."),
        ):
            change(cat, made, **fields)
            for path in ("/custom/v1/models", "/custom/metrics", "/custom/keys"):
                reply = httpx.get(cat.url + path, headers=bearer(made))
                assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
                assert reply.json()["error"]["message"] == message
            assert ask(cat, made, script(tag=tag, say="ok")).status_code == 401
            # Only the holder of the secret learns that.
            other = ask(cat, made["value"][:-4] + "0000")
            assert other.json()["error"]["message"] == "Incorrect API key provided."
        change(cat, made, expires_at=None)
        assert ask(cat, made).status_code == 200
        cat.http.delete(f"/custom/keys/{made['id']}").raise_for_status()
        assert ask(cat, made, script(tag=tag, say="ok")).json()["error"]["message"] == "Incorrect API key provided."
        assert upstream.requests(tag) == []

    def test_a_key_expires_at_its_time(self, cat: Cat, until: Callable[..., None]) -> None:
        made = make_key(cat, expires_at=int(time.time()) + 2)
        assert ask(cat, made).status_code == 200
        until(lambda: ask(cat, made).status_code == 401, "the key expires")
        assert time.time() >= made["expires_at"]

    def test_an_unknown_key_takes_as_long_as_a_wrong_secret(self, cat: Cat) -> None:
        made = make_key(cat)
        values = {"wrong": made["value"][:-8] + "00000000", "unknown": f"sk-cat-{'0' * 16}_{'0' * 64}"}
        seconds: dict[str, list[float]] = {"wrong": [], "unknown": []}
        with httpx.Client() as client:
            for _ in range(150):
                for name, value in values.items():
                    started = time.perf_counter()
                    reply = client.get(f"{cat.url}/custom/v1/models", headers=bearer(value))
                    seconds[name].append(time.perf_counter() - started)
                    assert reply.status_code == 401
        medians = {name: statistics.median(each) for name, each in seconds.items()}
        assert abs(medians["wrong"] - medians["unknown"]) < 0.001


class TestWhomAKeyIsFor:
    def test_a_key_for_an_end_user_is_that_person_whatever_the_request_names(
        self, cat: Cat, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        made = make_key(cat, end_user=somebody)
        named = {"user": "bob", "safety_identifier": "bob", "headers": {"X-User-Id": "bob", "user_id": "bob"}}
        assert who(cat, made, upstream, tag) == somebody
        assert who(cat, made, upstream, tag, **named) == somebody

    def test_it_is_the_same_person_as_the_end_user_of_a_service(self, cat: Cat, somebody: str) -> None:
        mine, service = make_key(cat, end_user=somebody), make_key(cat, service=True)
        body = {"model": "cheshire-cat", "input": script(say="ok")}
        place = f"{cat.url}/custom/v1/responses"
        made = httpx.post(place, json={**body, "user": somebody}, headers=MASTER).raise_for_status().json()
        other = httpx.post(place, json=body, headers=bearer(mine)).raise_for_status().json()
        for response in (made, other):
            read = f"{place}/{response['id']}"
            assert httpx.get(read, headers=bearer(mine)).status_code == 200
            assert httpx.get(read, headers=bearer(service), params={"user": somebody}).status_code == 200
            assert httpx.get(read, headers=bearer(service), params={"user": "bob"}).status_code == 404
            assert httpx.get(read, headers=bearer(service)).status_code == 404
            assert httpx.get(read, headers=bearer(make_key(cat))).status_code == 404

    def test_a_service_speaks_for_its_end_users(self, cat: Cat, upstream: Upstream, tag: str, somebody: str) -> None:
        made = make_key(cat, service=True)
        assert who(cat, made, upstream, tag, user=somebody) == somebody
        assert who(cat, made, upstream, tag, headers={"X-OpenWebUI-User-Id": somebody}) == somebody
        assert who(cat, made, upstream, tag) == f"openai-api-key:{made['id']}"

    def test_any_other_key_is_a_person_of_its_own(self, cat: Cat, upstream: Upstream, tag: str) -> None:
        for _ in range(2):
            made = make_key(cat, "alice")
            assert who(cat, made, upstream, tag, user="alice") == f"openai-api-key:{made['id']}"

    def test_nobody_can_name_that_person(self, cat: Cat, upstream: Upstream, tag: str) -> None:
        name = f"openai-api-key:{make_key(cat)['id']}"
        for key in (make_key(cat, service=True), KEY):
            for fields in ({"user": name}, {"safety_identifier": name}, {"headers": {"X-User-Id": name}}):
                reply = ask(cat, key, script(tag=tag), **fields)  # type: ignore[arg-type]
                assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_value")
            reply = httpx.post(f"{cat.url}/custom/message", json={"text": "hi", "user_id": name}, headers=bearer(key))
            assert reply.status_code == 400
        assert upstream.requests(tag) == []

    def test_a_message_is_for_the_holder(self, cat: Cat, somebody: str) -> None:
        made = make_key(cat, end_user=somebody)
        place = f"{cat.url}/custom/message"
        reply = httpx.post(place, json={"text": script(say="Hello.")}, headers=bearer(made)).json()
        assert (reply["text"], reply["user_id"]) == ("Hello.", somebody)
        other = httpx.post(place, json={"text": "hi", "user_id": "bob"}, headers=bearer(made))
        assert (other.status_code, other.json()["error"]["code"]) == (403, "insufficient_permissions")

    @needs_memory
    def test_two_keys_share_no_memory(self, cat: Cat, upstream: Upstream, tag: str) -> None:
        one, other = make_key(cat), make_key(cat)
        model = {"model": "cheshire-cat:mirror"} if WHICH == "2" else {}
        ask(cat, one, script(f"My secret is {tag}-secret", say="ok"), **model)
        ask(cat, other, script("[memories] What is it?", tag=f"{tag}1", say="ok"), **model)
        ask(cat, one, script("[memories] What is it?", tag=f"{tag}2", say="ok"), **model)
        (record,) = upstream.wait(f"{tag}1")
        assert f"{tag}-secret" not in json.dumps(record["body"])
        (record,) = upstream.wait(f"{tag}2")
        assert f"{tag}-secret" in json.dumps(record["body"])


class TestModels:
    @pytest.fixture
    def chat_only(self, cat: Cat) -> dict[str, Any]:
        return make_key(cat, models=["cheshire-cat"])

    @pytest.fixture
    def embedder_only(self, cat: Cat) -> dict[str, Any]:
        return make_key(cat, models=["cheshire-cat-embedder"])

    def test_others_are_not_listed(self, cat: Cat, chat_only: dict[str, Any], embedder_only: dict[str, Any]) -> None:
        for key, model in ((chat_only, "cheshire-cat"), (embedder_only, "cheshire-cat-embedder")):
            listed = httpx.get(f"{cat.url}/custom/v1/models", headers=bearer(key)).json()["data"]
            assert [each["id"] for each in listed] == [model]

    def test_others_are_404_everywhere(
        self, cat: Cat, upstream: Upstream, chat_only: dict[str, Any], embedder_only: dict[str, Any], tag: str
    ) -> None:
        text = script(tag=tag, say="ok")
        cat.put_settings(
            {"rate_limit_per_minute": 0, "model_aliases": "gpt-4o=cheshire-cat, ada=cheshire-cat-embedder"}
        )
        for key, models, path, body in (
            (embedder_only, ("cheshire-cat", "gpt-4o", "nobody"), CHAT, chat_body(text)),
            (embedder_only, ("cheshire-cat", "gpt-4o", "nobody"), "/v1/responses", {"input": text}),
            (embedder_only, ("cheshire-cat", "gpt-4o", "nobody"), "/v1/completions", {"prompt": text}),
            (embedder_only, ("cheshire-cat",), "/message", {"text": text}),
            (chat_only, ("cheshire-cat-embedder", "ada", "nobody"), "/v1/embeddings", {"input": "hi"}),
        ):
            for model in models:
                sent = body if path == "/message" else {**body, "model": model}
                reply = httpx.post(f"{cat.url}/custom{path}", json=sent, headers=bearer(key))
                error = reply.json()["error"]
                assert (reply.status_code, error["code"]) == (404, "model_not_found"), (path, model)
                assert error["message"].startswith(f"The model `{model}` does not exist."), error
                other = "cheshire-cat-embedder" if key is chat_only else "cheshire-cat,"
                assert other not in error["message"].partition(".")[2]
                if path != "/message":
                    reply = httpx.get(f"{cat.url}/custom/v1/models/{model}", headers=bearer(key))
                    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
        assert upstream.requests(tag) == []

    def test_an_alias_of_one_that_it_may_use_works(self, cat: Cat, chat_only: dict[str, Any]) -> None:
        cat.put_settings({"rate_limit_per_minute": 0, "model_aliases": "*=cheshire-cat"})
        assert ask(cat, chat_only, script(say="ok"), model="gpt-4o").json()["model"] == "gpt-4o"
        with OpenAI(base_url=cat.base_url, api_key=chat_only["value"], max_retries=0) as client:
            assert client.models.retrieve("gpt-4o").id == "gpt-4o"
            with pytest.raises(NotFoundError):
                client.embeddings.create(model="cheshire-cat-embedder", input="hi")

    @pytest.mark.skipif(WHICH != "2", reason="Cheshire Cat 1.9 has one model, itself")
    def test_agents(self, cat: Cat) -> None:
        made = make_key(cat, models=["cheshire-cat:alice"])
        assert ask(cat, made, script(say="ok"), model="cheshire-cat:alice").status_code == 200
        for model in ("cheshire-cat", "cheshire-cat:hatter"):
            assert ask(cat, made, model=model).status_code == 404
        change(cat, made, models=["cheshire-cat"])
        assert ask(cat, made, script(say="ok"), model="cheshire-cat").status_code == 200
        assert ask(cat, made, model="cheshire-cat:alice").status_code == 404


class TestRateLimit:
    def test_that_of_a_key_is_in_place_of_the_setting(self, cat: Cat) -> None:
        cat.put_settings({"rate_limit_per_minute": 2}).raise_for_status()
        strict, free, plain = (make_key(cat, rate_limit_per_minute=limit) for limit in (1, 0, None))
        replies = {key["id"]: [ask(cat, key) for _ in range(3)] for key in (strict, free, plain)}
        statuses = {key: [reply.status_code for reply in each] for key, each in replies.items()}
        assert statuses == {strict["id"]: [200, 429, 429], free["id"]: [200] * 3, plain["id"]: [200, 200, 429]}
        assert replies[strict["id"]][0].headers["x-ratelimit-limit-requests"] == "1"
        assert "x-ratelimit-limit-requests" not in replies[free["id"]][0].headers
        assert replies[strict["id"]][1].json()["error"]["code"] == "rate_limit_exceeded"
        change(cat, strict, rate_limit_per_minute=5)
        assert ask(cat, strict).headers["x-ratelimit-limit-requests"] == "5"

    def test_the_end_users_of_a_service_are_counted_apart(self, cat: Cat, somebody: str) -> None:
        made = make_key(cat, service=True, rate_limit_per_minute=1)
        people = (somebody, f"{somebody}2", somebody)
        assert [ask(cat, made, user=person).status_code for person in people] == [200, 200, 429]
        with (
            OpenAI(base_url=cat.base_url, api_key=made["value"], max_retries=0) as client,
            pytest.raises(RateLimitError),
        ):
            client.chat.completions.create(
                model="cheshire-cat", user=somebody, messages=[{"role": "user", "content": "hi"}]
            )


class TestStorage:
    def test_keys_and_what_is_known_of_them_outlive_a_restart(self, cat: Cat, until: Callable[..., None]) -> None:
        kept, gone = make_key(cat, tokens_per_day=100_000), make_key(cat)
        ask(cat, kept, script(say="ok"))
        cat.http.delete(f"/custom/keys/{gone['id']}").raise_for_status()
        until(lambda: retrieve(cat, kept)["tokens_today"] and retrieve(cat, kept)["last_used_at"], "it is counted")
        time.sleep(0.6)  # Neither Cat tells when all is written; a crash may lose as much.
        before = retrieve(cat, kept)
        cat.restart()
        assert retrieve(cat, kept) == before
        assert ask(cat, kept).status_code == 200
        assert ask(cat, gone).status_code == 401

    def test_when_a_key_was_used_last(self, cat: Cat) -> None:
        made = make_key(cat)
        assert retrieve(cat, made)["last_used_at"] is None
        httpx.get(f"{cat.url}/custom/v1/models", headers=bearer(made["value"][:-1] + "_"))
        assert retrieve(cat, made)["last_used_at"] is None
        httpx.get(f"{cat.url}/custom/v1/models", headers=bearer(made))
        assert abs(retrieve(cat, made)["last_used_at"] - time.time()) < 30

    @contextmanager
    def without_rows(self, cat: Cat) -> Iterator[None]:
        """Inside, the plugin's table cannot be read, as in a damaged file."""
        (path,) = cat.home.rglob("*.db")

        def rename(old: str, new: str) -> None:
            with closing(sqlite3.connect(path, timeout=30)) as database, database:
                database.execute(f"ALTER TABLE {old} RENAME TO {new}")

        rename("openai_api_rows", "lost_rows")
        try:
            yield
        finally:
            rename("lost_rows", "openai_api_rows")

    def test_with_a_damaged_storage_known_keys_go_on_and_the_log_says_so(
        self, cat: Cat, until: Callable[..., None]
    ) -> None:
        made, disabled = make_key(cat, tokens_per_day=100_000), make_key(cat)
        change(cat, disabled, enabled=False)
        assert ask(cat, made).status_code == 200
        start = len(cat.log())
        with self.without_rows(cat):
            until(lambda: "keys cannot be read" in cat.log()[start:], "the log says so")
            assert [ask(cat, made).status_code for _ in range(3)] == [200] * 3
            assert ask(cat, disabled).status_code == 401
            assert ask(cat, f"sk-cat-{'0' * 16}_{'0' * 64}").status_code == 401
            reply = cat.http.post("/custom/keys", json={"name": "new"})
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "storage_failed")
            reply = cat.http.delete(f"/custom/keys/{made['id']}")
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "storage_failed")
        assert cat.log()[start:].count("keys cannot be read") == 1
        until(lambda: ask(cat, made) and "keys can be read again" in cat.log()[start:], "it is read again", timeout=15)
        assert make_key(cat)

    def test_the_log_says_what_admins_do_and_no_secret(self, cat: Cat) -> None:
        start = len(cat.log())
        made = make_key(cat, "a name\nwith a line of its own")
        change(cat, made, enabled=False)
        cat.http.delete(f"/custom/keys/{made['id']}")
        log = cat.log()[start:]
        for done in ("made", "changed", "deleted"):
            assert f"OpenAI API: the key {made['id']} was {done}" in log
        assert "line of its own" not in log


class TestTheCatsOwnKey:
    def cat_with(self, home: Path, key: str, host: str) -> Cat:
        class WithKey(type(make_cat(home.with_name("unused")))):  # type: ignore[misc]
            def _prepare(self, starters: tuple[str, ...]) -> None:
                super()._prepare(starters)
                if WHICH == "2":
                    config = self.home / "config.py"
                    config.write_text(config.read_text("utf-8") + f"\nAPI_KEY = {key!r}\n", "utf-8")

            def _environment(self) -> dict[str, str]:
                return {**super()._environment(), **({} if WHICH == "2" else {"CCAT_API_KEY": key})}

            def _command(self) -> list[str]:
                return [host if part in ("127.0.0.1", "0.0.0.0") else part for part in super()._command()]

        cat: Cat = WithKey(home)
        cat.http.headers["Authorization"] = f"Bearer {key}"
        return cat

    def test_the_one_that_it_came_with_is_in_the_log_once(self, tmp_path: Path, until: Callable[..., None]) -> None:
        said = 'his Cat has the API key "meow", which everybody knows'
        cat = self.cat_with(tmp_path / "home", "meow", "0.0.0.0")
        cat.start()
        try:
            until(lambda: said in cat.log(), "the log says so", timeout=15)
            assert said in cat.http.get("/custom/keys").json()["warning"]
            assert cat.log().count(said) == 1
        finally:
            cat.stop()

    @pytest.mark.parametrize(
        ("key", "address", "is_open", "said"),
        [
            ("meow", "0.0.0.0", False, 'the API key "meow"'),
            ("meow", "::", False, 'the API key "meow"'),
            ("meow", "127.0.0.1", False, None),
            ("meow", "::1", False, None),
            ("another", "0.0.0.0", False, None),
            (None, "0.0.0.0", False, None),
            (None, "0.0.0.0", True, "no API key"),
            (None, "127.0.0.1", True, None),
        ],
    )
    def test_what_is_said_of_it(self, key: str | None, address: str, is_open: bool, said: str | None) -> None:
        host: Any = SimpleNamespace(api_key=lambda: key, is_open_without_key=is_open)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as listening:
            listening.bind((address, 0))
            assert asyncio.run(key_warning(host)) is None
            listening.listen()
            warning = asyncio.run(key_warning(host))
        assert warning is said is None or (said or "") in (warning or "")
        assert (warning is None) == (said is None)

    @pytest.mark.skipif(WHICH == "2", reason="Cheshire Cat 2 is never open")
    def test_a_cat_without_one_is_open_but_not_to_a_wrong_key_of_this_api(
        self, upstream: Upstream, tmp_path: Path, tag: str, somebody: str, until: Callable[..., None]
    ) -> None:
        cat = self.cat_with(tmp_path / "home", "", "0.0.0.0")
        del cat.http.headers["Authorization"]
        cat.start()
        try:
            cat.use_llm(upstream.base_url)
            made = make_key(cat, end_user=somebody)
            assert who(cat, made, upstream, tag, user="bob") == somebody
            for path in ("/custom/keys", "/custom/metrics"):
                assert httpx.get(cat.url + path, headers=bearer(made)).status_code == 403
            change(cat, made, enabled=False)
            for value in (made["value"], made["value"][:-1] + "_", "sk-cat-nothing"):
                for path in ("/custom/v1/models", "/custom/keys"):
                    for scheme in ("Bearer", "bearer", "Token", ""):
                        headers = {"Authorization": f"{scheme} {value}".strip()}
                        assert httpx.get(cat.url + path, headers=headers).status_code == 401
            until(lambda: "this Cat has no API key" in cat.log(), "the log says so", timeout=15)
        finally:
            cat.stop()

    def test_one_that_begins_like_a_key_of_this_api_stays_that_of_the_cat(self) -> None:
        master = "sk-cat-of-the-admin"

        async def authenticate(*_: Any) -> str:
            return "the Cat"

        host: Any = SimpleNamespace(api_key=lambda: master, authenticate=authenticate)

        class NoKeys(KeyStore):
            async def find(self, value: str) -> None:
                return None

        async def caller(credential: str) -> Any:
            headers = [(b"authorization", f"Bearer {credential}".encode())]
            connection = HTTPConnection({"type": "http", "headers": headers})
            return await Authentication(host, NoKeys(host)).authenticate(connection, Access.ADMIN)

        assert asyncio.run(caller(master)) == "the Cat"
        with pytest.raises(InvalidApiKey):
            asyncio.run(caller(f"{master}2"))


class TestTheStore:
    """Of one Cat, on a storage that counts what it is asked."""

    class Storage:
        def __init__(self) -> None:
            self.calls = 0
            self.rows: dict[str, Any] = {}

        async def load(self, collection: Any, owner: str, key: str) -> None:
            self.calls += 1

        async def keys(self, collection: Any, owner: str) -> list[str]:
            self.calls += 1
            return [*self.rows]

        async def load_many(self, collection: Any, owner: str, keys: Sequence[str]) -> dict[str, Any]:
            self.calls += 1
            return {key: SimpleNamespace(value=self.rows[key]) for key in keys}

        async def insert(self, collection: Any, owner: str, key: str, value: Any) -> bool:
            self.rows[key] = value
            return True

        async def update(self, *_: Any) -> None: ...

    @pytest.fixture
    def storage(self) -> "TestTheStore.Storage":
        return self.Storage()

    def run(self, storage: "TestTheStore.Storage", work: Callable[[KeyStore, str], Coroutine[Any, Any, None]]) -> None:
        """Work with a store, and the value of a key in it."""

        async def with_store() -> None:
            host: Any = SimpleNamespace(storage=storage, log_info=lambda _: None, log_error=lambda _: None)
            store = KeyStore(host)
            _, value = await store.create(ApiKey("", "x", "", "", 0))
            try:
                await work(store, value)
            finally:
                await store.close()

        asyncio.run(with_store())

    def test_the_storage_is_not_read_for_each_request(self, storage: "TestTheStore.Storage") -> None:
        async def work(store: KeyStore, value: str) -> None:
            before = storage.calls
            for _ in range(1000):
                assert await store.find(value)
            assert storage.calls - before <= 2

        self.run(storage, work)

    def test_unknown_keys_share_their_looks_into_the_storage(self, storage: "TestTheStore.Storage") -> None:
        async def work(store: KeyStore, value: str) -> None:
            before = storage.calls
            wrong = [value[:-1] + "_", f"sk-cat-{'0' * 16}_{'0' * 64}", "sk-cat-"]
            assert {*await asyncio.gather(*(store.find(wrong[number % 3]) for number in range(300)))} == {None}
            assert storage.calls - before <= 4

        self.run(storage, work)
