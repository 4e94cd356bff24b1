"""Stop sequences, compared with a simple reference implementation, and over HTTP."""

from typing import Any

import httpx
import pytest
from bridge.cat_openai_api.generation.stop_sequences import StopSequences
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI
from upstream import Upstream, script

LETTERS = st.text(st.sampled_from("abAB🐱\n"), max_size=12)


def reference(text: str, stops: list[str]) -> tuple[str, bool]:
    """Search the whole text after each character."""
    for end in range(1, len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            return text[: end - max(map(len, ended))], True
    return text, False


@settings(max_examples=1000)
@given(
    pieces=st.lists(LETTERS, max_size=8),
    stops=st.lists(st.text(st.sampled_from("abAB🐱\n"), min_size=1, max_size=4), max_size=4),
)
def test_the_text_ends_at_the_first_stop_sequence_however_it_is_chunked(pieces: list[str], stops: list[str]) -> None:
    sequences = StopSequences(stops)
    passed, stopped = "", False
    for piece in pieces:
        allowed, stopped = sequences.feed(piece)
        passed += allowed
        if stopped:
            break
    if not stopped:
        passed += sequences.flush()
    assert (passed, stopped) == reference("".join(pieces), stops)


@pytest.mark.parametrize(
    ("pieces", "stop", "expected"),
    [
        (["one ", "END", " two"], "END", "one "),
        (["one E", "N", "D two"], ["X", "END"], "one "),
        (["one E", "N", "Dless"], ["ENDE"], "one ENDless"),
        (["one EN"], ["END"], "one EN"),
        (["a🐱", "‍👩b"], ["🐱‍👩"], "a"),
        (["END"], "END", ""),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_ends_before_a_stop_sequence(
    client: OpenAI, pieces: list[str], stop: Any, expected: str, stream: bool
) -> None:
    messages: Any = [{"role": "user", "content": script("hi", say=pieces)}]
    if stream:
        chunks = list(client.chat.completions.create(model="cheshire-cat", messages=messages, stop=stop, stream=True))
        said, reason = "".join(chunk.choices[0].delta.content or "" for chunk in chunks), chunks[-1].choices[0]
    else:
        completion = client.chat.completions.create(model="cheshire-cat", messages=messages, stop=stop)
        said, reason = completion.choices[0].message.content or "", completion.choices[0]
    assert (said, reason.finish_reason) == (expected, "stop")


def test_a_stop_sequence_ends_the_request_to_the_llm(http: httpx.Client, upstream: Upstream, tag: str) -> None:
    text = script("hi", tag=tag, say=["one ", "END ", "two "], repeat=100, delay=0.05)
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": text}], "stop": "END"}
    assert http.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"] == "one "
    upstream.wait(tag, state="left", timeout=1)


@pytest.mark.parametrize(
    ("stop", "param"), [("", "stop"), ([""], "stop[0]"), (["a"] * 5, "stop"), (7, "stop"), ([7], "stop[0]")]
)
def test_an_invalid_stop_is_400(http: httpx.Client, stop: Any, param: str) -> None:
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}], "stop": stop}
    reply = http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert (reply.json()["error"]["code"], reply.json()["error"]["param"]) == ("invalid_value", param)


def test_a_token_limit_before_a_stop_sequence_applies_first(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model="cheshire-cat",
        messages=[{"role": "user", "content": script("hi", say=["one", " two", " three", " END"])}],
        stop="END",
        max_tokens=2,
    )
    assert completion.choices[0].message.content == "one two"
    assert completion.choices[0].finish_reason == "length"
