"""What is Cheshire Cat 1.9's alone: its hooks, tools and forms, its memory, its own chat, its permissions."""

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from host import WHICH, Cat, make_cat
from openai import OpenAI
from upstream import Upstream, script, text_of
from websockets.sync.client import connect

pytestmark = pytest.mark.skipif(WHICH == "2", reason="for Cheshire Cat 1.9")

CHAT = "/v1/chat/completions"


@pytest.fixture
def somebody() -> str:
    """An end user of whom the Cat knows nothing."""
    return "u" + uuid.uuid4().hex


def both_ways(client: OpenAI, text: str) -> str:
    """The reply, which is the same whole and streamed."""
    options: Any = {"model": "cheshire-cat", "messages": [{"role": "user", "content": text}]}
    whole = client.chat.completions.create(**options).choices[0].message.content
    chunks = client.chat.completions.create(**options, stream=True)
    assert whole == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    return whole or ""


@pytest.mark.parametrize(
    ("text", "reply"),
    [("Quick!", "  Faster, {faster}!\n"), ("Off with their heads!", "  Said the Queen {of} Hearts.\n")],
)
def test_a_fast_reply_without_tokens_is_heard(client: OpenAI, text: str, reply: str) -> None:
    assert both_ways(client, text) == reply


def test_a_tool_that_answers_directly_is_heard_and_the_llms_choice_is_not(client: OpenAI) -> None:
    text = script("[procedures] what time is it in wonderland", say='{"action": "clock", "action_input": "now"}')
    assert both_ways(client, text) == "  It is tea {time}.\n"


@pytest.mark.skipif(WHICH == "double", reason="the double has no forms")
def test_a_form_is_heard(client: OpenAI) -> None:
    text = script("[procedures] I want a tea party", say='{"action": "tea_party", "action_input": null}')
    assert both_ways(client, text) == "How many guests?"


class Chat:
    """A stateless client: it sends the whole conversation each time."""

    def __init__(self, client: OpenAI, user: str, messages: tuple[Any, ...] = ()) -> None:
        self.client = client
        self.user = user
        self.messages = messages

    def say(self, text: str) -> tuple[str, "Chat"]:
        """The reply, and the chat as it goes on from there."""
        asked = (*self.messages, {"role": "user", "content": text})
        completion = self.client.chat.completions.create(model="cheshire-cat", messages=asked, user=self.user)
        reply = completion.choices[0].message.content or ""
        return reply, Chat(self.client, self.user, (*asked, {"role": "assistant", "content": reply}))


@pytest.mark.skipif(WHICH == "double", reason="the double has no forms")
def test_a_form_goes_on_with_the_conversation_and_an_edited_answer_goes_another_way(
    client: OpenAI, somebody: str
) -> None:
    begin = script("[procedures] I want a tea party", say='{"action": "tea_party", "action_input": null}')
    question, started = Chat(client, somebody).say(begin)
    assert question == "How many guests?"
    question, five = started.say("5")
    assert question == "Which cake?"
    assert five.say("Seed cake")[0] == "Seed cake for 5!"
    question, seven = started.say("7")
    assert question == "Which cake?"
    assert seven.say("Muffin")[0] == "Muffin for 7!"
    assert five.say("Scones")[0] == "Scones for 5!"
    assert Chat(client, somebody).say("5")[0] == "5"
    assert Chat(client, somebody + "x", five.messages).say("Seed cake")[0] == "Seed cake"


def test_what_a_plugin_keeps_belongs_to_the_conversation(client: OpenAI, somebody: str) -> None:
    reply, once = Chat(client, somebody).say("Count me.")
    assert reply == "Visits: [1]"
    reply, twice = once.say("Count me.")
    assert reply == "Visits: [1, 2]"
    assert twice.say("Count me.")[0] == "Visits: [1, 2, 3]"
    assert once.say("Count me.")[0] == "Visits: [1, 2]"
    assert Chat(client, somebody).say("Count me.")[0] == "Visits: [1]"
    assert Chat(client, somebody + "x", twice.messages).say("Count me.")[0] == "Visits: [1]"


