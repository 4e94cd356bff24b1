"""Budgets of keys: tokens in a day, counted with what was used, also by several requests and several Cats at once."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import httpx
import pytest
from asking import chat_body
from host import Cat, needs_agents
from openai import OpenAI, RateLimitError
from upstream import Upstream, script
from websockets.sync.client import ClientConnection, connect

CHAT = "/v1/chat/completions"
REPORTED = {"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100}
HUNDRED = script(say="ok", reported_usage=REPORTED)
"""Has the LLM report 100 tokens."""


@pytest.fixture
def make_key(cat: Cat) -> Callable[..., dict[str, Any]]:
    def make(tokens_per_day: int | None, **fields: Any) -> dict[str, Any]:
        body = {"name": "budget", "tokens_per_day": tokens_per_day, **fields}
        made: dict[str, Any] = cat.http.post("/custom/keys", json=body).raise_for_status().json()
        return made

    return make


def ask(cat: Cat, key: dict[str, Any], text: str = HUNDRED, path: str = CHAT, **more: Any) -> httpx.Response:
    body = {"/message": {"text": text}, CHAT: chat_body(text)}.get(path, {"model": "cheshire-cat"})
    body |= {
        "/v1/completions": {"prompt": text},
        "/v1/responses": {"input": text},
        "/v1/embeddings": {"input": text},
    }.get(path, {}) | more
    headers = {"Authorization": f"Bearer {key['value']}"}
    return httpx.post(f"{cat.url}/custom{path}", json=body, headers=headers, timeout=60)


def used(cat: Cat, key: dict[str, Any]) -> int:
    tokens: int = cat.http.get(f"/custom/keys/{key['id']}").raise_for_status().json()["tokens_today"]
    return tokens


@pytest.fixture
def until_used(cat: Cat, until: Callable[..., None]) -> Callable[[dict[str, Any], int], None]:
    """Wait until a key has used so many tokens: streams are counted when their response has ended."""
    return lambda key, tokens: until(lambda: used(cat, key) == tokens, f"{tokens} tokens are used")


def many(cat: Cat, key: dict[str, Any], count: int, text: str = HUNDRED) -> list[int]:
    """The statuses of so many requests at once."""

    async def all_at_once() -> list[int]:
        headers = {"Authorization": f"Bearer {key['value']}"}
        async with httpx.AsyncClient(headers=headers, timeout=60) as client:
            asked = (client.post(f"{cat.url}/custom{CHAT}", json=chat_body(text)) for _ in range(count))
            return [reply.status_code for reply in await asyncio.gather(*asked)]

    return asyncio.run(all_at_once())


def test_a_budget_ends_with_the_request_that_uses_it_up(
    cat: Cat, make_key: Callable[..., Any], upstream: Upstream, tag: str
) -> None:
    key = make_key(250)
    assert [ask(cat, key).status_code for _ in range(3)] == [200] * 3
    reply = ask(cat, key, script(tag=tag))
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["code"]) == (429, "insufficient_quota", "insufficient_quota")
    now = datetime.now(timezone.utc)
    seconds = 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)
    assert abs(int(reply.headers["retry-after"]) - seconds) <= 5
    assert "250 tokens" in error["message"]
    assert "T00:00:00Z" in error["message"]
    assert used(cat, key) == 300
    assert upstream.requests(tag) == []


def test_the_official_sdk_does_not_try_again(cat: Cat, make_key: Callable[..., Any]) -> None:
    key = make_key(1)
    ask(cat, key)
    started = time.monotonic()
    with (
        OpenAI(base_url=cat.base_url, api_key=key["value"], max_retries=5) as client,
        pytest.raises(RateLimitError) as raised,
    ):
        client.chat.completions.create(model="cheshire-cat", messages=[{"role": "user", "content": "hi"}])
    assert raised.value.code == "insufficient_quota"
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/v1/completions", "/message", "/v1/embeddings"])
def test_all_that_uses_tokens_counts(cat: Cat, make_key: Callable[..., Any], path: str) -> None:
    key = make_key(1)
    more = {"model": "cheshire-cat-embedder"} if path == "/v1/embeddings" else {}
    reply = ask(cat, key, path=path, **more)
    assert reply.status_code == 200, reply.text
    assert used(cat, key) == (reply.json()["usage"]["total_tokens"] if more else 100)
    reply = ask(cat, key, path=path, **more)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "insufficient_quota")
    assert ask(cat, key).status_code == 429


def test_a_turn_on_a_web_socket_counts_and_its_key_is_looked_at_in_each(
    cat: Cat, make_key: Callable[..., Any], until_used: Any
) -> None:
    key = make_key(150)
    place = cat.base_url.replace("http", "ws", 1) + "/responses"

    def turn(connection: ClientConnection, text: str = HUNDRED) -> dict[str, Any]:
        connection.send(json.dumps({"type": "response.create", "model": "cheshire-cat", "input": text}))
        while True:
            event: dict[str, Any] = json.loads(connection.recv(timeout=20))
            if event["type"] in ("error", "response.completed"):
                return event

    with connect(place, additional_headers={"Authorization": f"Bearer {key['value']}"}, proxy=None) as connection:
        assert [turn(connection)["type"] for _ in range(2)] == ["response.completed"] * 2
        until_used(key, 200)
        refused = turn(connection)
        assert (refused["status"], refused["error"]["code"]) == (429, "insufficient_quota")
        cat.http.post(f"/custom/keys/{key['id']}", json={"enabled": False}).raise_for_status()
        refused = turn(connection)
        assert (refused["status"], refused["error"]["code"]) == (401, "invalid_api_key")


def test_a_response_in_the_background_counts(cat: Cat, make_key: Callable[..., Any], until_used: Any) -> None:
    key = make_key(100)
    assert ask(cat, key, path="/v1/responses", background=True).json()["status"] == "queued"
    until_used(key, 100)
    assert ask(cat, key, path="/v1/responses", background=True).json()["error"]["code"] == "insufficient_quota"


def test_what_is_refused_or_read_costs_nothing(cat: Cat, make_key: Callable[..., Any], until_used: Any) -> None:
    key = make_key(1000)
    headers = {"Authorization": f"Bearer {key['value']}"}
    assert ask(cat, key, model="nobody").status_code == 404
    assert ask(cat, key, temperature=9).status_code == 400
    assert ask(cat, key, script(fail_status=500)).status_code == 502
    assert httpx.get(f"{cat.url}/custom/v1/models", headers=headers).status_code == 200
    assert used(cat, key) == 0
    assert [ask(cat, key).status_code for _ in range(11)] == [200] * 10 + [429]


def test_a_key_that_has_used_its_tokens_may_still_read(cat: Cat, make_key: Callable[..., Any]) -> None:
    key = make_key(1)
    response = ask(cat, key, path="/v1/responses").json()
    headers = {"Authorization": f"Bearer {key['value']}"}
    for path in ("models", f"responses/{response['id']}"):
        assert httpx.get(f"{cat.url}/custom/v1/{path}", headers=headers).status_code == 200


def test_a_stream_under_way_is_not_cut(cat: Cat, make_key: Callable[..., Any], until_used: Any) -> None:
    key = make_key(50)
    said = script(say=["a "], repeat=20, reported_usage={**REPORTED, "completion_tokens": 230, "total_tokens": 300})
    reply = ask(cat, key, said, stream=True)
    assert reply.text.count('"content":"a "') == 20
    assert reply.text.endswith("data: [DONE]\n\n")
    until_used(key, 300)
    assert ask(cat, key, stream=True).status_code == 429


def test_tokens_that_the_llm_does_not_report_are_counted(
    cat: Cat, make_key: Callable[..., Any], until_used: Any
) -> None:
    key = make_key(None)
    said = script(say=["one", " two"], usage=False)
    tokens = ask(cat, key, said).json()["usage"]["total_tokens"]
    assert used(cat, key) == tokens
    ask(cat, key, said, stream=True)
    until_used(key, 2 * tokens)


def test_thoughts_count(cat: Cat, make_key: Callable[..., Any]) -> None:
    """Some LLMs report them as tokens of the completion, some only in the total."""
    key = make_key(None)
    thoughts = {"completion_tokens_details": {"reasoning_tokens": 25}}
    ask(cat, key, script(say="ok", reported_usage={**REPORTED, **thoughts}))
    ask(cat, key, script(say="ok", reported_usage={**REPORTED, "total_tokens": 175, **thoughts}))
    assert used(cat, key) == 275


@needs_agents
def test_all_calls_of_a_run_count(cat: Cat, make_key: Callable[..., Any]) -> None:
    key = make_key(None)
    turns = [
        {"tool_calls": [{"name": "clock", "arguments": {}}], "reported_usage": REPORTED},
        {"say": ["Tea time."], "reported_usage": REPORTED},
    ]
    assert ask(cat, key, script(turns=turns), model="cheshire-cat:alice").status_code == 200
    assert used(cat, key) == 200


def test_a_client_that_leaves_pays_for_its_prompt_and_what_came(
    cat: Cat, make_key: Callable[..., Any], until: Callable[..., None]
) -> None:
    key = make_key(None)
    text = script("word " * 300, say=["one", " two", " three"], first_delay=0.5, delay=0.5)
    headers = {"Authorization": f"Bearer {key['value']}"}
    with httpx.stream("POST", f"{cat.url}/custom{CHAT}", json=chat_body(text, stream=True), headers=headers) as stream:
        next(line for line in stream.iter_lines() if "one" in line)
    until(lambda: used(cat, key) > 300, "the prompt is counted")
    before = used(cat, key)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{cat.url}/custom{CHAT}", json=chat_body(text), headers=headers, timeout=0.3)
    until(lambda: used(cat, key) > before + 300, "that of a client that has waited for the first token, too")


def test_requests_at_the_same_time_exceed_it_by_one_at_most(cat: Cat, make_key: Callable[..., Any]) -> None:
    key = make_key(1000)
    slow = script(say="ok", first_delay=0.1, reported_usage=REPORTED)
    statuses = many(cat, key, 40, slow)
    assert statuses.count(200) in (10, 11)
    assert statuses.count(429) == 40 - statuses.count(200)
    assert used(cat, key) == 100 * statuses.count(200)


def test_requests_wait_for_others_near_the_line(cat: Cat, make_key: Callable[..., Any]) -> None:
    """A small budget is used up, although the first request might have used all of it."""
    key = make_key(100)
    tiny = script(say="ok", first_delay=0.2, reported_usage={**REPORTED, "prompt_tokens": 10, "total_tokens": 40})
    assert sorted(many(cat, key, 5, tiny)) == [200, 200, 200, 429, 429]


def test_a_budget_is_changed_at_the_next_request(cat: Cat, make_key: Callable[..., Any]) -> None:
    key = make_key(None)

    def change(tokens: int | None) -> None:
        cat.http.post(f"/custom/keys/{key['id']}", json={"tokens_per_day": tokens}).raise_for_status()

    assert [ask(cat, key).status_code for _ in range(2)] == [200] * 2
    change(150)
    assert ask(cat, key).status_code == 429
    change(250)
    assert [ask(cat, key).status_code for _ in range(2)] == [200, 429]
    change(None)
    assert ask(cat, key).status_code == 200


def test_a_key_of_a_service_pays_for_all_its_end_users(cat: Cat, make_key: Callable[..., Any], somebody: str) -> None:
    key = make_key(200, service=True)
    people = (somebody, f"{somebody}2", f"{somebody}3")
    assert [ask(cat, key, user=person).status_code for person in people] == [200, 200, 429]


def test_one_key_does_not_pay_for_another(cat: Cat, make_key: Callable[..., Any], somebody: str) -> None:
    one, other = (make_key(100, end_user=somebody) for _ in range(2))
    assert [ask(cat, one).status_code for _ in range(2)] == [200, 429]
    assert ask(cat, other).status_code == 200
    assert cat.http.post(f"/custom{CHAT}", json=chat_body(user=somebody)).status_code == 200


def test_a_request_that_the_rate_limit_refuses_reserves_nothing(cat: Cat, make_key: Callable[..., Any]) -> None:
    key = make_key(10_000, rate_limit_per_minute=2)
    assert [ask(cat, key).status_code for _ in range(4)] == [200, 200, 429, 429]
    assert ask(cat, key).json()["error"]["code"] == "rate_limit_exceeded"
    assert used(cat, key) == 200
