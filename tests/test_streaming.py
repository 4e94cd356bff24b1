"""Streams: order of chunks, headers, latency, keep-alive comments, disconnects."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from host import Cat
from openai import OpenAI
from upstream import Upstream, script


def body_for(text: str, **options: Any) -> dict[str, Any]:
    return {
        "model": "cheshire-cat",
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        **options,
    }


def events(text: str) -> list[Any]:
    """The parsed data of the stream's events, without [DONE]."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]
    return [json.loads(line) if line != "[DONE]" else line for line in lines]


def test_chunks_have_openais_order(http: httpx.Client) -> None:
    reply = http.post("/v1/chat/completions", json=body_for(script(say=["a", " b"])))
    *chunks, done = events(reply.text)
    assert done == "[DONE]"
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "a"},
        {"content": " b"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert {(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks} == {
        (chunks[0]["id"], chunks[0]["created"], "cheshire-cat", "chat.completion.chunk")
    }
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_is_last_if_requested(http: httpx.Client, tag: str) -> None:
    request = body_for("one two", stream_options={"include_usage": True}, store=False, user=tag)
    *chunks, last, done = events(http.post("/v1/chat/completions", json=request).text)
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    whole = http.post("/v1/chat/completions", json={**request, "stream": False}).json()
    assert last["usage"] == whole["usage"]
    assert last["usage"]["completion_tokens"] == 2


def test_the_headers_disable_buffering_in_proxies(http: httpx.Client) -> None:
    headers = http.post("/v1/chat/completions", json=body_for("hi")).headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-request-id"].startswith("req_")


def test_each_chunk_is_sent_when_its_token_arrives(client: OpenAI, upstream: Upstream, tag: str) -> None:
    """The client has each token while the LLM still waits before the next one."""
    text = script(tag=tag, say=["one", " two", " three"], delay=0.4)
    sent_when_read: list[tuple[str, int]] = []
    chunks = client.chat.completions.create(
        model="cheshire-cat", messages=[{"role": "user", "content": text}], stream=True
    )
    for chunk in chunks:
        if content := chunk.choices[0].delta.content:
            (record,) = upstream.requests(tag)
            sent_when_read.append((content, record["chunks_sent"]))
    assert sent_when_read == [("one", 1), (" two", 2), (" three", 3)]


def test_a_fast_llm_is_read_while_it_sends(
    http: httpx.Client, settings: Callable[..., None], upstream: Upstream, tag: str
) -> None:
    """The client has the first text while the LLM, which does not pause, still has most of its reply to send."""
    settings(max_tokens=0)
    request = body_for(script("hi", tag=tag, say=" word", repeat=100_000))
    with http.stream("POST", "/v1/chat/completions", json=request) as reply:
        next(chunk for chunk in reply.iter_text() if " word" in chunk)
        (record,) = upstream.requests(tag)
    assert record["state"] == "running"
    upstream.wait(tag, state="left", timeout=2)


def test_comments_keep_the_connection_open_before_the_first_token(http: httpx.Client) -> None:
    request = body_for(script(say=["at last"], first_delay=12))
    text = http.post("/v1/chat/completions", json=request).text
    thinking = text[: text.index("at last")]
    assert thinking.index('"role":"assistant"') < thinking.index(": keep-alive\n\n")
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in events(text)[:-1]) == "at last"


def test_without_streaming_a_stream_has_all_content_in_one_chunk(
    http: httpx.Client, settings: Callable[..., None]
) -> None:
    settings(enable_streaming=False)
    *chunks, done = events(http.post("/v1/chat/completions", json=body_for(script(say=["a", " b"]))).text)
    assert done == "[DONE]"
    contents = [chunk["choices"][0]["delta"].get("content") for chunk in chunks]
    assert contents == ["", "a b", None]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_client_that_disconnects_ends_the_run_within_a_second(
    http: httpx.Client, upstream: Upstream, tag: str
) -> None:
    text = script(tag=tag, say=["tick "], repeat=200, delay=0.1)
    with http.stream("POST", "/v1/chat/completions", json=body_for(text)) as reply:
        next(chunk for chunk in reply.iter_text() if "tick" in chunk)
    upstream.wait(tag, state="left", timeout=1)


def test_a_client_that_disconnects_without_streaming_ends_the_run(
    http: httpx.Client, upstream: Upstream, tag: str
) -> None:
    text = script(tag=tag, say=["tick "], repeat=200, delay=0.1)
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/chat/completions", json=body_for(text, stream=False), timeout=0.5)
    upstream.wait(tag, state="left", timeout=1)


def test_a_client_that_disconnects_before_the_first_token_ends_the_run(
    http: httpx.Client, upstream: Upstream, tag: str
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/chat/completions", json=body_for(script(tag=tag, hang=True)), timeout=0.5)
    upstream.wait(tag, state="left", timeout=1)


def test_a_client_that_disconnects_while_comments_are_sent_ends_the_run(
    http: httpx.Client, upstream: Upstream, tag: str
) -> None:
    with http.stream("POST", "/v1/chat/completions", json=body_for(script(tag=tag, hang=True))) as reply:
        next(reply.iter_text())
    upstream.wait(tag, state="left", timeout=1)


def test_no_asyncio_task_is_left_running(
    cat: Cat, http: httpx.Client, upstream: Upstream, tag: str, until: Callable[..., None]
) -> None:
    http.post("/v1/chat/completions", json=body_for("warm up"))
    before = cat.tasks()
    for _ in range(5):
        with http.stream(
            "POST", "/v1/chat/completions", json=body_for(script(tag=tag, say=["x"], repeat=100, delay=0.05))
        ) as reply:
            next(reply.iter_text())
    upstream.wait(tag, count=5, state="left", timeout=2)
    until(lambda: len(cat.tasks()) <= len(before), "the Cat's tasks have ended")
