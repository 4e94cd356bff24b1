"""What plugins have made of a user's message stays made: the LLM never gets what the client sent instead."""

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from asking import body, said_to, user
from host import WHICH, Cat, needs_agents
from openai import OpenAI
from upstream import Upstream, script, text_of

only_on_1_9 = pytest.mark.skipif(WHICH == "2", reason="Cheshire Cat 2 has no such hook, or no account of its replies")

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"

ADDRESS = "alice@wonderland.test"

LOOK = {"type": "function", "function": {"name": "look"}}


class Chat:
    """A stateless client. `messages`: those of the conversation."""

    def __init__(self, http: httpx.Client, somebody: str, messages: tuple[Any, ...] = (), **more: Any) -> None:
        self.http = http
        self.somebody = somebody
        self.messages = messages
        self.more = more

    def say(self, text: str | list[Any], *, stream: bool = False, **more: Any) -> "Chat":
        """The chat as it goes on after the reply."""
        messages = (*self.messages, {"role": "user", "content": text})
        request = body(*messages, user=self.somebody, stream=stream, **self.more, **more)
        reply = self.http.post(CHAT, json=request).raise_for_status()
        answer: dict[str, Any] = {"role": "assistant", "content": streamed_text(reply.text) if stream else None}
        if not stream:
            message = reply.json()["choices"][0]["message"]
            answer |= {name: message[name] for name in ("content", "tool_calls") if message.get(name)}
        return Chat(self.http, self.somebody, (*messages, answer), **self.more)

    @property
    def reply(self) -> str:
        return str(self.messages[-1]["content"])


