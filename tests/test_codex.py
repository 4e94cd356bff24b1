"""Codex CLI, on its defaults, with the Cat as its model provider and an MCP server of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from client_environments import SCRIPTS, installed, modules_for, node
from host import KEY, Cat
from upstream import Upstream, script, text_of

SECONDS = 120

CONFIG = """
model = "{model}"
model_provider = "cat"

[model_providers.cat]
name = "Cheshire Cat"
base_url = "{base_url}"
env_key = "CAT_KEY"
wire_api = "responses"

[mcp_servers.dictionary]
command = "{python}"
args = ["{server}"]
"""


KNOWN = "gpt-5.5"
"""A model that Codex knows, so that it offers a custom tool, and searches its MCP servers for tools."""


class Codex:
    """Codex in a folder of its own. `folder`: where it works."""

    def __init__(self, cat: Cat, home: Path, executable: Path) -> None:
        self.folder = home / "work"
        self._cat = cat
        self._home = home
        self._executable = executable
        self.folder.mkdir()

    def ask(self, prompt: str, model: str = "cheshire-cat") -> list[dict[str, Any]]:
        """The items of its turn, the last of which is its reply."""
        settings = self._home / ".codex"
        settings.mkdir(exist_ok=True)
        server = SCRIPTS / "mcp_server.py"
        config = CONFIG.format(model=model, base_url=self._cat.base_url, python=sys.executable, server=server)
        (settings / "config.toml").write_text(config)
        environment = {
            "PATH": f"{node().parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self._home),
            "CAT_KEY": KEY,
            "NO_PROXY": "127.0.0.1,localhost",
        }
        # The sandbox needs rights that a container does not have.
        options = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        done = subprocess.run(
            [str(self._executable), "exec", *options, prompt],
            check=False,
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert done.returncode == 0, done.stdout + done.stderr
        assert events[-1]["type"] == "turn.completed", events
        return [event["item"] for event in events if event["type"] == "item.completed"]


@pytest.fixture
def codex(cat: Cat, tmp_path: Path) -> Codex:
    with installed():
        executable = modules_for("codex") / "node_modules" / ".bin" / "codex"
    return Codex(cat, tmp_path, executable)


def results_of(upstream: Upstream, tag: str) -> list[str]:
    """The results of calls in the last request to the LLM."""
    *_, record = upstream.wait(tag)
    return [text_of(message) for message in record["body"]["messages"] if message["role"] == "tool"]


def test_it_gets_an_answer(codex: Codex, upstream: Upstream, tag: str) -> None:
    items = codex.ask(script("Who are you?", tag=tag, say=["I am ", "a cat."]))
    assert (items[-1]["type"], items[-1]["text"]) == ("agent_message", "I am a cat.")
    (record,) = upstream.wait(tag)
    names = [tool["function"]["name"] for tool in record["body"]["tools"]]
    assert {"exec_command", "mcp__dictionary__lookup"} <= {*names}
    assert len(names) == len({*names})


def test_it_calls_a_tool_of_its_mcp_server(codex: Codex, upstream: Upstream, tag: str) -> None:
    call = {"name": "mcp__dictionary__lookup", "arguments": {"word": "grin"}}
    items = codex.ask(script(tag=tag, turns=[{"tool_calls": [call]}, {"say": ["It is."]}]))
    (used,) = [item for item in items if item["type"] == "mcp_tool_call"]
    assert (used["server"], used["tool"], used["status"]) == ("dictionary", "lookup", "completed")
    assert items[-1]["text"] == "It is."
    (result,) = results_of(upstream, tag)
    assert "grin is in the dictionary" in result


def test_it_writes_a_file(codex: Codex, upstream: Upstream, tag: str) -> None:
    call = {"name": "exec_command", "arguments": {"cmd": "printf purr > cat.txt"}}
    items = codex.ask(script(tag=tag, turns=[{"tool_calls": [call]}, {"say": ["Written."]}]))
    assert items[-1]["text"] == "Written."
    assert (codex.folder / "cat.txt").read_text() == "purr"
    (result,) = results_of(upstream, tag)
    assert "exited with code 0" in result


def test_it_patches_a_file_with_a_custom_tool(
    codex: Codex, upstream: Upstream, tag: str, settings: Callable[..., None]
) -> None:
    settings(model_aliases=f"{KNOWN}=cheshire-cat")
    patch = '*** Begin Patch\n*** Add File: cat.txt\n+purr \\ "purr"\n*** End Patch'
    call = {"name": "apply_patch", "arguments": {"input": patch}}
    items = codex.ask(script(tag=tag, turns=[{"tool_calls": [call]}, {"say": ["Patched."]}]), KNOWN)
    assert items[-1]["text"] == "Patched."
    assert (codex.folder / "cat.txt").read_text() == 'purr \\ "purr"\n'
    (result,) = results_of(upstream, tag)
    assert "Success" in result


def test_it_finds_a_tool_of_its_mcp_server(
    codex: Codex, upstream: Upstream, tag: str, settings: Callable[..., None]
) -> None:
    settings(model_aliases=f"{KNOWN}=cheshire-cat")
    search = {"name": "tool_search", "arguments": {"query": "dictionary lookup"}}
    call = {"name": "mcp__dictionary__lookup", "arguments": {"word": "grin"}}
    turns = [{"tool_calls": [search]}, {"tool_calls": [call]}, {"say": ["It is."]}]
    items = codex.ask(script(tag=tag, turns=turns), KNOWN)
    assert items[-1]["text"] == "It is."
    found, looked_up = results_of(upstream, tag)
    assert "mcp__dictionary__lookup" in found
    assert "grin is in the dictionary" in looked_up
