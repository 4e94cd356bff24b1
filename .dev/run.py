"""`make run`: a Cat with this plugin, with a real language model or the demo LLM.

The LLM is configured through the Cat's settings API, as on its Settings page. So the key of a real model is stored in
the Cat's database only, and never written to another file, to the log or to the terminal.
"""

import argparse
import asyncio
import json
import os
import shlex
import signal
import socket
import sys
from abc import ABC, abstractmethod
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import ClassVar
from urllib.request import getproxies

import cat_home
import demo_llm
import httpx

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-4o-mini"
CORE_SETTINGS = "core__config__core"
PROVIDER_SETTINGS = "core__model_providers__openai_compatible"
NO_EMBEDDER = "default:default"
DEMO_EMBEDDER = f"openai_compatible:{demo_llm.EMBEDDER}"
DEFAULT_KEY = "meow"
"""The API key of a fresh Cat."""

START_SECONDS = 120
STOP_SECONDS = 3
POLL_SECONDS = 0.2
LOG_TAIL_LINES = 40


class RunError(Exception):
    """Ends the run; its message is printed without a traceback."""


class CatError(RunError):
    """The Cat itself failed; the end of its log is printed too."""


@dataclass(frozen=True)
class LLM:
    base_url: str
    api_key: str = field(repr=False)
    model: str
    description: str


class Cat(ABC):
    """A line of the Cat: the base class has what `make run` does on both, the subclasses what differs."""

    home: ClassVar[Path]
    log: ClassVar[Path]
    page: ClassVar[tuple[str, str]]
    """Name and path of the Cat's own page to print."""
    listens_everywhere: ClassVar[bool]
    """Whether other machines can reach it."""

    def __init__(self, port: int, api_key: str) -> None:
        self.port = port
        self.api_key = api_key
        self.url = f"http://localhost:{port}"

    @abstractmethod
    def prepare(self) -> None:
        """Create the home folder or update it."""

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def environment(self) -> dict[str, str]: ...

    @abstractmethod
    async def use_llm(self, client: httpx.AsyncClient, llm: LLM) -> None: ...

    @abstractmethod
    async def activate_plugin(self, client: httpx.AsyncClient) -> None:
        """Switch the plugin on unless it is on already."""


class Cat2(Cat):
    """Cheshire Cat 2 from this environment."""

    home = cat_home.ROOT / ".cat" / "home"
    log = cat_home.ROOT / ".cat" / "cat.log"
    page = ("UI", "")
    listens_everywhere = True

    def prepare(self) -> None:
        if "tests" in self.home.parts:
            raise RunError("The Cat loads no plugin below a folder called `tests`: move the checkout elsewhere.")
        cat_home.prepare(self.home)

    def command(self) -> list[str]:
        return [sys.executable, "-P", "-m", "cat.main"]

    def environment(self) -> dict[str, str]:
        return {"CCAT_URL": self.url}

    async def use_llm(self, client: httpx.AsyncClient, llm: LLM) -> None:
        provider = {"base_url": llm.base_url, "api_key": llm.api_key}
        (await client.put(f"/settings/{PROVIDER_SETTINGS}", json=provider)).raise_for_status()
        # Saving replaces all core settings, and another embedder may have been chosen in the Cat's UI.
        entries = (await client.get("/settings")).raise_for_status().json()
        core = next(entry["value"] for entry in entries if entry["id"] == CORE_SETTINGS)
        core["default_llm"] = f"openai_compatible:{llm.model}"
        if core["default_embedder"] in (NO_EMBEDDER, DEMO_EMBEDDER):
            core["default_embedder"] = DEMO_EMBEDDER if llm.model == demo_llm.MODEL else NO_EMBEDDER
        (await client.put(f"/settings/{CORE_SETTINGS}", json=core)).raise_for_status()

    async def activate_plugin(self, client: httpx.AsyncClient) -> None:
        """In a fresh home every plugin is on, but in an existing one this plugin may be switched off."""
        plugin = (await client.get(f"/plugins/{cat_home.PLUGIN}")).raise_for_status().json()
        if not plugin["active"]:
            (await client.put(f"/plugins/{cat_home.PLUGIN}/toggle")).raise_for_status()


