"""A Cat of the tests' own: the real host, in a process of its own, with the plugin linked in."""

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
from pathlib import Path
from typing import Any

import httpx
import jwt

ROOT = Path(__file__).resolve().parent.parent
TEST_PLUGIN = ROOT / "tests" / "plugins" / "wonderland"
KEY = "meow-test"
JWT_SECRET = "a secret of the tests, long enough for HS256"
START_SECONDS = 90

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


def token(name: str = "alice", roles: tuple[str, ...] = (), secret: str = JWT_SECRET, expires: float = 600) -> str:
    """A JWT as the Cat signs them; `expires`: seconds from now."""
    claims = {
        "sub": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
        "username": name,
        "roles": list(roles),
        "exp": time.time() + expires,
    }
    return jwt.encode(claims, secret, algorithm="HS256")


class Cat:
    """One Cheshire Cat 2. `home`: a folder that is made anew; `folder`: the plugin's, and so its id."""

    def __init__(self, home: Path, folder: str | None = "cat_openai_api", starters: tuple[str, ...] = ()) -> None:
        self.home = home
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.base_url = f"{self.url}/custom/v1"
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
        self._process: subprocess.Popen[bytes] | None = None
        self._prepare(starters)

    def _prepare(self, starters: tuple[str, ...]) -> None:
        plugins = self.home / "plugins"
        plugins.mkdir(parents=True)
        config = CONFIG.format(url=self.url, key=KEY, secret=JWT_SECRET)
        (self.home / "config.py").write_text(config, "utf-8")
        if self.folder:
            (plugins / self.folder).symlink_to(ROOT)
        (plugins / "wonderland").symlink_to(TEST_PLUGIN)
        spec = importlib.util.find_spec("cat")
        assert spec is not None
        assert spec.origin is not None
        for name in starters:
            shutil.copytree(Path(spec.origin).parent / "scaffold" / "plugins" / name, plugins / name)

    def start(self, **environment: str) -> "Cat":
        log = (self.home / "log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cat.main"],
            cwd=self.home,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                self.http.get("/status")
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the Cat did not start:\n{self.log()}")
            time.sleep(0.05)

    def stop(self) -> int:
        """The exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        return (self.home / "log").read_text("utf-8", "replace")

    def use_llm(self, base_url: str, api_key: str = "upstream-key", model: str = "test-model") -> None:
        self._put("core__model_providers__openai_compatible", {"base_url": base_url, "api_key": api_key})
        self.choose_llm(f"openai_compatible:{model}")

    def choose_llm(self, name: str) -> None:
        """`provider:model`; "default:default" is none."""
        self._put("core__config__core", {"default_llm": name})

    def put_settings(self, values: dict[str, Any]) -> httpx.Response:
        """Save the plugin's settings as the Settings page does; what is left out has its default again."""
        return self.http.put(f"/settings/{self.folder}__config__openai_api", json=values)

    def settings_entry(self) -> dict[str, Any]:
        entries = self.http.get("/settings").raise_for_status().json()
        return next(entry for entry in entries if entry["slug"] == "openai_api")

    def toggle(self, plugin: str) -> None:
        self.http.put(f"/plugins/{plugin}/toggle").raise_for_status()

    def tasks(self) -> list[str]:
        """Names of the asyncio tasks that run in the Cat, as the test plugin tells."""
        return json.loads(self.http.get("/wonderland/tasks").raise_for_status().text)

    def _put(self, settings: str, values: dict[str, Any]) -> None:
        self.http.put(f"/settings/{settings}", json=values).raise_for_status()