def test_a_plugins_prompt_comes_before_the_clients_instructions(
    http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    messages = [
        {"role": "system", "content": "Be {brief}."},
        {"role": "user", "content": script(tag=tag, say="ok")},
    ]
    http.post(CHAT, json={"model": "cheshire-cat", "messages": messages, "user": somebody})
    (record,) = upstream.wait(tag)
    assert f"The person before you is {somebody!r}.\n\nBe {{brief}}." in text_of(record["body"]["messages"][0])


def test_a_failed_recall_is_an_upstream_error(cat: Cat, http: httpx.Client) -> None:
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}]}
    cat.http.post("/wonderland/forget").raise_for_status()
    try:
        replies = [http.post(CHAT, json={**body, "stream": stream}) for stream in (False, True)]
    finally:
        cat.http.post("/wonderland/remember").raise_for_status()
    for reply in replies:
        assert reply.status_code == 502
        assert reply.json()["error"]["code"] == "upstream_error"
        assert "SECRET" not in reply.text


def system_prompt(http: httpx.Client, upstream: Upstream, text: str, user: str) -> str:
    tag = uuid.uuid4().hex
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": script(text, tag=tag, say="ok")}]}
    http.post(CHAT, json={**body, "user": user}).raise_for_status()
    (record,) = upstream.wait(tag)
    return text_of(record["body"]["messages"][0])


def test_what_a_person_told_is_remembered_for_that_person_alone(
    http: httpx.Client, upstream: Upstream, somebody: str
) -> None:
    system_prompt(http, upstream, "my password is treacle", somebody)
    assert "treacle" in system_prompt(http, upstream, "my password is what", somebody)
    assert "treacle" not in system_prompt(http, upstream, "my password is what", somebody + "x")


def test_a_run_that_was_ended_leaves_nothing_in_memory(
    http: httpx.Client, upstream: Upstream, somebody: str, tag: str
) -> None:
    text = script("my password is treacle", tag=tag, say="tick ", repeat=100, delay=0.1)
    body = {"model": "cheshire-cat", "stream": True, "messages": [{"role": "user", "content": text}]}
    with http.stream("POST", CHAT, json={**body, "user": somebody}) as reply:
        next(chunk for chunk in reply.iter_text() if "tick" in chunk)
    upstream.wait(tag, state="left", timeout=1)
    assert "treacle" not in system_prompt(http, upstream, "my password is what", somebody)


def chat_in_the_panel(cat: Cat, user: str, text: str) -> str:
    headers = {"user_id": user}
    return cat.http.post("/message", json={"text": text}, headers=headers).raise_for_status().json()["text"]


def history_in_the_panel(cat: Cat, user: str) -> list[Any]:
    reply = cat.http.get("/memory/conversation_history", headers={"user_id": user})
    return [message["text"] for message in reply.raise_for_status().json()["history"]]


@pytest.mark.skipif(WHICH == "double", reason="the double does not show what it keeps")
def test_a_persons_own_chat_is_neither_read_nor_changed(
    cat: Cat, http: httpx.Client, upstream: Upstream, somebody: str, tag: str
) -> None:
    assert chat_in_the_panel(cat, somebody, script("from the panel", say="to the panel")) == "to the panel"
    before = history_in_the_panel(cat, somebody)
    text = script("over the bridge", tag=tag, say="and back")
    body = {"model": "cheshire-cat", "user": somebody, "messages": [{"role": "user", "content": text}]}
    for stream in (False, True):
        http.post(CHAT, json={**body, "stream": stream}).raise_for_status()
    assert len(before) == 2
    assert history_in_the_panel(cat, somebody) == before
    for record in upstream.wait(tag, count=2):
        assert [message["role"] for message in record["body"]["messages"]] == ["system", "user"]


