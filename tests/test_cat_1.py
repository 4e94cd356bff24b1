"""What is Cheshire Cat 1.9's alone: its hooks, tools and forms, its memory, its own chat, its permissions."""

import base64
import json
import re
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


def test_it_is_found_where_the_client_has_trimmed_or_the_limit_has_cut_the_reply(
    http: httpx.Client, somebody: str
) -> None:
    question = {"role": "user", "content": "Count me."}
    body = {"model": "cheshire-cat", "user": somebody}
    cut = http.post(CHAT, json={**body, "messages": [question], "max_tokens": 2}).json()["choices"][0]
    assert cut["finish_reason"] == "length"
    for got in (cut["message"]["content"], f"\n{cut['message']['content']}  "):
        messages = [question, {"role": "assistant", "content": got}, question]
        reply = http.post(CHAT, json={**body, "messages": messages}).json()
        assert reply["choices"][0]["message"]["content"] == "Visits: [1, 2]"


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


def function(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    return {
        "type": "function",
        "function": {"name": name, "description": "One of the client's.", "parameters": parameters},
    }


WEATHER = function("weather")


def call(id: str, arguments: str = '{"city": "Paris"}', name: str = "weather") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id: str, content: str = "rain") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


class Agent:
    """A client with functions of its own. `tag`: of its script, where it has one."""

    def __init__(self, http: httpx.Client, user: str, **options: Any) -> None:
        self.http = http
        self.body = {"model": "cheshire-cat", "user": user, "tools": [WEATHER], **options}

    def ask(self, *messages: Any, **options: Any) -> dict[str, Any]:
        reply = self.http.post(CHAT, json={**self.body, "messages": messages, **options})
        return reply.raise_for_status().json()["choices"][0]["message"]

    def user(self, text: str, **fields: Any) -> dict[str, Any]:
        return {"role": "user", "content": script(text, **fields) if fields else text}


RING = '{"action": "bell", "action_input": "loud"}'


def system_texts(records: list[Any]) -> list[str]:
    return [text_of(record["body"]["messages"][0]) for record in records]


def is_chooser(record: Any) -> bool:
    return "bell" in text_of(record["body"]["messages"][0]) and "tools" not in record["body"]


@pytest.mark.parametrize("legacy", [False, True], ids=["tools", "functions"])
def test_a_tool_of_the_cats_runs_once_in_a_turn_with_calls_of_the_clients(
    http: httpx.Client, upstream: Upstream, tag: str, somebody: str, legacy: bool
) -> None:
    agent = Agent(http, somebody)
    if legacy:
        del agent.body["tools"]
        agent.body["functions"] = [WEATHER["function"]]
    rings_and_calls = {"say": RING, "tool_calls": [{"name": "weather", "arguments": {"city": "Paris"}}]}
    turns = [
        rings_and_calls,
        {"say": RING, "tool_calls": [{"name": "weather", "arguments": "{}"}]},
        {"say": "Rain."},
    ]
    messages = [agent.user("[procedures] ring the bell in wonderland", tag=tag, turns=turns)]
    for _ in range(2):
        reply = agent.ask(*messages)
        if legacy:
            messages += [reply, {"role": "function", "name": "weather", "content": "rain"}]
        else:
            messages += [reply, result(reply["tool_calls"][0]["id"])]
    assert agent.ask(*messages)["content"] == "Rain."
    records = upstream.wait(tag, count=4)
    assert [is_chooser(record) for record in records] == [True, False, False, False]
    (said,) = {re.findall(r"bell: (.*)", text)[0] for text in system_texts(records[1:])}
    assert re.fullmatch(r"Ding {dong} \d+, visits: \[1\]\.", said)
    last = {"role": "assistant", "content": "Rain."}
    assert agent.ask(*messages, last, agent.user("Count me."))["content"] == "Visits: [1, 2]"
    assert agent.ask(*messages)["content"] == "Rain."


