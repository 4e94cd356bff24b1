"""Other plugins' hooks that change messages work for API requests as in the Cat's own chat."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from host import KEY, WHICH, Cat, make_cat
from openai import OpenAI
from upstream import Upstream, script, text_of

REWRITING_PLUGIN = """
from cat import hook


@hook("after_agent_run")
def shout(result):
    for message in result.messages:
        for block in message.content:
            block.text = block.text.replace("secret", "******")


@hook("after_agent_execution")
def shout_before_2_0_22(result):
    return shout.function(result)


@hook("before_agent_run")
def add(task):
    task.messages[-1].content[0].text = "Hooked: " + task.messages[-1].content[0].text


@hook("before_agent_execution")
def add_before_2_0_22(task):
    add.function(task)
    return task
"""

REWRITING_PLUGIN_1 = """
from cat.mad_hatter.decorators import hook


@hook
def before_cat_sends_message(message, cat):
    message.text = message.text.replace("secret", "******")
    return message


@hook
def before_cat_reads_message(message, cat):
    message.text = "Hooked: " + message.text
    return message
"""


@pytest.fixture(scope="module")
def hooked(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """A Cat with a plugin that changes incoming messages and replies."""
    cat = make_cat(tmp_path_factory.mktemp("hooked") / "home")
    plugin: Path = cat.plugins / "rewriting"
    plugin.mkdir()
    (plugin / "rewriting.py").write_text(REWRITING_PLUGIN if WHICH == "2" else REWRITING_PLUGIN_1, "utf-8")
    cat.start().use_llm(upstream.base_url)
    if WHICH != "2":
        cat.toggle("rewriting")
    yield cat
    cat.stop()


def contents(cat: Cat, text: str) -> list[str]:
    """The pieces of content in a stream."""
    with OpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0) as client:
        chunks = client.chat.completions.create(
            model="cheshire-cat", messages=[{"role": "user", "content": text}], stream=True
        )
        return [content for chunk in chunks if (content := chunk.choices[0].delta.content)]


SECRET = script("hi", say=["The sec", "ret is", " safe."], delay=0.05)


@pytest.mark.parametrize("setting", ["auto", "always"])
def test_text_that_a_hook_removes_is_not_streamed(hooked: Cat, setting: str) -> None:
    hooked.put_settings({"stream_after_hooks": setting}).raise_for_status()
    assert contents(hooked, SECRET) == ["The ****** is safe."]


def test_with_never_streams_are_live_and_end_with_the_text_as_the_hooks_changed_it(hooked: Cat) -> None:
    hooked.put_settings({"stream_after_hooks": "never"}).raise_for_status()
    assert contents(hooked, SECRET) == ["The sec", "ret is", " safe.", "\n\nThe ****** is safe."]
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": SECRET}]}
    whole = hooked.http.post("/custom/v1/chat/completions", json=body).json()
    assert whole["choices"][0]["message"]["content"] == "The ****** is safe."


@pytest.mark.parametrize(
    ("setting", "pieces"), [("auto", ["one", " two"]), ("always", ["one two"]), ("never", ["one", " two"])]
)
def test_without_a_hook_only_always_waits_for_the_end_of_the_reply(
    cat: Cat, settings: Callable[..., None], setting: str, pieces: list[str]
) -> None:
    settings(stream_after_hooks=setting)
    assert contents(cat, script("hi", say=["one", " two"], delay=0.05)) == pieces


def test_a_hook_for_incoming_messages_changes_the_message(hooked: Cat, upstream: Upstream, tag: str) -> None:
    with OpenAI(base_url=hooked.base_url, api_key=KEY, max_retries=0) as client:
        client.chat.completions.create(
            model="cheshire-cat", messages=[{"role": "user", "content": script("hi", tag=tag, say="ok")}]
        )
    (record,) = upstream.wait(tag)
    assert text_of(record["body"]["messages"][-1]).startswith("Hooked: hi")
