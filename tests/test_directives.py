"""Agents of other people's plugins on Cheshire Cat 2: the reply is their result, as in the Cat's own chat."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from asking import body, chat_body, said_to, user
from conftest import UNLIMITED
from host import KEY, PLUGINS, Cat, link_entries, make_cat, needs_agents
from openai import OpenAI
from upstream import Upstream, script, text_of

pytestmark = needs_agents

Until = Callable[..., None]

ASK = script(turns=[{"tool_calls": [{"name": "ask", "arguments": {"question": "Why?"}}]}, {"say": ["So", " what."]}])
ASK_BOTH = script(turns=[{"tool_calls": [{"name": "ask_both", "arguments": {}}]}, {"say": ["So", " what."]}])


@pytest.fixture(scope="module")
def own_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    cat = make_cat(tmp_path_factory.mktemp("croquet") / "home")
    link_entries(PLUGINS / "croquet", cat.plugins / "croquet")
    cat.start().use_llm(upstream.base_url)
    yield cat
    cat.stop()


@pytest.fixture
def cat(own_cat: Cat) -> Cat:
    own_cat.put_settings(UNLIMITED).raise_for_status()
    return own_cat


def catself(cat: Cat, agent: str, text: str) -> str:
    """The reply in the Cat's own chat."""
    task = {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}], "stream": False}
    messages = cat.http.post(f"/agents/{agent}/message", json=task).raise_for_status().json()["messages"]
    return "\n\n".join(each["text"] for each in messages if each["role"] == "assistant" and each["text"])


def whole(cat: Cat, agent: str, text: str) -> str:
    reply = cat.http.post("/custom/v1/chat/completions", json=chat_body(text) | {"model": f"cheshire-cat:{agent}"})
    return str(reply.raise_for_status().json()["choices"][0]["message"]["content"])


def pieces(cat: Cat, agent: str, text: str) -> list[str]:
    with OpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0) as client:
        options: Any = {"model": f"cheshire-cat:{agent}", "messages": [user(text)], "stream": True}
        chunks = client.chat.completions.create(**options)
        return [content for chunk in chunks if (content := chunk.choices[0].delta.content)]


def response(cat: Cat, agent: str, text: str) -> str:
    with OpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0) as client:
        return client.responses.create(model=f"cheshire-cat:{agent}", input=text).output_text


SECRET = script("hi", say=["The sec", "ret is", " safe."], delay=0.02)
TWO = script("hi", say=["one", " two"], delay=0.02)


@pytest.mark.parametrize(
    ("agent", "text", "reply", "live"),
    [
        ("guarded", SECRET, "The ****** is safe.", False),
        ("guarded-by-slug", SECRET, "The ****** is safe.", False),
        ("guarded-by-instance", SECRET, "The ****** is safe.", False),
        ("guards-itself", TWO, "one two Off with their heads!", False),
        ("robbed", TWO, "Stolen.", False),
        ("tidy", TWO, "one two", True),
        ("anxious", TWO, "one two", True),
        ("anxious", ASK, "So what.", True),
        ("anxious", ASK_BOTH, "So what.", True),
        ("racing", script("hi", say=["one", " two"], first_delay=0.1, delay=0.02), "one two", True),
        ("duchess", TWO, "one two", True),
    ],
)
def test_the_reply_is_the_agents_result(cat: Cat, agent: str, text: str, reply: str, live: bool) -> None:
    assert catself(cat, agent, text) == reply
    assert whole(cat, agent, text) == reply
    assert response(cat, agent, text) == reply
    streamed = pieces(cat, agent, text)
    assert "".join(streamed) == reply
    assert (len(streamed) > 1) is live


def test_with_never_a_stream_is_live_and_the_edited_reply_follows(cat: Cat) -> None:
    cat.put_settings({**UNLIMITED, "stream_after_hooks": "never"}).raise_for_status()
    assert pieces(cat, "guarded", SECRET)[:3] == ["The sec", "ret is", " safe."]
    assert "".join(pieces(cat, "guards-itself", TWO)) == "one two Off with their heads!"


def test_a_limit_does_not_keep_a_directive_from_its_edit(cat: Cat) -> None:
    for stream in (False, True):
        more = {"model": "cheshire-cat:guarded", "max_tokens": 2, "stream": stream}
        reply = cat.http.post("/custom/v1/chat/completions", json=chat_body(SECRET) | more).raise_for_status()
        assert "sec" not in reply.text
        assert "length" in reply.text


def test_what_a_plugin_sends_itself_comes_before_the_reply_in_a_live_stream(cat: Cat) -> None:
    assert catself(cat, "announcing", TWO) == whole(cat, "announcing", TWO) == "one two"
    cat.put_settings({**UNLIMITED, "show_steps": True}).raise_for_status()
    assert pieces(cat, "announcing", TWO) == ["Searching", " ...", " Found.", "\n\none", " two"]
    chat = chat_body(TWO) | {"model": "cheshire-cat:announcing"}
    message = cat.http.post("/custom/v1/chat/completions", json=chat).json()["choices"][0]["message"]
    assert message["reasoning_content"] == "A search\n\n"


def test_a_reply_that_an_own_loop_changes_is_sent_to_its_end(cat: Cat) -> None:
    assert catself(cat, "cook", TWO) == whole(cat, "cook", TWO) == "one two Pepper!"
    assert pieces(cat, "cook", TWO) == ["one", " two", " Pepper!"]


def test_other_requests_to_the_llm_get_none_of_the_clients_functions(cat: Cat, upstream: Upstream, tag: str) -> None:
    tools = [{"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}]
    for agent in ("anxious", "racing"):
        text = script("hi", tag=tag + agent, say="ok", delay=0.02)
        chat = chat_body(text, tools=tools, stream=True) | {"model": f"cheshire-cat:{agent}"}
        cat.http.post("/custom/v1/chat/completions", json=chat).raise_for_status()
        (record,) = upstream.wait(tag + agent)
        assert [tool["function"]["name"] for tool in record["body"]["tools"]][-1] == "get_time"
        assert text_of(record["body"]["messages"][-1]).startswith("hi")


def test_the_conversation_goes_on_with_the_final_text(cat: Cat, upstream: Upstream, tag: str) -> None:
    cat.put_settings({**UNLIMITED, "stream_after_hooks": "never"}).raise_for_status()
    model = {"model": "cheshire-cat:guarded"}
    streamed = "".join(pieces(cat, "guarded", SECRET))
    assert streamed.startswith("The secret is safe.")
    turns = [user(SECRET), {"role": "assistant", "content": streamed}, user("Go on", tag=tag, say="ok")]
    cat.http.post("/custom/v1/chat/completions", json=body(*turns) | model).raise_for_status()
    assert said_to(upstream, tag)[1] == ("assistant", "The ****** is safe.")


def test_work_that_outlives_the_run_goes_on_as_in_the_cats_own_chat(cat: Cat, until: Until, tag: str) -> None:
    question = script(say=["slow", " and", " sure"], delay=0.3)
    call = {"name": "think_later", "arguments": {"name": tag, "question": question}}
    text = script(turns=[{"tool_calls": [call]}, {"say": ["Well", "."]}])
    assert "".join(pieces(cat, "late", text)) == "Well."

    def thought() -> str:
        return str(cat.http.get("/croquet/late", params={"name": tag}).json())

    until(lambda: thought().endswith("done"), "the task has ended", timeout=10)
    assert thought() == "slow and sure|And again?|done"


def test_the_cats_log_has_no_errors(cat: Cat) -> None:
    assert httpx.get(f"{cat.url}/custom/health").is_success
    assert "ERROR" not in cat.log()