def streamed_text(stream: str) -> str:
    chunks = [json.loads(line[6:]) for line in stream.split("\n") if line.startswith("data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def nothing_leaked(cat: Cat, upstream: Upstream, tag: str) -> None:
    """In no request to the LLM, and in no stored row."""
    assert ADDRESS not in json.dumps(upstream.requests(tag))
    (file,) = cat.home.rglob("*.db" if WHICH == "2" else "openai_api.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("SELECT value FROM openai_api_rows").fetchall()
    assert not [value for (value,) in rows if ADDRESS in value]


@pytest.fixture
def readings(cat: Cat) -> Callable[[str], int]:
    return lambda text: cat.http.get("/wonderland/readings", params={"text": text}).json()


def test_a_hidden_address_stays_hidden_over_ten_turns_edits_branches_and_streams(
    cat: Cat, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    chat = Chat(http, somebody)
    branches = []
    for turn in range(10):
        text = script(f"Turn {turn}: I am {ADDRESS}. [procedures] [memories]", tag=tag, say=f"Reply {turn}.")
        branches.append(chat)
        chat = chat.say(text, stream=turn % 2 == 1)
    said = said_to(upstream, tag)
    assert said[0] == ("user", "Turn 0: I am [an address]. [procedures] [memories]")
    assert [text for role, text in said if role == "assistant"] == [f"Reply {turn}." for turn in range(9)]
    branches[4].say(script(f"Another: {ADDRESS}", tag=tag, say="A branch.")).say(script(tag=tag, say="It goes on."))
    edited = list(chat.messages)
    edited[6] = {"role": "user", "content": script(f"Edited: {ADDRESS}", tag=tag, say="x")}
    Chat(http, somebody, tuple(edited)).say(script("After the edit", tag=tag, say="x"))
    Chat(http, "somebody else", chat.messages).say(script("Of another person", tag=tag, say="x"))
    nothing_leaked(cat, upstream, tag)


def test_what_was_made_of_a_message_is_used_again_and_the_hook_is_called_once(
    http: httpx.Client, upstream: Upstream, tag: str, somebody: str, readings: Callable[[str], int]
) -> None:
    text = script(f"Add: {tag}", tag=tag, say="ok")
    chat = Chat(http, somebody).say(text)
    for _ in range(3):
        chat = chat.say(script("More", tag=tag, say="ok"))
    assert readings(f"Add: {tag}") == 1
    messages = upstream.wait(tag, count=4)[-1]["body"]["messages"]
    assert [text_of(message).count("(read 1)") for message in messages if message["role"] == "user"] == [1, 0, 0, 0]


def test_an_unknown_earlier_message_is_read_once_before_the_llm_gets_it(
    *, cat: Cat, http: httpx.Client, upstream: Upstream, tag: str, somebody: str, readings: Callable[[str], int]
) -> None:
    old = ({"role": "user", "content": f"Add: {tag} {ADDRESS}"}, {"role": "assistant", "content": "Old."})
    chat = Chat(http, somebody, old)
    for _ in range(3):
        chat = chat.say(script("More", tag=tag, say="ok"))
    assert readings(f"Add: {tag}") == 1
    for record in upstream.wait(tag, count=3):
        first = text_of(record["body"]["messages"][1])
        assert first == f"Add: {tag} [an address]\n(read 1)"
    nothing_leaked(cat, upstream, tag)


@pytest.mark.parametrize("more", [{"store": False}, {}], ids=["store: false", "stored"])
def test_a_stream_that_the_client_left_and_a_run_without_a_trace(
    *, cat: Cat, http: httpx.Client, upstream: Upstream, tag: str, somebody: str, more: dict[str, Any]
) -> None:
    question = user(f"I am {ADDRESS}", tag=tag, say=["one "] * 100, delay=0.05)
    with http.stream("POST", CHAT, json=body(question, user=somebody, stream=True, **more)) as stream:
        next(line for line in stream.iter_lines() if "one" in line)
    upstream.wait(tag, state="left")
    messages = (question, {"role": "assistant", "content": "one "})
    Chat(http, somebody, messages, **more).say(script("And now?", tag=tag, say="ok")).say(script(tag=tag, say="ok"))
    assert said_to(upstream, tag)[0] == ("user", "I am [an address]")
    nothing_leaked(cat, upstream, tag)


@only_on_1_9
def test_a_fast_reply_comes_before_the_hooks_and_its_question_is_hidden_all_the_same(
    cat: Cat, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    chat = Chat(http, somebody).say(f"Hurry: {ADDRESS}")
    assert chat.reply == "Hurried."
    chat.say(script("And now?", tag=tag, say="ok"))
    assert said_to(upstream, tag)[0] == ("user", "Hurry: [an address]")
    made = http.post(RESPONSES, json={"model": "cheshire-cat", "input": f"Hurry: {ADDRESS}", "user": somebody}).json()
    assert made["output"][0]["content"][0]["text"] == "Hurried."
    http.post("/message", json={"text": f"Hurry: {ADDRESS}", "user_id": somebody}).raise_for_status()
    nothing_leaked(cat, upstream, tag)


@only_on_1_9
def test_other_hooks_may_change_the_message_later(
    http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    chat = Chat(http, somebody).say(script("Change later: me", say="ok"))
    chat.say(script("And now?", tag=tag, say="ok"))
    assert said_to(upstream, tag)[0] == ("user", "[changed later]")


def test_pictures_and_turns_with_calls(
    *, cat: Cat, http: httpx.Client, upstream: Upstream, tag: str, somebody: str, readings: Callable[[str], int]
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    calls = script(
        f"Another picture: {tag} {ADDRESS}", tag=tag, turns=[{"tool_calls": [{"name": "look"}]}, {"say": "I see."}]
    )
    chat = Chat(http, somebody).say([{"type": "text", "text": calls}, picture], tools=[LOOK])
    (call,) = chat.messages[-1]["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "A garden."}
    request = body(*chat.messages, result, user=somebody, tools=[LOOK])
    reply = http.post(CHAT, json=request).raise_for_status().json()["choices"][0]["message"]["content"]
    assert reply == "I see."
    after = (*chat.messages, result, {"role": "assistant", "content": reply})
    Chat(http, somebody, after).say(script("And now?", tag=tag, say="ok"), tools=[LOOK])
    assert readings(f"Another picture: {tag}") == 1
    for record in upstream.wait(tag, count=3):
        text, image = record["body"]["messages"][1]["content"]
        assert text["text"].startswith(f"Another picture: {tag} [an address]")
        assert image["image_url"]["url"] == "data:image/gif;base64,R0lGODdh"
    nothing_leaked(cat, upstream, tag)


def test_a_response_in_the_background_is_stored_as_the_hooks_left_its_input(
    *, cat: Cat, http: httpx.Client, upstream: Upstream, until: Callable[..., None], tag: str, somebody: str
) -> None:
    text = script(f"Add: {tag} {ADDRESS}", tag=tag, say=["One ", "two."], delay=0.5)
    request = {"model": "cheshire-cat", "input": text, "user": somebody, "background": True}
    path = f"{RESPONSES}/{http.post(RESPONSES, json=request).raise_for_status().json()['id']}"
    nothing_leaked(cat, upstream, tag)
    until(lambda: http.get(path, params={"user": somebody}).json()["status"] == "completed", "the response has ended")
    listed = http.get(f"{path}/input_items", params={"user": somebody}).json()["data"]
    assert listed[0]["content"][0]["text"].startswith(f"Add: {tag} [an address]")
    nothing_leaked(cat, upstream, tag)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_responses_are_stored_and_continued_as_the_hooks_left_them(
    *,
    cat: Cat,
    http: httpx.Client,
    upstream: Upstream,
    tag: str,
    somebody: str,
    readings: Callable[[str], int],
    stream: bool,
) -> None:
    previous = None
    ids = []
    for turn in range(4):
        text = script(f"Add: {tag} {turn} {ADDRESS}", tag=tag, say=f"Reply {turn}.")
        request = {"model": "cheshire-cat", "input": text, "user": somebody, "previous_response_id": previous}
        reply = http.post(RESPONSES, json={**request, "stream": stream}).raise_for_status()
        events = [json.loads(line[6:]) for line in reply.text.split("\n") if line.startswith("data: {")]
        previous = events[-1]["response"]["id"] if stream else reply.json()["id"]
        ids.append(previous)
    assert readings(f"Add: {tag}") == 4
    for record in upstream.wait(tag, count=4):
        asked = [text_of(message) for message in record["body"]["messages"] if message["role"] == "user"]
        assert [text.count("(read 1)") for text in asked] == [1] * len(asked)
    listed = http.get(f"{RESPONSES}/{ids[0]}/input_items", params={"user": somebody}).json()["data"]
    assert listed[0]["content"][0]["text"].startswith(f"Add: {tag} 0 [an address]")
    nothing_leaked(cat, upstream, tag)


def test_the_conversation_that_the_cat_keeps_has_the_message_as_the_hooks_left_it(
    *,
    cat: Cat,
    http: httpx.Client,
    upstream: Upstream,
    settings: Callable[..., None],
    tag: str,
    somebody: str,
    readings: Callable[[str], int],
) -> None:
    settings(history="cat")
    for turn in range(3):
        text = script(f"Add: {tag} {turn} {ADDRESS}", tag=tag, say=f"Reply {turn}.")
        http.post("/message", json={"text": text, "user_id": somebody}).raise_for_status()
        calls = script(f"{turn} {ADDRESS}", tag=tag, turns=[{"tool_calls": [{"name": "look"}]}, {"say": "I see."}])
        chat = Chat(http, somebody).say(calls, tools=[LOOK])
        result = {"role": "tool", "tool_call_id": chat.messages[-1]["tool_calls"][0]["id"], "content": "A garden."}
        http.post(CHAT, json=body(*chat.messages, result, user=somebody, tools=[LOOK])).raise_for_status()
    assert readings(f"Add: {tag}") == 3
    asked = [text for role, text in said_to(upstream, tag) if role == "user"]
    assert [text.replace(tag, "").split(" (")[0] for text in asked] == [
        text for turn in range(3) for text in (f"Add:  {turn} [an address]", f"{turn} [an address]")
    ]
    nothing_leaked(cat, upstream, tag)


def test_a_stateless_client_of_responses(cat: Cat, client: OpenAI, upstream: Upstream, tag: str, somebody: str) -> None:
    items: list[Any] = []
    for turn in range(3):
        items.append({"role": "user", "content": script(f"{turn} {ADDRESS}", tag=tag, say="ok")})
        made = client.responses.create(model="cheshire-cat", input=items, user=somebody)
        items += [item.model_dump(exclude_none=True) for item in made.output]
    last = client.responses.create(
        model="cheshire-cat", input=script(tag=tag, say="ok"), previous_response_id=made.id, user=somebody
    )
    assert last.output_text == "ok"
    assert [text for role, text in said_to(upstream, tag)[:3] if role == "user"] == ["0 [an address]", "1 [an address]"]
    nothing_leaked(cat, upstream, tag)


def test_completions(cat: Cat, client: OpenAI, upstream: Upstream, tag: str) -> None:
    client.completions.create(model="cheshire-cat", prompt=script(ADDRESS, tag=tag, say="ok"))
    nothing_leaked(cat, upstream, tag)


def test_after_a_restart_it_is_still_known(
    cat: Cat, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    """The hook of the plugin counts from 1 again, so what it would make anew is another text."""
    text = script(f"Add: {tag}", tag=tag, say="ok")
    chat = Chat(http, somebody).say(text)
    Chat(http, somebody + "2").say(text)
    cat.toggle("cat_openai_api")
    cat.toggle("cat_openai_api")
    chat.say(script("More", tag=tag, say="ok"))
    assert "(read 1)" in text_of(upstream.wait(tag, count=3)[-1]["body"]["messages"][1])


@only_on_1_9
class TestEarlierTurns:
    def test_the_reply_that_the_llm_and_plugins_get_is_the_final_text(
        self, client: OpenAI, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        chat = Chat(http, somebody).say("Search quickly!", stream=True)
        assert chat.reply == "Searching ...\n\nFound it in a hurry."
        chat = chat.say(script("Announce", say="Well."), stream=True)
        assert chat.reply == "Searching ...\n\nWell."
        chat.say(script("And now?", tag=tag, say="ok"))
        assert [text for role, text in said_to(upstream, tag) if role == "assistant"] == [
            "Found it in a hurry.",
            "Well.",
        ]
        looked = chat.say("Look back.")
        assert "AI: Found it in a hurry. (Search quickly!)" in looked.reply

    def test_state_is_found_by_what_the_client_got(self, http: httpx.Client, somebody: str) -> None:
        for stream in (False, True):
            chat = Chat(http, somebody).say("Count me.", stream=stream).say("Count me.", stream=stream)
            assert chat.reply == "Visits: [1, 2]"

    def test_a_reply_has_the_cats_account_of_it(self, http: httpx.Client, somebody: str) -> None:
        bell = script("[procedures] ring the bell", say='{"action": "bell", "action_input": "loud"}')
        chat = Chat(http, somebody).say(bell).say("Why?")
        assert "(('bell', 'loud'), 'Ding {dong}" in chat.reply
        assert chat.reply.startswith("[procedures] ring the bell")
        assert "| ['declarative', 'episodic', 'procedural'] | " in chat.reply
        if WHICH == "1.9":
            assert not chat.reply.endswith(" 0")

    def test_also_where_nothing_is_known_of_it(self, http: httpx.Client, somebody: str) -> None:
        old = ({"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."})
        assert Chat(http, somebody, old).say("Why?").reply.startswith("Hi. | [] | ['declarative'")


@needs_agents
class TestOnCheshireCat2:
    def test_a_message_that_a_hook_changes_at_each_request_is_changed_once(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        chat = Chat(http, somebody)
        for turn in range(3):
            chat = chat.say(f"Mark: {turn}", stream=turn == 1)
        chat.say(script("And now?", tag=tag, say="ok"))
        said = [text for role, text in said_to(upstream, tag) if role == "user"]
        assert said[:3] == [f"Mark: {turn} (marked)" for turn in range(3)]

    def test_what_a_directive_removes_stays_removed_and_what_it_adds_for_a_step_does_not_stay(
        self, cat: Cat, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        messages: list[Any] = []
        for text in (f"I am {ADDRESS}", "What do you know?", "And now?"):
            messages.append(user(text, tag=tag, say="ok"))
            request = {"model": "cheshire-cat:veiled", "messages": messages, "user": somebody}
            http.post(CHAT, json=request).raise_for_status()
            messages.append({"role": "assistant", "content": "ok"})
        asked = [text_of(message) for message in upstream.wait(tag, count=3)[-1]["body"]["messages"]]
        assert "[veiled]" in asked[1]
        assert [text.startswith("Context: tea") for text in asked[1:]] == [True, False, False, False, True]
        nothing_leaked(cat, upstream, tag)

    def test_the_question_of_the_conversation_that_the_cat_keeps_finds_its_tools(
        self, http: httpx.Client, upstream: Upstream, settings: Callable[..., None], tag: str, somebody: str
    ) -> None:
        settings(history="cat")
        turns = [{"tool_calls": [{"name": "clock", "arguments": {}}]}, {"say": "Tea time."}]
        asked = {"model": "cheshire-cat:alice", "user": somebody}
        http.post(CHAT, json=body(user(f"Time, {ADDRESS}?", tag=tag, turns=turns)) | asked).raise_for_status()
        http.post(CHAT, json=body(user("And now?", tag=tag, say="ok")) | asked).raise_for_status()
        roles = [message["role"] for message in upstream.wait(tag, count=3)[-1]["body"]["messages"]]
        assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]


def test_what_is_stored_where_the_system_has_the_last_word(
    cat: Cat, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    """The empty message that the Cat is asked with is none of the client's."""
    items = [
        {"role": "user", "content": f"I am {ADDRESS}."},
        {"role": "assistant", "content": "Hello."},
        {"role": "developer", "content": script("Say it as a cat.", tag=tag, say="Meow.")},
    ]
    request = {"model": "cheshire-cat", "input": items, "user": somebody}
    made = http.post(RESPONSES, json=request).raise_for_status().json()
    listed = http.get(f"{RESPONSES}/{made['id']}/input_items", params={"user": somebody}).json()["data"]
    (question,) = [item for item in listed if item["role"] == "user"]
    assert question["content"][0]["text"].startswith("I am ")
    nothing_leaked(cat, upstream, tag)
    more = {"input": [user("Once more?", tag=tag, say="Meow!")], "previous_response_id": made["id"]}
    http.post(RESPONSES, json={**request, **more}).raise_for_status()
    nothing_leaked(cat, upstream, tag)


def test_an_address_in_a_conversation_that_is_compacted(
    cat: Cat, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    items = [{"role": "user", "content": script(f"I am {ADDRESS}.", tag=tag, say="Somebody with an address.")}]
    request = {"model": "cheshire-cat", "input": items, "user": somebody}
    http.post(f"{RESPONSES}/compact", json=request).raise_for_status()
    nothing_leaked(cat, upstream, tag)
