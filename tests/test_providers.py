"""Runs have parameters of their own, and the Cat's model providers are none the wiser."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from asking import body, user
from conftest import UNLIMITED
from host import KEY, PLUGINS, Cat, link_entries, make_cat, needs_agents
from upstream import Upstream, script, text_of

pytestmark = needs_agents

SPARE_PLUGIN = """
from cat import hook


@hook("before_agent_run")
def nothing(task):
    return task
"""

TWEEDLEDUM = "cheshire-cat:tweedledum"

Until = Callable[..., None]


@pytest.fixture(scope="module")
def own_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """A Cat with a plugin that has a provider of its own, and with one that does nothing."""
    cat = make_cat(tmp_path_factory.mktemp("providers") / "home")
    link_entries(PLUGINS / "looking_glass", cat.plugins / "looking_glass")
    spare = cat.plugins / "spare"
    spare.mkdir()
    (spare / "spare.py").write_text(SPARE_PLUGIN, "utf-8")
    cat.start()
    yield cat
    cat.stop()


@pytest.fixture
def cat(own_cat: Cat, upstream: Upstream) -> Cat:
    own_cat.put_settings(UNLIMITED).raise_for_status()
    use_llm(own_cat, upstream, "upstream-key")
    own_cat.http.post("/looking_glass/sleep").raise_for_status()
    return own_cat


def use_llm(cat: Cat, upstream: Upstream, key: str) -> None:
    """With that API key, for the Cat's own provider and for the plugin's."""
    cat.use_llm(upstream.base_url, key)
    values = {"base_url": upstream.base_url, "api_key": key}
    cat.http.put("/settings/looking_glass__model_providers__counting", json=values).raise_for_status()


def toggle_twice(cat: Cat, plugin: str) -> None:
    cat.toggle(plugin)
    cat.toggle(plugin)


def ask(cat: Cat, message: dict[str, Any], **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}"}
    url = f"{cat.base_url}/chat/completions"
    return httpx.post(url, json=body(message, **{"model": TWEEDLEDUM, **more}), headers=headers, timeout=30)


def chat(cat: Cat, tag: str) -> None:
    """Ask the Cat's default agent in its own chat."""
    content = [{"type": "text", "text": script(tag=tag, say="Meow.")}]
    messages = [{"role": "user", "content": content}]
    reply = cat.http.post("/agents/default/message", json={"messages": messages, "stream": False})
    assert "Meow." in reply.raise_for_status().text


def sampling(upstream: Upstream, tag: str) -> list[dict[str, Any]]:
    """What of it each request of the tag had at the LLM."""
    return [
        {name: record["body"][name] for name in ("temperature", "seed") if name in record["body"]}
        for record in upstream.requests(tag)
    ]


def of_plugin(cat: Cat) -> list[str]:
    found: list[str] = providers(cat)["of_plugin"]
    return found


def providers(cat: Cat) -> dict[str, Any]:
    answer = cat.http.get("/looking_glass/providers", params={"plugin": cat.folder or ""})
    return dict(answer.raise_for_status().json())


def counting(cat: Cat) -> dict[str, Any]:
    return dict(cat.http.get("/looking_glass/counting").raise_for_status().json())


@pytest.fixture
def runs(cat: Cat, until: Until) -> Iterator[Callable[..., Future[httpx.Response]]]:
    """Begin a run and return in the middle of it: its agent has asked the LLM, and uses a tool until it is woken."""
    with ThreadPoolExecutor(4) as pool:

        def begin(tag: str, stream: bool = False, **sampling: Any) -> Future[httpx.Response]:
            name = uuid.uuid4().hex
            turns = [{"tool_calls": [{"name": "nap", "arguments": {"name": name}}]}, {"say": "Well slept."}]
            reply = pool.submit(ask, cat, user(tag=tag, turns=turns), stream=stream, **sampling)
            until(lambda: name in cat.http.get("/looking_glass/napping").json(), "the agent naps")
            return reply

        try:
            yield begin
        finally:
            wake(cat)


def wake(cat: Cat) -> None:
    cat.http.post("/looking_glass/wake").raise_for_status()