def test_nothing_crosses_between_a_request_and_the_persons_web_socket(
    cat: Cat, http: httpx.Client, somebody: str
) -> None:
    with connect(f"ws://127.0.0.1:{cat.port}/ws/{somebody}") as socket:
        text = script("Whisper: hello", say=["over", " the bridge"])
        body = {"model": "cheshire-cat", "user": somebody, "messages": [{"role": "user", "content": text}]}
        for stream in (False, True):
            reply = http.post(CHAT, json={**body, "stream": stream})
            assert "A message beside" not in reply.text
            assert "A notification" not in reply.text
        socket.send(json.dumps({"text": script(say=["in", " the panel"])}))
        received = []
        while not received or received[-1]["type"] != "chat":
            received.append(json.loads(socket.recv(timeout=10)))
    assert "".join(message["content"] for message in received[:-1]) == "in the panel"
    assert received[-1]["text"] == "in the panel"


def test_the_cat_answers_others_while_its_llm_is_silent(
    cat: Cat, http: httpx.Client, upstream: Upstream, tag: str
) -> None:
    body = {"model": "cheshire-cat", "stream": True}
    silent = {**body, "messages": [{"role": "user", "content": script(tag=tag, hang=True)}]}
    with http.stream("POST", CHAT, json=silent):
        upstream.wait(tag, state="running")
        assert cat.http.get("/", timeout=5).status_code == 200
        assert http.get("/v1/models", timeout=5).status_code == 200
        assert http.get("/health", timeout=5).status_code == 200
    upstream.wait(tag, state="left", timeout=1)


@pytest.mark.parametrize(
    ("permissions", "read", "write"),
    [
        ({"CONVERSATION": ["READ", "WRITE"]}, 200, 200),
        ({"CONVERSATION": ["READ"]}, 200, 403),
        ({"CONVERSATION": ["WRITE"]}, 403, 200),
        ({"STATUS": ["READ"]}, 403, 403),
        ({}, 403, 403),
    ],
    ids=str,
)
def test_a_user_needs_permissions_for_the_conversation(
    cat: Cat, somebody: str, permissions: dict[str, list[str]], read: int, write: int
) -> None:
    user = {"username": somebody, "password": "curiouser"}
    cat.http.post("/users/", json={**user, "permissions": permissions}).raise_for_status()
    credential = cat.http.post("/auth/token", json=user).raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {credential}"}
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}]}
    replies = [
        (httpx.get(f"{cat.base_url}/models", headers=headers), read),
        (httpx.get(f"{cat.base_url}/models/cheshire-cat", headers=headers), read),
        (httpx.post(f"{cat.base_url}/chat/completions", json=body, headers=headers), write),
        (httpx.post(f"{cat.url}/custom/message", json={"text": "hi"}, headers=headers), write),
    ]
    for reply, expected in replies:
        assert reply.status_code == expected
        if expected == 403:
            assert reply.json()["error"]["code"] == "insufficient_permissions"


def test_the_user_id_header_names_the_user_of_the_key(
    http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": script(tag=tag, say="ok")}]}
    http.post(CHAT, json=body, headers={"user_id": somebody}).raise_for_status()
    (record,) = upstream.wait(tag)
    assert f"The person before you is {somebody!r}." in text_of(record["body"]["messages"][0])


@pytest.fixture(scope="module")
def open_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """A Cat without a key, as it comes out of the box."""
    cat = make_cat(tmp_path_factory.mktemp("open") / "home").start(CCAT_API_KEY="")
    cat.use_llm(upstream.base_url)
    yield cat
    cat.stop()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer anything"}], ids=["none", "a dummy key"])
def test_a_cat_without_a_key_is_open_to_all(open_cat: Cat, headers: dict[str, str]) -> None:
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}]}
    assert httpx.get(f"{open_cat.base_url}/models", headers=headers).status_code == 200
    reply = httpx.post(f"{open_cat.base_url}/chat/completions", json=body, headers=headers)
    assert reply.json()["choices"][0]["message"]["content"] == "hi"


def test_settings_that_were_stored_as_they_were_sent_are_read_for_what_they_mean(
    cat: Cat, http: httpx.Client, settings: Callable[..., None]
) -> None:
    settings(max_tokens="2")
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": script(say="one two three")}]}
    assert http.post(CHAT, json=body).json()["choices"][0]["message"]["content"] == "one two"
