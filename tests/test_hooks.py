"""Plugins that work on the Cat's messages work behind the API as they do in the Cat's own chat."""

from collections.abc import Iterator
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
    """A Cat with a plugin that rewrites what comes in and what goes out."""
    cat = make_cat(tmp_path_factory.mktemp("hooked") / "home")
    plugin: Path = cat.plugins / "rewriting"
    plugin.mkdir()
    (plugin / "rewriting.py").write_text(REWRITING_PLUGIN if WHICH == "2" else REWRITING_PLUGIN_1, "utf-8")
    cat.start().use_llm(upstream.base_url)
    if WHICH != "2":
        cat.toggle("rewriting")
    yield cat
    cat.stop()


def test_what_a_hook_removes_from_a_reply_never_leaves_in_a_stream(hooked: Cat) -> None:
    text = script("hi", say=["The sec", "ret is", " safe."], delay=0.05)
    with OpenAI(base_url=hooked.base_url, api_key=KEY, max_retries=0) as client:
        whole = client.chat.completions.create(model="cheshire-cat", messages=[{"role": "user", "content": text}])
        chunks = client.chat.completions.create(
            model="cheshire-cat", messages=[{"role": "user", "content": text}], stream=True
        )
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert whole.choices[0].message.content == streamed == "The ****** is safe."


def test_a_hook_on_the_way_in_sees_the_conversation(hooked: Cat, upstream: Upstream, tag: str) -> None:
    with OpenAI(base_url=hooked.base_url, api_key=KEY, max_retries=0) as client:
        client.chat.completions.create(
            model="cheshire-cat", messages=[{"role": "user", "content": script("hi", tag=tag, say="ok")}]
        )
    (record,) = upstream.wait(tag)
    assert text_of(record["body"]["messages"][-1]).startswith("Hooked: hi")
