"""The rate limit and the token limit."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from asking import chat_body
from host import Cat
from openai import OpenAI, RateLimitError
from upstream import Upstream, script

LIMIT = "x-ratelimit-limit-requests"
REMAINING = "x-ratelimit-remaining-requests"
RESET = "x-ratelimit-reset-requests"


def test_each_end_user_has_so_many_requests_in_a_minute(
    http: httpx.Client, settings: Callable[..., None], somebody: str
) -> None:
    settings(rate_limit_per_minute=3)
    replies = [
        http.post("/v1/chat/completions", json=chat_body(user=somebody)),
        http.post("/v1/chat/completions", json=chat_body(user=somebody, stream=True)),
        http.post("/message", json={"text": "hi", "user_id": somebody}),
    ]
    assert [reply.status_code for reply in replies] == [200, 200, 200]
    assert [reply.headers[REMAINING] for reply in replies] == ["2", "1", "0"]
    assert {reply.headers[LIMIT] for reply in replies} == {"3"}
    for route, body in [
        ("/v1/chat/completions", chat_body(user=somebody)),
        ("/v1/chat/completions", chat_body(user=somebody, stream=True)),
        ("/message", {"text": "hi", "user_id": somebody}),
    ]:
        refused = http.post(route, json=body)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert 50 <= int(refused.headers["retry-after"]) <= 60
        assert refused.headers[REMAINING] == "0"
        assert refused.headers[RESET].removesuffix("s").isdecimal() or refused.headers[RESET] == "1m0s"
    other = http.post("/v1/chat/completions", json=chat_body(user=somebody + "'s friend"))
    assert (other.status_code, other.headers[REMAINING]) == (200, "2")


def test_a_refused_request_reaches_no_llm(
    http: httpx.Client, settings: Callable[..., None], somebody: str, upstream: Upstream, tag: str
) -> None:
    settings(rate_limit_per_minute=1)
    for _ in range(3):
        http.post("/v1/chat/completions", json=chat_body(script(tag=tag, say="ok"), user=somebody))
    assert len(upstream.wait(tag)) == 1


def test_a_jwt_has_one_count_whatever_the_field_user_is(cat: Cat, settings: Callable[..., None], somebody: str) -> None:
    settings(rate_limit_per_minute=2)
    headers = {"Authorization": f"Bearer {cat.token(somebody)}"}
    statuses = [
        httpx.post(f"{cat.base_url}/chat/completions", json=chat_body(user=name), headers=headers).status_code
        for name in ("a", "b", "c")
    ]
    assert statuses == [200, 200, 429]


def test_an_invalid_request_is_not_counted_and_carries_the_headers(
    cat: Cat, settings: Callable[..., None], somebody: str
) -> None:
    settings(rate_limit_per_minute=2)
    headers = {"Authorization": f"Bearer {cat.token(somebody)}"}
    for _ in range(3):
        reply = httpx.post(f"{cat.base_url}/chat/completions", json={}, headers=headers)
        assert (reply.status_code, reply.headers[LIMIT], reply.headers[REMAINING]) == (400, "2", "2")


def test_zero_is_no_limit(http: httpx.Client, settings: Callable[..., None], somebody: str) -> None:
    settings(rate_limit_per_minute=0)
    reply = http.post("/v1/chat/completions", json=chat_body(user=somebody))
    assert reply.status_code == 200
    assert LIMIT not in reply.headers


def test_the_sdk_sees_a_rate_limit_error(client: OpenAI, settings: Callable[..., None], somebody: str) -> None:
    settings(rate_limit_per_minute=1)
    options: Any = {"model": "cheshire-cat", "user": somebody, "messages": [{"role": "user", "content": "hi"}]}
    client.chat.completions.create(**options)
    with pytest.raises(RateLimitError) as refused:
        client.chat.completions.create(**options)
    assert refused.value.code == "rate_limit_exceeded"


WORDS = ["one", " two", " three", " four", " five", " six"]
"""A token each."""


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_token_limit_cuts_the_reply_and_ends_the_request_to_the_llm(
    http: httpx.Client, upstream: Upstream, tag: str, name: str, stream: bool
) -> None:
    text = script(tag=tag, say=WORDS, repeat=50, delay=0.02)
    body = chat_body(text, stream=stream, stream_options={"include_usage": True}, **{name: 4})
    reply = http.post("/v1/chat/completions", json=body)
    assert '"finish_reason":"length"' in reply.text
    assert '"completion_tokens":4' in reply.text
    if stream:
        assert " four" in reply.text
        assert " five" not in reply.text
    else:
        assert reply.json()["choices"][0]["message"]["content"] == "one two three four"
    (record,) = upstream.wait(tag, state="left", timeout=1)
    assert record["chunks_sent"] < 20


def test_a_limit_in_the_middle_of_a_chunk_cuts_the_chunk(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model="cheshire-cat",
        messages=[{"role": "user", "content": script(say="one two three four five six")}],
        max_tokens=2,
    )
    assert completion.choices[0].message.content == "one two"
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 2


def test_a_reply_of_exactly_the_limit_has_the_finish_reason_stop(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model="cheshire-cat", messages=[{"role": "user", "content": script(say=WORDS)}], max_tokens=6
    )
    assert completion.choices[0].message.content == "one two three four five six"
    assert completion.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(("setting", "asked", "expected"), [(3, None, 3), (3, 2, 2), (3, 5, 3), (0, 5, 5), (3, -1, 3)])
def test_the_smaller_limit_of_setting_and_request_applies(
    client: OpenAI, settings: Callable[..., None], setting: int, asked: int | None, expected: int
) -> None:
    settings(max_tokens=setting)
    completion = client.chat.completions.create(
        model="cheshire-cat",
        messages=[{"role": "user", "content": script(say=WORDS, repeat=10)}],
        max_tokens=asked,
    )
    assert completion.choices[0].message.content == "".join(WORDS[:expected])
    assert completion.choices[0].finish_reason == "length"


def test_without_a_limit_a_long_reply_is_complete(client: OpenAI, settings: Callable[..., None]) -> None:
    settings(max_tokens=0)
    completion = client.chat.completions.create(
        model="cheshire-cat", messages=[{"role": "user", "content": script(say=WORDS, repeat=1000)}]
    )
    assert completion.choices[0].message.content == "".join(WORDS) * 1000


def test_the_limit_applies_to_messages(http: httpx.Client, settings: Callable[..., None]) -> None:
    settings(max_tokens=2)
    assert http.post("/message", json={"text": script(say=WORDS)}).json()["text"] == "one two"