def test_a_cats_tool_can_run_after_the_clients_function_where_none_has_run_before(
    http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    agent = Agent(http, somebody)
    turns = [{"say": "Let me see.", "tool_calls": [{"name": "weather"}]}, {"say": RING}]
    question = agent.user("[procedures] ring the bell in wonderland", tag=tag, turns=turns)
    reply = agent.ask(question)
    assert reply["content"] == "Let me see."
    agent.ask(question, reply, result(reply["tool_calls"][0]["id"], "a storm"))
    records = upstream.wait(tag, count=4)
    assert [is_chooser(record) for record in records] == [True, False, True, False]
    assert "a storm" in [text_of(message) for message in records[2]["body"]["messages"]]
    assert "bell: Ding" in system_texts(records)[3]
    assert "bell: Ding" not in system_texts(records)[1]


@pytest.mark.parametrize("text", ["[procedures] nothing of that", "Think twice: why"])
def test_only_the_main_prompt_gets_the_clients_functions_and_format(
    http: httpx.Client, upstream: Upstream, tag: str, somebody: str, text: str
) -> None:
    wanted = {"response_format": {"type": "json_object"}, "tool_choice": "auto", "parallel_tool_calls": False}
    agent = Agent(http, somebody, temperature=0.25, **wanted)
    calls = [{"name": "weather", "arguments": {"city": "Paris"}}]
    reply = agent.ask(agent.user(text, tag=tag, say='{"action": "no_action"}', tool_calls=calls))
    assert [call["function"]["name"] for call in reply["tool_calls"]] == ["weather"]
    beside, main = upstream.wait(tag, count=2)
    assert {"tools", *wanted} <= main["body"].keys()
    assert not {"tools", *wanted} & beside["body"].keys()
    assert beside["body"]["temperature"] == main["body"]["temperature"] == 0.25


def test_a_plugin_calls_functions_of_its_own(http: httpx.Client, upstream: Upstream, tag: str, somebody: str) -> None:
    calls = [{"name": "grin", "arguments": {"wide": True}}, {"name": "weather", "arguments": {}}]
    reply = Agent(http, somebody).ask({"role": "user", "content": script("Grin: ", tag=tag, tool_calls=calls)})
    assert (reply["content"], reply.get("tool_calls")) == ("grin {'wide': True} weather {}", None)
    (record,) = upstream.wait(tag)
    assert [tool["function"]["name"] for tool in record["body"]["tools"]] == ["grin"]


def test_usage_is_that_of_all_calls_of_the_llm(http: httpx.Client, somebody: str) -> None:
    reported = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    for text, calls in (("why", 1), ("Think twice: why", 2), ("[procedures] why", 2)):
        body = {"model": "cheshire-cat", "user": somebody}
        messages = [{"role": "user", "content": script(text, say="{}", reported_usage=reported)}]
        usage = http.post(CHAT, json={**body, "messages": messages}).raise_for_status().json()["usage"]
        assert {name: usage[name] for name in reported} == {name: calls * tokens for name, tokens in reported.items()}


def test_a_turn_with_calls_is_remembered_once(http: httpx.Client, upstream: Upstream, somebody: str, tag: str) -> None:
    agent = Agent(http, somebody)
    messages = [agent.user("my password is treacle", tag=tag, say="ok", tool_calls=[{"name": "weather"}])]
    for _ in range(3):
        reply = agent.ask(*messages)
        messages += [reply, result(reply["tool_calls"][0]["id"])]
    assert system_prompt(http, upstream, "[memories]", somebody).count("treacle") == 1


@pytest.mark.skipif(WHICH == "double", reason="the double has no forms")
def test_a_form_is_filled_in_beside_the_clients_functions(http: httpx.Client, somebody: str) -> None:
    agent = Agent(http, somebody)
    begin = script("[procedures] I want a tea party", say='{"action": "tea_party", "action_input": null}')
    messages = [agent.user(begin)]
    for answer, reply in (("5", "How many guests?"), ("Seed cake", "Which cake?"), ("", "Seed cake for 5!")):
        said = agent.ask(*messages, tool_choice="required")
        assert (said["content"], said.get("tool_calls")) == (reply, None)
        messages += [said, agent.user(answer)]


def test_calls_and_results_reach_the_llm_as_they_were(
    http: httpx.Client, upstream: Upstream, somebody: str, tag: str
) -> None:
    agent = Agent(http, somebody)
    odd = ['{"city":   "Paris"}', "", "[1]", "no {json}", '{"city": "\\u00e9"}']
    calls = [call(f"call_{place}", arguments) for place, arguments in enumerate(odd)]
    results = [result(one["id"], f"result {place}") for place, one in enumerate(calls)]
    earlier = [
        agent.user("Before."),
        {"role": "assistant", "content": "Wait.", "tool_calls": [call("call_before")]},
        result("call_before", "{sun}"),
        {"role": "assistant", "content": "Sun."},
    ]
    question = agent.user("And now?", tag=tag, say="ok")
    asked = {"role": "assistant", "content": None, "tool_calls": calls}
    agent.ask(*earlier, question, asked, *results)
    (record,) = upstream.wait(tag)
    _, *messages = record["body"]["messages"]
    assert [message["role"] for message in messages] == [
        *["user", "assistant", "tool", "assistant"],
        *["user", "assistant"],
        *["tool"] * len(calls),
    ]
    assert messages[1]["content"] == "Wait."
    assert messages[1]["tool_calls"] == [call("call_before")]
    assert messages[2] == result("call_before", "{sun}")
    assert messages[5]["tool_calls"] == calls
    assert messages[6:] == results


def test_results_without_a_question_reach_the_llm(
    http: httpx.Client, upstream: Upstream, somebody: str, tag: str
) -> None:
    agent = Agent(http, somebody, tools=[function(f"weather_{tag}")])
    asked = {"role": "assistant", "content": None, "tool_calls": [call("call_1")]}
    agent.ask(asked, result("call_1"))
    (record,) = [record for record in upstream.requests() if tag in json.dumps(record["body"].get("tools"))]
    assert [message["role"] for message in record["body"]["messages"]] == ["system", "assistant", "tool"]


def test_what_a_plugin_keeps_is_found_by_the_results_too(http: httpx.Client, somebody: str) -> None:
    agent = Agent(http, somebody)
    turns = [{"tool_calls": [{"name": "weather", "id": "call_1"}]}, {"say": "I see."}]
    count = agent.user("Count me.")
    question = agent.user("How is the weather?", turns=turns)
    before = [count, agent.ask(count), question]
    called = agent.ask(*before)

    def chat(content: str) -> list[Any]:
        messages = [*before, called, result("call_1", content)]
        return [*messages, agent.ask(*messages), count]

    rain, sun = chat("rain"), chat("sun")
    assert agent.ask(*rain)["content"] == "Visits: [1, 2]"
    rain += [agent.ask(*rain), count]
    assert agent.ask(*rain)["content"] == "Visits: [1, 2, 3]"
    assert agent.ask(*sun)["content"] == "Visits: [1, 2]"
    unknown = [*before, called, result("call_1", "snow"), {"role": "assistant", "content": "Never said."}, count]
    assert agent.ask(*unknown)["content"] == "Visits: [1]"


@pytest.mark.parametrize(
    ("after_hooks", "came"),
    [("auto", ["text"] * 3 + ["call"] * 6), ("always", ["text", "call", "call"])],
    ids=["as the LLM says them", "after the hooks"],
)
def test_streamed_texts_and_calls_come_in_order(
    client: OpenAI, somebody: str, settings: Callable[..., None], after_hooks: str, came: list[str]
) -> None:
    settings(stream_after_hooks=after_hooks)
    calls = [{"name": "weather", "arguments": {"city": city}} for city in ("Paris", "Rome")]
    options: Any = {"model": "cheshire-cat", "user": somebody, "tools": [WEATHER]}
    text = script(say=["Let ", "me ", "see. 🫖"], tool_calls=calls)
    chunks = client.chat.completions.create(**options, messages=[{"role": "user", "content": text}], stream=True)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    pieces = ["text" if delta.content else "call" for delta in deltas if delta.content or delta.tool_calls]
    assert pieces == came
    assert "".join(delta.content or "" for delta in deltas) == "Let me see. 🫖"
    arguments = ["", ""]
    for delta in deltas:
        for piece in delta.tool_calls or ():
            arguments[piece.index] += piece.function.arguments
    assert list(map(json.loads, arguments)) == [{"city": "Paris"}, {"city": "Rome"}]


def image(pixels: str, **detail: str) -> dict[str, Any]:
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + pixels.encode()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", **detail}}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


FIRST, SECOND = image("first", detail="low"), image("second")


@pytest.mark.parametrize(
    ("begin", "left"),
    [
        ("", lambda said: [text_part("See "), FIRST, text_part("and\n" + said), SECOND]),
        ("Mirror: ", lambda said: [text_part("Looking-glass: See and\n" + said), image("first"), SECOND]),
        ("No pictures: ", lambda said: [text_part("No pictures: See and\n" + said), SECOND]),
    ],
    ids=["as sent", "a hook changes the text", "a hook takes the image"],
)
def test_images_and_texts_reach_the_llm_in_order(
    http: httpx.Client, upstream: Upstream, tag: str, begin: str, left: Callable[[str], list[Any]]
) -> None:
    said = script(tag=tag, say="ok")
    content = [text_part(begin + "See "), FIRST, text_part("and\n"), text_part(said), SECOND]
    asked = {"role": "user", "content": content}
    Agent(http, tag).ask(asked)
    (record,) = upstream.wait(tag)
    assert record["body"]["messages"][-1]["content"] == left(said)


def test_images_of_earlier_turns_stay_and_the_cats_log_has_none_of_them(
    cat: Cat, http: httpx.Client, upstream: Upstream, somebody: str, tag: str
) -> None:
    picture = image(tag * 100)
    earlier = {"role": "user", "content": [picture, text_part("See?")]}
    agent = Agent(http, somebody)
    agent.ask(earlier, {"role": "assistant", "content": "Yes."}, agent.user("And now?", tag=tag, say="ok"))
    agent.ask(earlier)
    (record,) = upstream.wait(tag)
    assert record["body"]["messages"][1]["content"] == earlier["content"]
    assert picture["image_url"]["url"] not in cat.log()


def test_audio_and_files_reach_the_llm(http: httpx.Client, upstream: Upstream, somebody: str, tag: str) -> None:
    content = [
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}},
        text_part(script(tag=tag, say="ok")),
    ]
    Agent(http, somebody).ask({"role": "user", "content": content})
    (record,) = upstream.wait(tag)
    assert record["body"]["messages"][-1]["content"] == content


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
