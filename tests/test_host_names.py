"""A Cat that lacks names that the plugin uses: one line in its log, and 503 for clients."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bridge.cat_openai_api.hosts.names import cat_1, cat_2
from bridge.cat_openai_api.hosts.names.required import Required
from host import PLUGINS, ROOT, WHICH, Cat, link_entries, make_cat
from upstream import Upstream

TAKEN: dict[str, list[dict[str, str]]] = {
    "2": [
        {"module": "cat.services.agents.base", "attribute": "Agent.call_tool"},
        {"module": "cat.services.model_providers.openai_compatible", "attribute": "OpenAICompatibleProvider.client"},
        {"module": "cat.protocols.model_context.type_wrappers", "attribute": "EmbeddedResource"},
        {"module": "cat.protocols.model_context.type_wrappers"},
        {"module": "cat.ambient.context_vars"},
    ],
    "1.9": [
        {
            "module": "cat.looking_glass.stray_cat",
            "attribute": "StrayCat._store_user_message_in_episodic_memory",
        },
        {"module": "cat.looking_glass.stray_cat", "attribute": "StrayCat._StrayCat__send_ws_json"},
        {"module": "cat.agents.main_agent", "attribute": "MemoryAgent"},
        {"module": "cat.looking_glass.callbacks", "attribute": "tiktoken"},
        {"module": "cat.auth.auth_utils", "attribute": "is_jwt"},
        {"module": "cat.startup", "attribute": "cheshire_cat_api.state.ccat.memory.vectors.vector_db"},
        {"module": "cat.agents.memory_agent"},
        {"module": "cat.cache.cache_item"},
        {"module": "cat.log"},
    ],
}
TAKEN["double"] = TAKEN["1.9"]

LACKS = "this Cat lacks what the plugin needs"


@pytest.fixture(scope="module")
def own_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    cat = make_cat(tmp_path_factory.mktemp("robbed") / "home")
    link_entries(PLUGINS / "thief", cat.plugins / "thief")
    cat.start()
    if WHICH != "2":
        cat.toggle("thief")
    cat.use_llm(upstream.base_url)
    yield cat
    cat.stop()


def switch_off_and_on(cat: Cat) -> str:
    """What the Cat writes to its log meanwhile."""
    before = len(cat.log())
    for _ in range(2):
        cat.toggle(str(cat.folder))
    return cat.log()[before:]


def replies(cat: Cat) -> dict[str, httpx.Response]:
    """Those of all routes of the plugin, to a client without a credential."""
    paths: dict[str, Any] = cat.http.get("/openapi.json").json()["paths"]
    methods = {(path, method) for path in paths if path.startswith("/custom") for method in paths[path]}
    return {f"{method} {path}": httpx.request(method, cat.url + path, timeout=30) for path, method in methods}


def chat(cat: Cat) -> httpx.Response:
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}]}
    return cat.http.post("/custom/v1/chat/completions", json=body)


@pytest.mark.parametrize("name", TAKEN[WHICH], ids=lambda name: ".".join(name.values()))
def test_a_missing_name_is_one_error_in_the_log_and_503_for_clients(own_cat: Cat, name: dict[str, str]) -> None:
    own_cat.http.post("/thief/take", json=name).raise_for_status()
    try:
        log = switch_off_and_on(own_cat)
        seen = replies(own_cat)
    finally:
        own_cat.http.post("/thief/give-back").raise_for_status()
        log_after = switch_off_and_on(own_cat)
    (line,) = [line for line in log.splitlines() if LACKS in line]
    assert ".".join(name.values()).removeprefix("cat.startup.cheshire_cat_api.") in line
    assert "1.9.0 to 1.9.2" in line
    assert "2.0.18" in line
    assert "Traceback" not in log
    assert "Unable to load plugin" not in log
    health = seen.pop("get /custom/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert len(seen) > 10
    for route, reply in seen.items():
        assert (route, reply.status_code) == (route, 503)
        error = reply.json()["error"]
        assert (error["type"], error["code"]) == ("server_error", "host_incompatible")
        assert "log" in error["message"]
        assert "cat." not in error["message"]
    assert "ERROR" not in log_after
    assert chat(own_cat).status_code == 200
    assert own_cat.http.get("/custom/health").json()["status"] == "healthy"


@pytest.mark.skipif(WHICH == "2", reason="Cheshire Cat 2 is complete before it loads plugins")
def test_a_name_that_the_cat_lacks_when_it_has_started_is_missed_before_any_request(own_cat: Cat) -> None:
    before = len(own_cat.log())
    own_cat.restart(THIEF_TAKES="_llm")
    try:
        (line,) = [line for line in own_cat.log()[before:].splitlines() if LACKS in line]
        assert "state.ccat._llm (the LLM)" in line
        assert chat(own_cat).json()["error"]["code"] == "host_incompatible"
        assert own_cat.http.get("/custom/health").json()["status"] == "degraded"
    finally:
        own_cat.restart()
    assert chat(own_cat).status_code == 200


def imported(folder: Path) -> set[str]:
    """The modules and names of `cat.*` that the modules in a folder import."""
    return {
        f"{node.module}.{alias.name}"
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and not node.level and str(node.module).split(".")[0] == "cat"
        for alias in node.names
    }


@pytest.mark.parametrize(("room", "names"), [("v1", cat_1.NAMES), ("v2", cat_2.NAMES)])
def test_every_name_that_a_host_imports_is_checked(room: str, names: tuple[Required, ...]) -> None:
    checked = {group.owner for group in names} | {f"{group.owner}.{name}" for group in names for name in group.names}
    unchecked = {
        name
        for name in imported(ROOT / "cat_openai_api" / "hosts" / room)
        if not any(each == name or each.startswith(f"{name}.") for each in checked)
    }
    assert not unchecked
