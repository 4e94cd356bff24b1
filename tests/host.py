"""A Cat for the tests: the real host in a separate process, with the plugin linked in.

The environment variable `CAT` selects it: `2` (the default) is the Cheshire Cat 2 of this environment, `1.9` the real
Cheshire Cat 1.9 of `CAT_CORE` and `CAT_PYTHON`, `double` this project's double of Cheshire Cat 1.9.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import jwt
import pytest

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = ROOT / "tests" / "plugins"
KEY = "meow-test"
JWT_SECRET = "a secret of the tests, long enough for HS256"
START_SECONDS = 120
STOP_SECONDS = 20

WHICH = os.environ.get("CAT", "2")

needs_agents = pytest.mark.skipif(WHICH != "2", reason="Cheshire Cat 1.9 has one model, itself")


def _has_memory() -> bool:
    if WHICH != "2":
        return True
    from cat.auth.user import User  # noqa: PLC0415 (the Cat 2 of this environment, if it is one)

    return hasattr(User, "save")


needs_memory = pytest.mark.skipif(not _has_memory(), reason="this Cat has no storage for users")

CONFIG = """\
URL = {url!r}
API_KEY = {key!r}
JWT_SECRET = {secret!r}
DEBUG = False
TELEMETRY = False
LOG_LEVEL = "INFO"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def signed(claims: dict[str, Any], secret: str = JWT_SECRET, expires: float = 600) -> str:
    """A JWT; `expires`: seconds from now."""
    return jwt.encode({**claims, "exp": time.time() + expires}, secret, algorithm="HS256")


def link_entries(source: Path, folder: Path) -> None:
    """Link the entries of `source` into a real folder, so that the host writes and deletes nothing in `source`."""
    folder.mkdir(parents=True)
    for entry in source.iterdir():
        if not entry.name.startswith((".", "__", "settings.json")):
            (folder / entry.name).symlink_to(entry)


