"""The reply is the final text of the Cat's pipeline, whatever plugins sent to the client before it."""

from typing import Any

import httpx
import pytest
from asking import body, user
from host import WHICH
from openai import OpenAI
from upstream import Upstream, script

pytestmark = pytest.mark.skipif(WHICH == "2", reason="plugins of Cheshire Cat 1.9")

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"

ANNOUNCED = "Searching ..."

DIRECT = script("[procedures] look it up in wonderland", say='{"action": "library", "action_input": "cats"}')

CASES = [
    pytest.param("Search quickly!", f"{ANNOUNCED}\n\n", "Found it in a hurry.", id="a fast reply"),
    pytest.param(DIRECT, f"{ANNOUNCED}\n\n", "It is on page {7}.", id="a tool that replies directly"),
    pytest.param(script("Announce", say=["one ", "two"]), f"{ANNOUNCED}\n\n", "one two", id="before the LLM's reply"),
    pytest.param(script("Ponder", say=["one ", "two"]), "", "one two", id="a plugin's LLM says the reply"),
    pytest.param(script("Ponder and conclude", say=["one ", "two"]), "one two\n\n", "So: one two", id="and more"),
    pytest.param(
        script("Ponder after an announcement", say=["one ", "two"]), f"{ANNOUNCED}\n\n", "one two", id="after another"
    ),
]
"""A question, what a stream has before the reply, and the reply."""


def chat(text: str, **more: Any) -> dict[str, Any]:
    return body(user(text), **more)


def streamed(client: OpenAI, text: str, **more: Any) -> str:
    chunks = client.chat.completions.create(**chat(text, **more), stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.mark.parametrize(("text", "before", "reply"), CASES)
class TestInEachForm:
    def test_chat(self, client: OpenAI, text: str, before: str, reply: str) -> None:
        assert client.chat.completions.create(**chat(text)).choices[0].message.content == reply
        assert streamed(client, text) == before + reply

    def test_completions(self, client: OpenAI, text: str, before: str, reply: str) -> None:
        options: Any = {"model": "cheshire-cat", "prompt": text}
        assert client.completions.create(**options).choices[0].text == reply
        chunks = client.completions.create(**options, stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks) == before + reply

    def test_responses(self, client: OpenAI, text: str, before: str, reply: str) -> None:
        options: Any = {"model": "cheshire-cat", "input": text}
        assert client.responses.create(**options).output_text == reply
        with client.responses.stream(**options) as stream:
            deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()
        assert "".join(deltas) == final.output_text == before + reply
        stored = client.responses.retrieve(final.id)
        assert stored.output_text == reply

    def test_message(self, http: httpx.Client, somebody: str, text: str, before: str, reply: str) -> None:
        assert http.post("/message", json={"text": text, "user_id": somebody}).json()["text"] == reply

    def test_stop_sequences_and_limits_are_for_the_reply(
        self, client: OpenAI, text: str, before: str, reply: str
    ) -> None:
        whole = client.chat.completions.create(**chat(text, stop=["."])).choices[0]
        assert whole.message.content == reply.split(".", maxsplit=1)[0]
        assert "." not in streamed(client, text, stop=["."])
        assert streamed(client, text, stop=["."]).endswith(reply.split(".", maxsplit=1)[0])
        cut = client.chat.completions.create(**chat(text, max_tokens=2)).choices[0]
        assert cut.finish_reason == ("length" if reply != "one two" else "stop")
        assert reply.startswith(cut.message.content or "")
        assert streamed(client, text, max_tokens=2).endswith(cut.message.content or "")


def test_the_llms_reply_ends_the_run_at_a_limit_and_a_plugins_text_does_not(
    client: OpenAI, upstream: Upstream, tag: str
) -> None:
    many = [f"word{n} " for n in range(200)]
    text = script("Announce", tag=tag, say=many, delay=0.01)
    assert client.chat.completions.create(**chat(text, max_tokens=3)).choices[0].finish_reason == "length"
    (record,) = upstream.wait(tag)
    assert record["state"] == "left"
    text = script("Ponder and conclude", tag=f"{tag}2", say=many[:20])
    cut = client.chat.completions.create(**chat(text, max_tokens=3)).choices[0]
    assert (cut.message.content, cut.finish_reason) == ("So: word", "length")
    (record,) = upstream.wait(f"{tag}2")
    assert record["state"] == "finished"


def test_a_reply_in_json_is_the_final_text_alone(client: OpenAI) -> None:
    text = script("Announce", say='{"a": 1}')
    format: Any = {"type": "json_object"}
    assert client.chat.completions.create(**chat(text, response_format=format)).choices[0].message.content == '{"a": 1}'
    assert streamed(client, text, response_format=format) == '{"a": 1}'
