"""Conversations that end with anybody's words: the user's, the system's, the developer's or the assistant's."""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import httpx
import pytest
from asking import body, user
from host import WHICH
from openai import OpenAI
from upstream import Upstream, script, text_of

Json: TypeAlias = dict[str, Any]

ROUTES = {"chat": ("/v1/chat/completions", "messages"), "responses": ("/v1/responses", "input")}


@pytest.fixture(params=ROUTES)
def ask(request: pytest.FixtureRequest, http: httpx.Client) -> Callable[..., str]:
    """`ask(*messages)`: the text of the reply."""
    route, field = ROUTES[request.param]

    def send(*messages: Json, **more: Any) -> str:
        reply = http.post(route, json={"model": "cheshire-cat", field: messages, **more})
        assert reply.status_code == 200, reply.text
        data = reply.json()
        if field == "messages":
            return data["choices"][0]["message"]["content"]
        return "".join(part["text"] for item in data["output"] for part in item["content"])

    return send


def message(role: str, text: str) -> Json:
    return {"role": role, "content": text}


def reached(upstream: Upstream, tag: str) -> list[tuple[str, str]]:
    """Roles and texts of what reached the LLM, without the system message, which ends with the client's."""
    *_, record = upstream.wait(tag)
    system, *others = record["body"]["messages"]
    assert system["role"] == "system"
    return [(each["role"], text_of(each)) for each in others]


def instructions(upstream: Upstream, tag: str) -> str:
    *_, record = upstream.wait(tag)
    return text_of(record["body"]["messages"][0])


@pytest.mark.parametrize("role", ["developer", "system"])
def test_instructions_alone_are_asked_with_an_empty_question(
    ask: Callable[..., str], upstream: Upstream, tag: str, role: str
) -> None:
    text = script("Greet the visitor.", tag=tag, say="Welcome!")
    assert ask(message(role, "Be kind."), message(role, text)) == "Welcome!"
    assert reached(upstream, tag) == [("user", "")]
    assert "Be kind.\n\n" + text in instructions(upstream, tag)


def test_instructions_after_the_users_words(ask: Callable[..., str], upstream: Upstream, tag: str) -> None:
    question = user("Hello?", tag=tag, say="Meow.")
    assert ask(message("system", "You are a cat."), question, message("system", "Answer as one.")) == "Meow."
    assert reached(upstream, tag) == [("user", question["content"])]
    assert "You are a cat.\n\nAnswer as one." in instructions(upstream, tag)


def test_instructions_after_the_assistants_words(ask: Callable[..., str], upstream: Upstream, tag: str) -> None:
    """The LLM is to follow them, not to go on from the assistant's words."""
    nudge = script("Write the next reply as Alice.", tag=tag, say="Curious!")
    assert ask(message("user", "Hello?"), message("assistant", "Meow."), message("system", nudge)) == "Curious!"
    assert reached(upstream, tag) == [("user", "Hello?"), ("assistant", "Meow."), ("user", "")]
    assert nudge in instructions(upstream, tag)


@pytest.mark.parametrize("stream", [False, True])
def test_the_reply_goes_on_from_the_assistants_words(
    client: OpenAI, upstream: Upstream, tag: str, stream: bool
) -> None:
    question = user("Once more?", tag=tag, turns=[{"say": "One two"}, {"say": [" three", " four"]}])
    messages: list[Any] = [question, message("assistant", "One two")]
    if stream:
        with client.chat.completions.stream(model="cheshire-cat", messages=messages) as streamed:
            text = streamed.get_final_completion().choices[0].message.content
    else:
        text = client.chat.completions.create(model="cheshire-cat", messages=messages).choices[0].message.content
    assert (text or "").strip() == "three four"
    assert reached(upstream, tag) == [("user", question["content"]), ("assistant", "One two")]


def test_a_response_goes_on_from_the_assistants_words(client: OpenAI, upstream: Upstream, tag: str) -> None:
    question = user("Once more?", tag=tag, turns=[{"say": "One two"}, {"say": " three"}])
    partial = {"role": "assistant", "content": [{"type": "output_text", "text": "One two", "annotations": []}]}
    response = client.responses.create(model="cheshire-cat", input=[question, partial])  # type: ignore[list-item]
    assert response.output_text.strip() == "three"
    assert reached(upstream, tag) == [("user", question["content"]), ("assistant", "One two")]


def test_a_greeting_alone_is_gone_on_from(ask: Callable[..., str], upstream: Upstream, tag: str) -> None:
    greeting = script("Welcome, dear", tag=tag, say=" guest!")
    assert ask(message("system", "You are a host."), message("assistant", greeting)).strip() == "guest!"
    assert reached(upstream, tag) == [("user", ""), ("assistant", greeting)]


@pytest.mark.parametrize("empty", [{"content": ""}, {"content": None}])
def test_an_empty_message_of_the_assistants_is_left_out(
    http: httpx.Client, upstream: Upstream, tag: str, empty: Json
) -> None:
    question = user("Hello?", tag=tag, say="Meow.")
    reply = http.post("/v1/chat/completions", json=body(question, {"role": "assistant", **empty}))
    assert reply.json()["choices"][0]["message"]["content"] == "Meow."
    assert reached(upstream, tag) == [("user", question["content"])]


def test_calls_without_results_are_still_refused(http: httpx.Client) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    reply = http.post(
        "/v1/chat/completions",
        json=body(message("user", "Look!"), {"role": "assistant", "content": None, "tool_calls": [call]}),
    )
    assert reply.status_code == 400
    assert "call_1" in reply.json()["error"]["message"]


def test_the_stored_conversation_has_the_whole_reply(
    settings: Callable[..., None], http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    """With `history` = cat, too, the assistant's words and what follows them are one turn."""
    settings(history="cat")

    def send(*messages: Json) -> str:
        reply = http.post("/v1/chat/completions", json=body(*messages, user=somebody))
        assert reply.status_code == 200, reply.text
        return reply.json()["choices"][0]["message"]["content"]

    question = user("Count!", turns=[{"say": "One two"}, {"say": " three"}])
    assert send(question) == "One two"
    assert send(question, message("assistant", "One two")).strip() == "three"
    send(user("And then?", tag=tag, say="Four."))
    told = reached(upstream, tag)
    assert [role for role, _ in told] == ["user", "assistant", "user"]
    assert told[1][1].split() == ["One", "two", "three"]


def test_instructions_alone_with_a_stored_conversation(
    settings: Callable[..., None], http: httpx.Client, somebody: str
) -> None:
    """Instructions have no part in it, so the Cat is asked with an empty question."""
    settings(history="cat")
    asked = body(message("system", "Be kind."), user=somebody)
    assert http.post("/v1/chat/completions", json=asked).status_code == 200


@pytest.mark.skipif(WHICH == "2", reason="Cheshire Cat 2 has no episodic memory")
def test_an_empty_question_is_not_remembered(
    ask: Callable[..., str], upstream: Upstream, tag: str, somebody: str
) -> None:
    """The Cat lists what a person has said in its prompt, one thing a line."""
    ask(message("system", "Be kind."), user=somebody)
    ask(message("assistant", "Welcome,"), user=somebody)
    ask(message("user", "Once more?"), message("assistant", "One two"), user=somebody)
    ask(user("[memories]", tag=tag, say="Well."), user=somebody)
    memories = re.findall(r"^  - (.*) \(.*\)$", instructions(upstream, tag), re.MULTILINE)
    assert memories == ["Once more?"]