class Cat(ABC):
    """One Cheshire Cat. `home`: a folder to create for it. `folder`: the name of the plugin's folder, its id."""

    test_plugin: ClassVar[str]
    plugins: Path

    def __init__(self, home: Path, folder: str | None = "cat_openai_api", starters: tuple[str, ...] = ()) -> None:
        self.home = home
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.base_url = f"{self.url}/custom/v1"
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
        self._process: subprocess.Popen[bytes] | None = None
        self._prepare(starters)
        if folder:
            link_entries(ROOT, self.plugins / folder)
        link_entries(PLUGINS / self.test_plugin, self.plugins / "wonderland")

    def start(self, **environment: str) -> "Cat":
        self._launch(environment)
        self._started()
        return self

    def restart(self, **environment: str) -> None:
        """Stop and start the Cat; its data and active plugins stay."""
        self.stop()
        self.start_again(**environment)

    def _launch(self, environment: dict[str, str]) -> None:
        log = (self.home / "log").open("ab")
        self._process = subprocess.Popen(
            self._command(),
            cwd=self.home,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment(), **environment},
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                self.http.get("/status")
                break
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the Cat did not start:\n{self.log()}")
            time.sleep(0.05)

    def stop(self) -> int:
        """Stop the Cat and return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def kill(self) -> None:
        """End the Cat as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def start_again(self, **environment: str) -> None:
        """Start a Cat that has ended; its data and active plugins are still there."""
        self._launch(environment)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        return (self.home / "log").read_text("utf-8", "replace")

    def tasks(self) -> list[str]:
        """Names of the asyncio tasks that run in the Cat, from the test plugin."""
        return json.loads(self.http.get("/wonderland/tasks").raise_for_status().text)

    def objects(self) -> dict[str, int]:
        """The number of objects of each class of the plugin in the Cat."""
        query = {"plugin": self.folder or ""}
        return self.http.get("/wonderland/objects", params=query).raise_for_status().json()

    def threads(self) -> int:
        return len(list(self._system("task")))

    def sockets(self) -> list[str]:
        """The open sockets, listening and connected, by the names that Linux gives them in /proc."""
        names = []
        for descriptor in self._system("fd"):
            with contextlib.suppress(FileNotFoundError):
                names.append(os.readlink(descriptor))
        return [name for name in names if name.startswith("socket:")]

    def memory(self) -> int:
        """The resident memory of the process in bytes."""
        pages = int((Path("/proc") / str(self.pid) / "statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _system(self, name: str) -> Iterator[Path]:
        """The entries of a folder of the process in /proc."""
        return (Path("/proc") / str(self.pid) / name).iterdir()

    def break_plugin(self) -> None:
        """Remove an attribute of the host that the plugin needs."""
        self.http.post("/wonderland/break").raise_for_status()

    def mend_plugin(self) -> None:
        self.http.post("/wonderland/mend").raise_for_status()

    @abstractmethod
    def _started(self) -> None:
        """Called after the first start, when the host answers."""

    @abstractmethod
    def _prepare(self, starters: tuple[str, ...]) -> None: ...

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _environment(self) -> dict[str, str]: ...

    @abstractmethod
    def token(self, name: str) -> str:
        """A JWT of an ordinary user with that name."""

    @abstractmethod
    def use_llm(self, base_url: str, api_key: str = "upstream-key") -> None:
        """Configure the LLM server; on Cat 2 also its embedder."""

    @abstractmethod
    def use_no_llm(self) -> None: ...

    @abstractmethod
    def put_settings(self, values: dict[str, Any], credential: str = KEY) -> httpx.Response:
        """Save the plugin's settings as the panel does; settings that are left out get their defaults."""

    @abstractmethod
    def settings_entry(self) -> dict[str, Any]:
        """The plugin's settings as the panel gets them: `value` and `schema`."""

    @abstractmethod
    def toggle(self, plugin: str) -> None: ...

    @abstractmethod
    def install(self, name: str, archive: bytes) -> str:
        """Upload a zip as the panel does; return the id of the plugin, which is then active."""

    def remove(self, plugin: str) -> None:
        self.http.delete(f"/plugins/{plugin}").raise_for_status()


class Cat2(Cat):
    test_plugin = "wonderland"

    @property
    def plugins(self) -> Path:  # type: ignore[override]
        return self.home / "plugins"

    def _prepare(self, starters: tuple[str, ...]) -> None:
        self.plugins.mkdir(parents=True)
        config = CONFIG.format(url=self.url, key=KEY, secret=JWT_SECRET)
        (self.home / "config.py").write_text(config, "utf-8")
        spec = importlib.util.find_spec("cat")
        assert spec is not None
        assert spec.origin is not None
        for name in starters:
            shutil.copytree(Path(spec.origin).parent / "scaffold" / "plugins" / name, self.plugins / name)

    def _command(self) -> list[str]:
        return [sys.executable, "-P", "-m", "cat.main"]

    def _environment(self) -> dict[str, str]:
        return {}

    def _started(self) -> None:
        """Nothing to do: with a fresh database every plugin in the folder is active."""

    def token(self, name: str) -> str:
        return signed({"sub": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), "username": name, "roles": []})

    def use_llm(self, base_url: str, api_key: str = "upstream-key") -> None:
        self._put("core__model_providers__openai_compatible", {"base_url": base_url, "api_key": api_key})
        chosen = {"default_llm": "test-model", "default_embedder": "test-embedder"}
        self._put("core__config__core", {name: f"openai_compatible:{model}" for name, model in chosen.items()})

    def use_no_llm(self) -> None:
        self._put("core__config__core", {"default_llm": "default:default"})

    def put_settings(self, values: dict[str, Any], credential: str = KEY) -> httpx.Response:
        headers = {"Authorization": f"Bearer {credential}"}
        return self.http.put(f"/settings/{self.folder}__config__openai_api", json=values, headers=headers)

    def settings_entry(self) -> dict[str, Any]:
        entries = self.http.get("/settings").raise_for_status().json()
        return next(entry for entry in entries if entry["slug"] == "openai_api")

    def toggle(self, plugin: str) -> None:
        self.http.put(f"/plugins/{plugin}/toggle").raise_for_status()

    def install(self, name: str, archive: bytes) -> str:
        upload = {"file": (name, archive, "application/zip")}
        installed = self.http.post("/plugins", files=upload).raise_for_status().json()
        assert installed["active"] is True
        return installed["id"]

    def _put(self, settings: str, values: dict[str, Any]) -> None:
        self.http.put(f"/settings/{settings}", json=values).raise_for_status()


class Cat1(Cat):
    """Cheshire Cat 1.9: the real one, as a copy of the folder `core/` of its repository, or this project's double."""

    test_plugin = "wonderland_1"

    @property
    def plugins(self) -> Path:  # type: ignore[override]
        return self.home / "cat" / "plugins"

    def _prepare(self, starters: tuple[str, ...]) -> None:
        if WHICH == "1.9":
            shutil.copytree(os.environ["CAT_CORE"], self.home, ignore=shutil.ignore_patterns("__pycache__", "data"))
        for folder in ("data", "static", "plugins"):
            (self.home / "cat" / folder).mkdir(parents=True, exist_ok=True)

    def _command(self) -> list[str]:
        python = os.environ["CAT_PYTHON"] if WHICH == "1.9" else sys.executable
        options = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [python, "-m", "uvicorn", "cat.startup:cheshire_cat_api", *options]

    def _environment(self) -> dict[str, str]:
        variables = {
            "CCAT_API_KEY": KEY,
            "CCAT_JWT_SECRET": JWT_SECRET,
            "CCAT_CORE_PORT": str(self.port),
            "CCAT_METADATA_FILE": "cat/data/metadata.json",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if WHICH == "1.9":
            # The Cat runs pip from PATH.
            path = f"{Path(os.environ['CAT_PYTHON']).parent}{os.pathsep}{os.environ['PATH']}"
            return {**variables, "PATH": path}
        return {**variables, "PYTHONPATH": str(ROOT / "tests" / "double" / ".site")}

    def _started(self) -> None:
        self.toggle("wonderland")
        if self.folder:
            self.toggle(self.folder)

    def token(self, name: str) -> str:
        credentials = {"username": name, "password": "curiouser"}
        self.http.post("/users/", json=credentials)
        return self.http.post("/auth/token", json=credentials).raise_for_status().json()["access_token"]

    def use_llm(self, base_url: str, api_key: str = "upstream-key") -> None:
        values = {"url": base_url, "model_name": "test-model", "api_key": api_key, "streaming": True}
        self.http.put("/llm/settings/LLMOpenAICompatibleConfig", json=values).raise_for_status()

    def use_no_llm(self) -> None:
        self.http.put("/llm/settings/LLMDefaultConfig", json={}).raise_for_status()

    def put_settings(self, values: dict[str, Any], credential: str = KEY) -> httpx.Response:
        fields = self.settings_entry()["schema"]["properties"]
        defaults = {name: field["default"] for name, field in fields.items()}
        headers = {"Authorization": f"Bearer {credential}"}
        return self.http.put(f"/plugins/settings/{self.folder}", json={**defaults, **values}, headers=headers)

    def settings_entry(self) -> dict[str, Any]:
        return self.http.get(f"/plugins/settings/{self.folder}").raise_for_status().json()

    def toggle(self, plugin: str) -> None:
        self.http.put(f"/plugins/toggle/{plugin}").raise_for_status()

    def install(self, name: str, archive: bytes) -> str:
        upload = {"file": (name, archive, "application/zip")}
        self.http.post("/plugins/upload", files=upload).raise_for_status()
        plugin = Path(name).stem.replace("-", "_")
        deadline = time.monotonic() + START_SECONDS
        while not self.http.get(f"/plugins/{plugin}").raise_for_status().json()["data"]["active"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return plugin


def make_cat(home: Path, folder: str | None = "cat_openai_api", starters: tuple[str, ...] = ()) -> Cat:
    """The Cat that the environment variable `CAT` selects."""
    return (Cat2 if WHICH == "2" else Cat1)(home, folder, starters)


def plugin_zip(folder: Path) -> bytes:
    """The zip that `make zip` makes, made in that folder."""
    target = folder / "cat_openai_api.zip"
    subprocess.run([sys.executable, ROOT / ".dev" / "pack.py", target], check=True)
    return target.read_bytes()
