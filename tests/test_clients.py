"""Client programs against a Cat, each in its own environment.

Each script in `clients/` uses the client as its users do, and prints the results as JSON.
"""

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from browser import needs_browser, start_browser
from client_environments import SCRIPTS, installed, modules_for, node, python_for
from host import KEY, Cat
from selenium.webdriver.support.ui import WebDriverWait
from upstream import Upstream

SECONDS = 120
PICTURE = SCRIPTS / "picture.png"
DATA_URI = f"data:image/png;base64,{base64.b64encode(PICTURE.read_bytes()).decode()}"

DINAH = {"name": "Dinah", "legs": 4}
RESULTS = {
    "chat": "Who are you?",
    "stream": "Who are you?",
    "tools": "Oslo: rain",
    "structured": DINAH,
    "image": "What is in this picture?",
}
"""The LLM of the tests says the question again, or does what is asked for. Streams joined."""

ALL = {"models", *RESULTS}
PYTHON = {
    "openai-0.28": ("try_openai_0_28.py", ALL - {"structured"}),
    "openai-1.3": ("try_openai.py", ALL),
    "openai-1": ("try_openai.py", ALL),
    "openai-2": ("try_openai.py", ALL),
    "openai": ("try_openai.py", ALL),
    "langchain": ("try_langchain.py", ALL - {"models"}),
    "llama-index": ("try_llama_index.py", ALL - {"models"}),
    "litellm": ("try_litellm.py", ALL - {"models"}),
    "pydantic-ai": ("try_pydantic_ai.py", ALL - {"models"}),
    "gradio": ("try_gradio.py", {"chat", "stream", "image"}),
    "llm": ("try_llm.py", ALL - {"models"}),
    "shell-gpt": ("try_shell_gpt.py", {"chat", "stream"}),
}
NODE = {
    "openai": ("try_openai.mjs", ALL),
    "ai-sdk": ("try_ai_sdk.mjs", ALL - {"models"}),
    "langchain": ("try_langchain.mjs", ALL - {"models"}),
}
"""Requirements, script, and what it does."""

QUIET = {
    "ANONYMIZED_TELEMETRY": "false",
    "AI_SDK_LOG_WARNINGS": "false",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_PROXY": "127.0.0.1,localhost",
}
"""What keeps clients from asking the network for anything but the Cat."""


def run(cat: Cat, command: list[str], home: Path) -> dict[str, Any]:
    """The JSON that the script printed. It gets only the environment variables that it needs."""
    environment = {
        **QUIET,
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "OPENAI_BASE_URL": cat.base_url,
        "OPENAI_API_KEY": KEY,
        "PICTURE": str(PICTURE),
    }
    done = subprocess.run(
        command, check=False, env=environment, cwd=home, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results


def count_images(upstream: Upstream) -> int:
    """How many of the LLM's requests have the picture."""
    return sum(DATA_URI in json.dumps(record["body"]) for record in upstream.requests())


def check(results: dict[str, Any], does: set[str]) -> None:
    """`does`: the features that the client supports; the script must have used each."""
    assert set(results) == does
    stream = results["stream"]
    if isinstance(stream, list):
        assert len([piece for piece in stream if piece]) > 1
        results["stream"] = "".join(stream)
    assert "cheshire-cat" in results.pop("models", ["cheshire-cat"])
    assert results == {name: RESULTS[name] for name in results}


@pytest.mark.parametrize("client", PYTHON)
def test_python(cat: Cat, upstream: Upstream, tmp_path: Path, client: str) -> None:
    script, does = PYTHON[client]
    with installed():
        python = python_for(client)
    before = count_images(upstream)
    check(run(cat, [str(python), "-P", str(SCRIPTS / script)], tmp_path), does)
    assert count_images(upstream) - before == ("image" in does)


def test_instructor_parses_replies_into_models(cat: Cat, upstream: Upstream, tmp_path: Path) -> None:
    with installed():
        python = python_for("instructor")
    before = count_images(upstream)
    results = run(cat, [str(python), "-P", str(SCRIPTS / "try_instructor.py")], tmp_path)
    *parts, whole = results.pop("stream")
    assert parts
    assert whole == DINAH
    assert results == dict.fromkeys(("tools", "structured", "image"), DINAH)
    assert count_images(upstream) - before == 1


@pytest.mark.parametrize("client", NODE)
def test_node(cat: Cat, upstream: Upstream, tmp_path: Path, client: str) -> None:
    name, does = NODE[client]
    with installed():
        modules = modules_for(client)
    # Node.js looks for modules beside the script.
    script = modules / name
    script.write_bytes((SCRIPTS / name).read_bytes())
    before = count_images(upstream)
    check(run(cat, [str(node()), str(script)], tmp_path), does)
    assert count_images(upstream) - before == 1


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def other_origin() -> Iterator[str]:
    """A web server with the page, on another origin than the Cat."""
    handler = partial(QuietHandler, directory=str(SCRIPTS))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@needs_browser
def test_fetch_in_a_browser_from_another_origin(cat: Cat, upstream: Upstream, other_origin: str) -> None:
    settings = {"OPENAI_BASE_URL": cat.base_url, "OPENAI_API_KEY": KEY, "PICTURE": DATA_URI}
    before = count_images(upstream)
    with start_browser() as browser:
        browser.get(f"{other_origin}/try_fetch.html#{urlencode(settings)}")
        results = WebDriverWait(browser, SECONDS).until(lambda page: page.execute_script("return window.result"))
        preflights = [entry for entry in browser.get_log("performance") if '"method":"OPTIONS"' in entry["message"]]
    assert preflights
    check(results, ALL - {"tools", "structured"})
    assert count_images(upstream) - before == 1
