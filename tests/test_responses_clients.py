"""Client programs of the Responses API, each in its own environment. `test_clients.py` has those of chat."""

from pathlib import Path
from typing import Any

import pytest
from client_environments import SCRIPTS, modules_for, node, python_for
from host import Cat
from test_clients import DINAH, RESULTS, check, count_images, installed, run
from upstream import Upstream, text_of

FIRST, SECOND = "The first of two.", RESULTS["chat"]
MORE: dict[str, Any] = {
    "previous": SECOND,
    "session": SECOND,
    "streamed tools": RESULTS["tools"],
    "structured by a function": DINAH,
    "custom tool": "purr!",
    "streamed custom tool": "purr!",
    "namespace": RESULTS["tools"],
    "streamed items": ["tool_called", "tool_output", "message_output_created"],
    "input items": [FIRST, FIRST, SECOND],
    "hand-off": ["Weather", RESULTS["tools"]],
}
"""What results of it, beside what comes of chat."""

SDK = {"previous", "input items", "custom tool"}
FRAMEWORK = {"previous", "streamed tools"}
AGENTS = {"session", "streamed items", "hand-off", "custom tool", "streamed custom tool", "namespace"}
CUSTOM = {"custom tool", "streamed custom tool"}
PYTHON = {
    "openai-1.66": ("try_openai_responses.py", SDK),
    "openai-1": ("try_openai_responses.py", SDK),
    "openai-2": ("try_openai_responses.py", SDK),
    "openai": ("try_openai_responses.py", SDK),
    "openai-agents": ("try_openai_agents.py", FRAMEWORK | AGENTS),
    "langchain": ("try_langchain_responses.py", FRAMEWORK | {"structured by a function", *CUSTOM}),
    "pydantic-ai": ("try_pydantic_ai_responses.py", FRAMEWORK | {"structured by a function"}),
}
NODE = {
    "openai": ("try_openai_responses.mjs", SDK),
    "ai-sdk-openai": ("try_ai_sdk_responses.mjs", FRAMEWORK | {"session", "custom tool"}),
}
"""Requirements, script, and what it does more than chat's."""


def run_and_check(cat: Cat, upstream: Upstream, command: list[str], home: Path, more: set[str]) -> None:
    shown, continued = count_images(upstream), count_continuations(upstream)
    results = run(cat, command, home)
    assert {name: results.pop(name) for name in more} == {name: MORE[name] for name in more}
    check(results, {*RESULTS})
    assert count_images(upstream) - shown == 1
    assert count_continuations(upstream) - continued == len(more & {"previous", "session"})


def count_continuations(upstream: Upstream) -> int:
    """How many of the LLM's requests have the second question after the first."""
    asked = [[text_of(message) for message in record["body"].get("messages", [])] for record in upstream.requests()]
    return sum(FIRST in texts and texts[-1].startswith(SECOND) for texts in asked)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize("client", PYTHON)
def test_python(cat: Cat, upstream: Upstream, home: Path, client: str) -> None:
    script, more = PYTHON[client]
    with installed():
        python = python_for(client)
    run_and_check(cat, upstream, [str(python), "-P", str(SCRIPTS / script)], home, more)


def test_the_agents_sdk_over_websockets(cat: Cat, upstream: Upstream, home: Path) -> None:
    with installed():
        python = python_for("openai-agents")
    accepted = cat.log().count("[accepted]")
    command = [str(python), "-P", str(SCRIPTS / "try_openai_agents_websocket.py")]
    run_and_check(cat, upstream, command, home, FRAMEWORK | AGENTS)
    assert cat.log().count("[accepted]") > accepted


@pytest.mark.parametrize("client", NODE)
def test_node(cat: Cat, upstream: Upstream, home: Path, client: str) -> None:
    name, more = NODE[client]
    with installed():
        modules = modules_for(client)
    # Node.js looks for modules beside the script.
    script = modules / name
    script.write_bytes((SCRIPTS / name).read_bytes())
    run_and_check(cat, upstream, [str(node()), str(script)], home, more)