CHANGES: dict[str, Callable[[Cat], None]] = {
    "nothing": lambda _: None,
    "another plugin is switched off and on": lambda cat: toggle_twice(cat, "spare"),
    "this plugin is switched off and on": lambda cat: toggle_twice(cat, cat.folder or ""),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("change", CHANGES)
def test_each_run_has_its_own_sampling_whatever_is_changed_meanwhile(  # noqa: PLR0917
    cat: Cat, upstream: Upstream, runs: Callable[..., Any], tag: str, change: str, stream: bool
) -> None:
    cold = runs(f"{tag} cold", stream, temperature=0.1, seed=1)
    hot = runs(f"{tag} hot", stream, temperature=1.9)
    use_llm(cat, upstream, "another-key")
    CHANGES[change](cat)
    chat(cat, f"{tag} chat")
    late = runs(f"{tag} late", stream, seed=3)
    chat(cat, f"{tag} chat")
    wake(cat)
    for reply in (cold, hot, late):
        assert "Well slept." in reply.result().raise_for_status().text
    chat(cat, f"{tag} chat")
    assert sampling(upstream, f"{tag} cold") == [{"temperature": 0.1, "seed": 1}] * 2
    assert sampling(upstream, f"{tag} hot") == [{"temperature": 1.9}] * 2
    assert sampling(upstream, f"{tag} late") == [{"seed": 3}] * 2
    assert sampling(upstream, f"{tag} chat") == [{}] * 3
    keys = [record["headers"]["authorization"] for record in upstream.requests(f"{tag} cold")]
    assert keys == ["Bearer upstream-key", "Bearer another-key"]
    assert of_plugin(cat) == []


def test_a_run_keeps_its_sampling_when_the_plugin_is_switched_off_and_nothing_stays(
    cat: Cat, upstream: Upstream, runs: Callable[..., Any], tag: str
) -> None:
    reply = runs(tag, temperature=0.1)
    cat.toggle(cat.folder or "")
    try:
        assert ask(cat, user("hi")).status_code == 404
        chat(cat, f"{tag} chat")
        wake(cat)
        assert "Well slept." in reply.result().raise_for_status().text
        chat(cat, f"{tag} chat")
        assert sampling(upstream, tag) == [{"temperature": 0.1}] * 2
        assert sampling(upstream, f"{tag} chat") == [{}] * 2
        assert providers(cat) == {"of_plugin": [], "subclasses": ["Counting"]}
    finally:
        cat.toggle(cat.folder or "")
    assert ask(cat, user(say="Again.")).status_code == 200


def test_what_looks_at_providers_finds_them_as_ever_while_a_run_is_under_way(
    cat: Cat, upstream: Upstream, runs: Callable[..., Any], tag: str
) -> None:
    """The registry's class stands for the provider's: settings, state of class and object, subclasses."""
    before = counting(cat)
    entries = cat.http.get("/settings").json()
    assert before["subclasses"] == []
    reply = runs(tag, temperature=0.1)
    during = counting(cat)
    assert during == {**before, "requests": before["requests"] + 1}
    assert cat.http.get("/settings").json() == entries
    assert "Counting" in providers(cat)["subclasses"]
    use_llm(cat, upstream, "another-key")
    assert counting(cat) == {**before, "requests": 0, "saved": before["saved"] + 1}
    wake(cat)
    reply.result().raise_for_status()
    assert counting(cat) == {**before, "requests": 1, "saved": before["saved"] + 1}
    names = ("is_one_object", "is_a_provider", "is_of_the_class")
    assert all(before[name] for name in names)
    assert not any("looking_glass" in line or "counting" in line for line in cat.log().splitlines() if "ERROR" in line)


@contextmanager
def inner_request(cat: Cat, upstream: Upstream, tag: str, tool: str, **more: Any) -> Iterator[dict[str, Any]]:
    """Has the agent use a tool that asks the LLM by itself; gives that request, and inside it the completion."""
    inner = script(tag=f"{tag} inner", say="Curious.", reported_usage=used(1))
    turns = [
        {"tool_calls": [{"name": tool, "arguments": {"question": inner}}], "reported_usage": used(10)},
        {"say": "{}", "reported_usage": used(100)},
    ]
    function = {"type": "function", "function": {"name": "get_weather"}}
    more = {"temperature": 0.1, "tools": [function], "response_format": {"type": "json_object"}, **more}
    reply = ask(cat, user(tag=tag, turns=turns), **more).raise_for_status()
    if tool == "dream":
        cat.http.post("/looking_glass/dream").raise_for_status()
    (record,) = upstream.wait(f"{tag} inner")
    assert sampling(upstream, tag) == [{"temperature": 0.1}] * 2
    yield {**record["body"], "completion": reply.json()}


def used(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": 2 * tokens}


@pytest.mark.parametrize(
    ("model", "tool"), [("cheshire-cat:alice", "ask_the_hatter"), (TWEEDLEDUM, "wonder")], ids=["an agent", "a tool"]
)
def test_who_asks_the_llm_within_a_run_has_its_sampling_and_counts_but_not_its_functions_and_format(
    cat: Cat, upstream: Upstream, tag: str, model: str, tool: str
) -> None:
    with inner_request(cat, upstream, tag, tool, model=model) as request:
        assert request["temperature"] == 0.1
        assert not {"tools", "response_format"} & request.keys()
        assert request["completion"]["usage"] == used(111)


def test_what_a_run_leaves_running_asks_the_llm_without_its_sampling(
    cat: Cat, upstream: Upstream, runs: Callable[..., Any], tag: str
) -> None:
    """Another run is under way then."""
    runs(f"{tag} other", seed=3)
    with inner_request(cat, upstream, tag, "dream") as request:
        assert not {"temperature", "tools", "response_format"} & request.keys()
        assert request["completion"]["usage"] == used(110)


def test_a_tool_gets_what_the_llm_said(cat: Cat, upstream: Upstream, tag: str) -> None:
    with inner_request(cat, upstream, tag, "wonder"):
        *_, last = upstream.requests(tag)
        assert text_of(last["body"]["messages"][-1]) == "Curious."
