"""The Cat's tool calls before its reply are shown with the setting `show_steps`."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from host import WHICH, Cat
from openai import OpenAI
from upstream import script

ON_CAT_2 = WHICH == "2"
MODEL = "cheshire-cat:alice" if ON_CAT_2 else "cheshire-cat"
STEPS = ["clock({})"] if ON_CAT_2 else ["bell(loud)", "Somebody is at the door."]


def question() -> str:
    """A message that makes the Cat use one of its tools, which on 1.9 also sends a notification."""
    if ON_CAT_2:
        return script(turns=[{"tool_calls": [{"name": "clock", "arguments": {}}]}, {"say": ["Tea ", "time."]}])
    return script("[procedures] ring the bell in wonderland", say='{"action": "bell", "action_input": "loud"}')


def messages() -> list[Any]:
    return [{"role": "user", "content": question()}]


@pytest.fixture(params=["auto", "always"], ids=["live", "after the hooks"])
def shown(request: pytest.FixtureRequest, settings: Callable[..., None]) -> None:
    settings(show_steps=True, stream_after_hooks=request.param)


@pytest.mark.usefixtures("shown")
class TestShown:
    def test_in_a_completion(self, client: OpenAI) -> None:
        message = client.chat.completions.create(model=MODEL, messages=messages()).choices[0].message
        assert message.model_extra == {"reasoning_content": "".join(f"{step}\n\n" for step in STEPS)}
        assert message.content
        assert not any(step in message.content for step in STEPS)

    def test_in_a_stream_before_the_first_text(self, client: OpenAI) -> None:
        steps, texts = [], []
        for chunk in client.chat.completions.create(model=MODEL, messages=messages(), stream=True):
            delta = chunk.choices[0].delta
            if step := (delta.model_extra or {}).get("reasoning_content"):
                assert not texts
                steps.append(step)
            elif delta.content:
                texts.append(delta.content)
        assert steps == [f"{step}\n\n" for step in STEPS]
        assert texts

    def test_in_a_response(self, client: OpenAI) -> None:
        reasoning, message = client.responses.create(model=MODEL, input=question()).output
        assert reasoning.type == "reasoning"
        assert [part.text for part in reasoning.summary] == STEPS
        assert message.type == "message"

    def test_in_the_events_of_a_response(self, http: httpx.Client) -> None:
        reply = http.post("/v1/responses", json={"model": MODEL, "input": question(), "stream": True})
        data = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
        events = [json.loads(line) for line in data]
        types = [event["type"].removeprefix("response.") for event in events]
        one = ["part.added", "text.delta", "text.done", "part.done"]
        steps = [
            "output_item.added",
            *(f"reasoning_summary_{type}" for type in one * len(STEPS)),
            "output_item.done",
        ]
        assert types[2 : 2 + len(steps)] == steps
        assert types[2 + len(steps)] == "output_item.added"
        assert [event["sequence_number"] for event in events] == [*range(len(events))]
        reasoning, message = events[-1]["response"]["output"]
        assert [part["text"] for part in reasoning["summary"]] == STEPS
        assert message["content"][0]["text"]

    def test_the_next_turn_continues_without_steps(self, client: OpenAI, somebody: str) -> None:
        one = client.responses.create(model=MODEL, input=question(), user=somebody)
        two = client.responses.create(
            model=MODEL, input=script(say="Well."), previous_response_id=one.id, user=somebody
        )
        assert two.output_text == "Well."


def test_steps_are_not_shown_by_default(client: OpenAI) -> None:
    message = client.chat.completions.create(model=MODEL, messages=messages()).choices[0].message
    assert not message.model_extra
    assert [item.type for item in client.responses.create(model=MODEL, input=question()).output] == ["message"]


@pytest.mark.skipif(ON_CAT_2, reason="messages of Cheshire Cat 1.9")
class TestWhatPluginsSendBesideTheReply:
    SENT = ("I am looking.", "This is {what} I found.", "And this.", "A thing is missing.", "Another is broken.")

    def test_it_is_shown(self, client: OpenAI, settings: Callable[..., None]) -> None:
        settings(show_steps=True)
        shown = "".join(f"{text}\n\n" for text in self.SENT)
        asked: list[Any] = [{"role": "user", "content": "Show me."}]
        message = client.chat.completions.create(model=MODEL, messages=asked).choices[0].message
        assert (message.content, message.model_extra) == ("Shall I go on?", {"reasoning_content": shown})
        deltas = [
            chunk.choices[0].delta for chunk in client.chat.completions.create(model=MODEL, messages=asked, stream=True)
        ]
        assert "".join(delta.content or "" for delta in deltas) == "Shall I go on?"
        assert "".join((delta.model_extra or {}).get("reasoning_content", "") for delta in deltas) == shown
        reasoning, reply = client.responses.create(model=MODEL, input="Show me.").output
        assert reasoning.type == "reasoning"
        assert tuple(part.text for part in reasoning.summary) == self.SENT
        assert reply.type == "message"

    def test_without_the_setting_the_reply_is_alone_and_the_log_says_so(self, cat: Cat, client: OpenAI) -> None:
        asked: list[Any] = [{"role": "user", "content": "Show me."}]
        before = cat.log().count("clients get it with show_steps on")
        message = client.chat.completions.create(model=MODEL, messages=asked).choices[0].message
        assert (message.content, message.model_extra) == ("Shall I go on?", {})
        assert cat.log().count("clients get it with show_steps on") == before + 1
