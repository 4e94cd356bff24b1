"""Usage: as the LLM reported it, or counted."""

import json
from typing import Any

import httpx
import pytest
from host import needs_agents
from upstream import Upstream, script

REPORTED: dict[str, Any] = {
    "prompt_tokens": 1100,
    "completion_tokens": 220,
    "total_tokens": 1330,
    "prompt_tokens_details": {"cached_tokens": 1024},
    "completion_tokens_details": {"reasoning_tokens": 192},
}


def usage(
    http: httpx.Client,
    *,
    stream: bool,
    model: str = "cheshire-cat",
    max_tokens: int | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """`fields` are of the script."""
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    messages = [{"role": "user", "content": script("Hello there.", **fields)}]
    body = {"model": model, "messages": messages, "max_tokens": max_tokens, **options}
    reply = http.post("/v1/chat/completions", json=body).raise_for_status()
    if not stream:
        found: dict[str, Any] = reply.json()["usage"]
        return found
    *_, last, done = [line.removeprefix("data: ") for line in reply.text.split("\n") if line.startswith("data: ")]
    assert done == "[DONE]"
    chunk = json.loads(last)
    assert chunk["choices"] == []
    streamed: dict[str, Any] = chunk["usage"]
    return streamed


both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both_ways
def test_what_the_llm_reports_is_what_the_client_gets(http: httpx.Client, stream: bool) -> None:
    assert usage(http, stream=stream, say="Hello.", reported_usage=REPORTED) == REPORTED


@both_ways
def test_unreported_details_are_left_out(http: httpx.Client, stream: bool) -> None:
    plain = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    assert usage(http, stream=stream, say="Hello.", reported_usage=plain) == plain


@needs_agents
@both_ways
def test_usage_is_the_sum_of_all_llm_calls_of_a_run(http: httpx.Client, stream: bool) -> None:
    inner = script(say="No room!", reported_usage={**REPORTED, "completion_tokens": 1})
    turns = [
        {
            "tool_calls": [{"name": "ask_the_hatter", "arguments": {"question": inner}}],
            "reported_usage": REPORTED,
        },
        {"say": ["No room."], "reported_usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
    ]
    assert usage(http, stream=stream, model="cheshire-cat:alice", turns=turns) == {
        "prompt_tokens": 1100 + 1100 + 3,
        "completion_tokens": 220 + 1 + 2,
        "total_tokens": 1330 + 1330 + 5,
        "prompt_tokens_details": {"cached_tokens": 2048},
        "completion_tokens_details": {"reasoning_tokens": 384},
    }


@both_ways
def test_tokens_are_counted_if_the_llm_reports_none(http: httpx.Client, stream: bool) -> None:
    counted = usage(http, stream=stream, say=["One", " two", " three"], usage=False)
    assert counted["completion_tokens"] == 3
    assert counted["total_tokens"] == counted["prompt_tokens"] + 3


@both_ways
def test_tokens_of_a_cut_reply_are_counted(http: httpx.Client, stream: bool) -> None:
    said = ["One", " two", " three"]
    cut = usage(http, stream=stream, max_tokens=2, say=said, reported_usage=REPORTED)
    assert cut["completion_tokens"] == 2


def test_a_server_that_refuses_stream_options_gets_a_second_request_without_it(
    http: httpx.Client, upstream: Upstream, tag: str
) -> None:
    counted = usage(http, stream=True, tag=tag, say=["One", " two"], reject=["stream_options"], usage=False)
    assert counted["completion_tokens"] == 2
    records = upstream.wait(tag, count=2)
    assert ["stream_options" in record["body"] for record in records] == [True, False]
