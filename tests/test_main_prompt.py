"""Cheshire Cat 1.9: the client's functions and format reach the main prompt and nothing else, whatever other plugins
have wrapped around it, and whenever the plugin is switched off and on. When it is off, the Cat is as it was."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from host import WHICH, Cat, make_cat
from upstream import Upstream, script

pytestmark = pytest.mark.skipif(WHICH == "2", reason="for Cheshire Cat 1.9")

ASIDE = {"execute": 2, "subclass": 1}
"""How often these wrappers ask the LLM beside the main prompt."""

FORMAT = {"response_format": {"type": "json_object"}, "tool_choice": "auto", "parallel_tool_calls": False}

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def wrapped_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    cat = make_cat(tmp_path_factory.mktemp("wrapped") / "home").start()
    cat.use_llm(upstream.base_url)
    yield cat
    cat.stop()


@pytest.fixture
def own_cat(wrapped_cat: Cat) -> Iterator[Cat]:
    """A Cat in which the plugin is on, and no other plugin has wrapped anything."""
    if wrapped_cat.http.get("/custom/health").status_code == 404:
        toggle(wrapped_cat)
    yield wrapped_cat
    wrapped_cat.http.post("/wonderland/unwrap").raise_for_status()


def replaced(cat: Cat) -> list[str]:
    return cat.http.get("/wonderland/replaced").raise_for_status().json()


def toggle(cat: Cat) -> None:
    cat.toggle(str(cat.folder))


def chat(cat: Cat, text: str) -> httpx.Response:
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": text}], "tools": [WEATHER], **FORMAT}
    return cat.http.post("/custom/v1/chat/completions", json=body)


def called(reply: httpx.Response) -> list[str]:
    message = reply.raise_for_status().json()["choices"][0]["message"]
    return [call["function"]["name"] for call in message.get("tool_calls") or ()]


def check_main_prompt(cat: Cat, upstream: Upstream, tag: str, aside: int = 0, text: str = "Think twice: why") -> None:
    """Of all requests to the LLM exactly one, the main prompt, has the functions and the format."""
    # One call of the LLM in a hook of the test plugin, `aside` ones by its wrapper.
    assert called(chat(cat, script(text, tag=tag, say="{}", tool_calls=[{"name": "weather"}]))) == ["weather"]
    sent = [record["body"] for record in upstream.wait(tag, count=2 + aside)]
    (main,) = [body for body in sent if "tools" in body]
    assert FORMAT.keys() <= main.keys()
    others = [body for body in sent if body is not main]
    assert len(others) == 1 + aside
    assert not any(FORMAT.keys() & body.keys() for body in others)


def wrap(cat: Cat, kind: str) -> None:
    cat.http.post(f"/wonderland/wrap/{kind}").raise_for_status()


WRAPPERS = ("execute", "main_execute", "main_agent", "subclass", "own_chain", "factory", "llm", "chain", "unrelated")


@pytest.mark.parametrize("kind", WRAPPERS)
def test_another_plugin_wrapped_it_before(own_cat: Cat, upstream: Upstream, tag: str, kind: str) -> None:
    toggle(own_cat)
    wrap(own_cat, kind)
    before = replaced(own_cat)
    toggle(own_cat)
    check_main_prompt(own_cat, upstream, tag, ASIDE.get(kind, 0))
    toggle(own_cat)
    assert replaced(own_cat) == before
    own_cat.http.post("/wonderland/unwrap").raise_for_status()
    assert replaced(own_cat) == []
    toggle(own_cat)


@pytest.mark.parametrize("kind", WRAPPERS)
def test_another_plugin_wraps_it_after(own_cat: Cat, upstream: Upstream, tag: str, kind: str) -> None:
    wrap(own_cat, kind)
    for turn in range(2):
        check_main_prompt(own_cat, upstream, f"{tag}{turn}", ASIDE.get(kind, 0))
        toggle(own_cat)
        toggle(own_cat)
    own_cat.http.post("/wonderland/unwrap").raise_for_status()
    check_main_prompt(own_cat, upstream, f"{tag}x")
    toggle(own_cat)
    toggle(own_cat)
    check_main_prompt(own_cat, upstream, f"{tag}y")


@pytest.mark.parametrize("text", ["[procedures] Think twice: why", "Think twice: why"])
def test_a_stream_of_another_plugins_agent_is_the_reply(own_cat: Cat, text: str) -> None:
    wrap(own_cat, "subclass")
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": script(text, say=["so ", "so"])}]}
    reply = own_cat.http.post("/custom/v1/chat/completions", json=body).json()
    assert reply["choices"][0]["message"]["content"] == "so so"


@pytest.mark.parametrize("toggles", [1, 2, 3, 4])
def test_a_run_that_is_under_way_while_the_plugin_is_switched_off_and_on(
    own_cat: Cat, upstream: Upstream, tag: str, until: Callable[..., None], toggles: int
) -> None:
    text = script("Wait: and then", tag=tag, say="{}", tool_calls=[{"name": "weather"}])
    with ThreadPoolExecutor(1) as executor:
        reply = executor.submit(chat, own_cat, text)
        until(lambda: own_cat.http.get("/wonderland/waits").json(), "the run waits before its main prompt")
        for _ in range(toggles):
            toggle(own_cat)
        own_cat.http.post("/wonderland/go-on").raise_for_status()
        assert called(reply.result()) == ["weather"]
    (record,) = upstream.wait(tag)
    assert FORMAT.keys() <= record["body"].keys()
    is_off = toggles % 2 == 1
    until(lambda: (replaced(own_cat) == []) is is_off, "the host's own objects are there when nobody needs others")
    if is_off:
        toggle(own_cat)
    check_main_prompt(own_cat, upstream, f"{tag}x")
    toggle(own_cat)
    assert replaced(own_cat) == []
    toggle(own_cat)


@pytest.mark.skipif(WHICH == "double", reason="the double does not log prompts")
def test_the_cats_log_still_names_the_plugin_that_asked_the_llm(own_cat: Cat) -> None:
    before = len(own_cat.log())
    chat(own_cat, script("Think twice: why", say="because"))
    assert "cat.plugins.wonderland.wonderland..before_cat_reads_message" in own_cat.log()[before:]


def test_the_cats_own_chat_is_as_ever(own_cat: Cat, upstream: Upstream, tag: str) -> None:
    message = {"text": script("Think twice: why", tag=tag, say="because")}
    reply = own_cat.http.post("/message", json=message).raise_for_status().json()
    assert reply["text"] == "because"
    assert all("tools" not in record["body"] for record in upstream.wait(tag, count=2))


def runtime_tasks(cat: Cat) -> list[str]:
    """Those that last as long as the plugin is on."""
    return [task for task in cat.tasks() if "Runtime" in task]


def test_an_llm_that_is_saved_in_the_panel_leaves_the_plugin_on(own_cat: Cat, upstream: Upstream, tag: str) -> None:
    """The Cat loads all plugins anew then, without having switched any off."""
    check_main_prompt(own_cat, upstream, tag)
    before = runtime_tasks(own_cat), replaced(own_cat)
    own_cat.use_llm(upstream.base_url)
    assert (runtime_tasks(own_cat), replaced(own_cat)) == before
    assert before[0]
    check_main_prompt(own_cat, upstream, f"{tag}x")


@pytest.mark.parametrize("end", ["switched off", "removed"])
def test_nothing_of_it_is_left_in_the_cat(
    upstream: Upstream, tmp_path_factory: pytest.TempPathFactory, until: Callable[..., None], tag: str, end: str
) -> None:
    cat = make_cat(tmp_path_factory.mktemp("left") / "home").start()
    try:
        cat.use_llm(upstream.base_url)
        check_main_prompt(cat, upstream, tag)
        assert len(replaced(cat)) == 4
        if end == "removed":
            cat.remove(str(cat.folder))
        else:
            toggle(cat)
        assert chat(cat, "hi").status_code == 404
        until(lambda: replaced(cat) == [], "the host's own objects are back")
        until(lambda: not runtime_tasks(cat), "no task of the plugin's is left")
        # The vector database goes on in its one thread.
        threads = [name for name in cat.http.get("/wonderland/threads").json() if name.startswith("openai-api")]
        assert all(name.startswith("openai-api-memory") for name in threads)
        assert "Traceback" not in cat.log()
    finally:
        cat.stop()