def check_port(port: int) -> None:
    """Raise RunError if the port is in use.

    Binding alone is no proof: a program that listens on one address of localhost would get the Cat's requests.
    """
    hint = f"Choose another one: PORT={port + 5 if port < 65530 else 1870}"
    for family, kind, _, _, address in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind) as probe:
            probe.settimeout(1)
            if probe.connect_ex(address) == 0:
                raise RunError(f"Port {port} is already in use. {hint}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            raise RunError(f"Port {port} cannot be used ({error.strerror}). {hint}") from error


async def real_llm() -> LLM | None:
    """The LLM that the environment variables name; None if they name none."""
    api_key = os.environ.get("OPENAI_API_KEY", "").strip()
    base_url = os.environ.get("OPENAI_BASE_URL", "").strip().rstrip("/")
    if not (api_key or base_url):
        return None
    base_url = base_url or OPENAI_URL
    api_key = api_key or "none"  # with an empty key the Cat takes the LLM as not configured
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise RunError(f"OPENAI_BASE_URL is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise RunError("OPENAI_BASE_URL is no URL. It looks like http://localhost:11434/v1")
    where = url.netloc.decode()  # without user name and password
    model = os.environ.get("OPENAI_MODEL", "").strip()
    if not model and url.host == httpx.URL(OPENAI_URL).host:
        model = OPENAI_MODEL
    if not model:
        model = await first_model(base_url, api_key, where)
    return LLM(base_url, api_key, model, f"{model} at {where}")


async def first_model(base_url: str, api_key: str, where: str) -> str:
    hint = "Is OPENAI_BASE_URL right (it often ends in /v1)? With OPENAI_MODEL=name the list of models is not needed."
    try:
        async with httpx.AsyncClient(timeout=10, follow_redirects=True) as client:
            response = await client.get(f"{base_url}/models", headers={"Authorization": f"Bearer {api_key}"})
        response.raise_for_status()
        names = [str(model["id"]) for model in response.json()["data"]]
    except httpx.HTTPStatusError as error:
        raise RunError(
            f"{where} answered the request for its models with status {error.response.status_code}. {hint}"
        ) from error
    except httpx.HTTPError as error:
        problem = type(error).__name__
        raise RunError(f"The list of models of {where} could not be requested ({problem}). {hint}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{where} answered the request for its models with something else than a list of models. {hint}"
        ) from error
    for name in names:
        if "embed" not in name.lower():
            return name
    raise RunError(f"{where} lists no chat model. {hint}")


@asynccontextmanager
async def chosen_llm() -> AsyncIterator[LLM]:
    if llm := await real_llm():
        yield llm
        return
    with demo_llm.running() as base_url:
        hint = "set OPENAI_API_KEY or OPENAI_BASE_URL for a real model"
        yield LLM(base_url, "none", demo_llm.MODEL, f"demo storyteller ({hint})")


@asynccontextmanager
async def cat_process(cat: Cat, verbose: bool) -> AsyncIterator[Process]:
    """Run the Cat in a separate session, so that Ctrl-C reaches only this process, which then stops the Cat."""
    settings = {"CCAT_API_KEY": cat.api_key, "PYTHONUNBUFFERED": "1", **cat.environment()}
    with cat.log.open("wb") as output, cat.log.open("rb") as log:
        process = await asyncio.create_subprocess_exec(
            *cat.command(),
            cwd=cat.home,
            env={**os.environ, **settings},
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            start_new_session=True,
        )
        follower = asyncio.create_task(follow(log)) if verbose else None
        try:
            yield process
        finally:
            await stop(process)
            if follower:
                follower.cancel()


async def follow(log: BufferedReader) -> None:
    while True:
        sys.stdout.buffer.write(log.read())
        sys.stdout.buffer.flush()
        await asyncio.sleep(POLL_SECONDS)


async def stop(process: Process) -> None:
    """Send SIGTERM, then SIGKILL: an open stream could delay the Cat's own shutdown for minutes."""
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # and processes that the Cat's plugins have started
    await process.wait()


async def wait_for_response(client: httpx.AsyncClient, path: str, process: Process) -> httpx.Response:
    """Wait until the server accepts requests, and return its first response."""
    while process.returncode is None:
        with suppress(httpx.TransportError):
            return await client.get(path)
        await asyncio.sleep(POLL_SECONDS)
    raise CatError("The Cat ended while it was starting.")


async def check_health(client: httpx.AsyncClient) -> None:
    while not (response := await client.get("/custom/health")).is_success:
        if response.status_code == 404:
            raise CatError("The Cat runs, but could not load the plugin.")
        await asyncio.sleep(POLL_SECONDS)


async def get_ready(cat: Cat, client: httpx.AsyncClient, process: Process, llm: LLM) -> str:
    """Configure the Cat; return the id of its model once everything answers."""
    try:
        async with asyncio.timeout(START_SECONDS):
            await wait_for_response(client, "/status", process)
            await cat.use_llm(client, llm)
            await cat.activate_plugin(client)
            await check_health(client)
            models = (await client.get("/custom/v1/models")).raise_for_status().json()
    except TimeoutError as error:
        raise CatError(f"The Cat was not ready within {START_SECONDS} seconds.") from error
    except httpx.HTTPError as error:
        raise CatError(f"The Cat failed while it was set up: {error}") from error
    return str(models["data"][0]["id"])


def welcome(cat: Cat, model: str, llm: LLM) -> str:
    page, path = cat.page
    body = {
        "model": model,
        "stream": True,
        "messages": [{"role": "user", "content": "Tell me a tale of tea and time"}],
    }
    curl = [
        *("curl", "-N", f"{cat.url}/custom/v1/chat/completions"),
        *("-H", f"Authorization: Bearer {cat.api_key}", "-H", "Content-Type: application/json"),
        *("-d", json.dumps(body)),
    ]
    warning = ""
    if cat.listens_everywhere and cat.api_key == DEFAULT_KEY:
        warning = f"""
Everybody knows the key {DEFAULT_KEY}, and the Cat listens on all addresses of this machine.
On a network that you share, set another one: CCAT_API_KEY=… make run
"""
    return f"""
The Cheshire Cat is here.

  OpenAI base URL  {cat.url}/custom/v1
  API key          {cat.api_key}
  See it work      {cat.url}/custom/connect
  Cat's own {page:6} {cat.url}{path}
  Language model   {llm.description}
  Log              {cat.log.relative_to(cat_home.ROOT)}

{shlex.join(curl)}
{warning}
Press Ctrl-C to stop"""


async def run(cat: Cat, verbose: bool) -> None:
    check_port(cat.port)
    async with chosen_llm() as llm:
        cat.prepare()
        print("Starting the Cat", flush=True)
        async with (
            cat_process(cat, verbose) as process,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{cat.port}",
                headers={"Authorization": f"Bearer {cat.api_key}"},
                timeout=30,
            ) as client,
        ):
            model = await get_ready(cat, client, process, llm)
            print(welcome(cat, model, llm), flush=True)
            await process.wait()
            raise CatError("The Cat ended.")


async def run_until_signal(cat: Cat, verbose: bool) -> None:
    """Run until the first signal. Later signals are ignored: stopping takes seconds at most."""
    task = asyncio.create_task(run(cat, verbose))

    def stop_once() -> None:
        if not task.cancelling():
            task.cancel()

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(name, stop_once)
    with suppress(asyncio.CancelledError):
        await task


def log_tail(log_file: Path) -> str:
    with log_file.open(encoding="utf-8", errors="replace") as log:
        return "".join(deque(log, LOG_TAIL_LINES))


def port(text: str) -> int:
    if not 0 < (number := int(text)) < 65536:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and 65535")
    return number


def main(kind: type[Cat]) -> int:
    parser = argparse.ArgumentParser(description=f"Run {kind.__doc__}")
    parser.add_argument("--port", type=port, default=1865)
    arguments = parser.parse_args()
    # Requests to this machine must not go through a proxy of the environment.
    os.environ["no_proxy"] = ",".join(filter(None, (getproxies().get("no"), "localhost", "127.0.0.1")))
    verbose = os.environ.get("VERBOSE", "0") not in ("", "0")
    cat = kind(arguments.port, os.environ.get("CCAT_API_KEY") or DEFAULT_KEY)
    try:
        asyncio.run(run_until_signal(cat, verbose))
    except CatError as error:
        print(f"{error}\nThe end of {cat.log}:\n\n{log_tail(cat.log)}", file=sys.stderr)
        return 1
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    print("Stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(Cat2))
