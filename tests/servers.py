"""A Redis, a Postgres and a load balancer for the tests, on free ports and in temporary folders."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from host import free_port

START_SECONDS = 30


def _postgres_programs() -> Path | None:
    """The folder of Postgres' programs, which is not on PATH on Debian."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return max((folder for folder in folders if (folder / "initdb").exists()), default=None)


POSTGRES = _postgres_programs()
REDIS = shutil.which("redis-server")

needs_redis = pytest.mark.skipif(
    not (REDIS and find_spec("redis")),
    reason="needs redis-server (Debian: apt-get install redis-server) and Python's package redis",
)
needs_postgres = pytest.mark.skipif(
    not (POSTGRES and find_spec("asyncpg")),
    reason="needs Postgres (Debian: apt-get install postgresql) and Python's package asyncpg",
)


class Server(ABC):
    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="server-"))
        self._process: subprocess.Popen[bytes] | None = None
        # Postgres does not run as root.
        self._as_user: dict[str, Any] = {}

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, **self._as_user
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{(self.folder / 'log').read_text('utf-8', 'replace')}")
            time.sleep(0.02)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def pause(self) -> None:
        """Suspend the server: it accepts connections, but does not answer."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        self._send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def remove(self) -> None:
        if self.is_running():
            self.kill()
        shutil.rmtree(self.folder)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...


def ask_redis(url: str, *command: str) -> Any:
    from redis import Redis as Client  # noqa: PLC0415  # an optional package

    with Client.from_url(url) as client:
        return client.execute_command(*command)


class Redis(Server):
    PASSWORD = "s3cret"

    @property
    def url(self) -> str:
        return f"redis://:{self.PASSWORD}@127.0.0.1:{self.port}"

    def ask(self, *command: str) -> Any:
        return ask_redis(self.url, *command)

    def connections(self) -> int:
        """The number of connections, without that of this query."""
        return len(self.ask("CLIENT", "LIST").splitlines()) - 1

    def _command(self) -> list[str]:
        assert REDIS is not None
        options = {"port": str(self.port), "bind": "127.0.0.1", "save": "", "requirepass": self.PASSWORD}
        return [REDIS, *(part for name, value in options.items() for part in (f"--{name}", value))]

    def _answers(self) -> bool:
        from redis import RedisError  # noqa: PLC0415

        with suppress(RedisError):
            return bool(self.ask("PING"))
        return False


class Postgres(Server):
    def __init__(self) -> None:
        super().__init__()
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        make = [*self._program("initdb"), "--pgdata=data", "--username=cat", "--auth=trust", "--no-sync"]
        subprocess.run(
            [*make, "--encoding=UTF8", "--locale=C"],
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **self._as_user,
        )

    @property
    def url(self) -> str:
        return f"postgresql://cat@127.0.0.1:{self.port}/postgres"

    def _command(self) -> list[str]:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
        }
        return [*self._program("postgres"), "-D", "data", *(f"--{name}={value}" for name, value in options.items())]

    def _answers(self) -> bool:
        ask = [*self._program("pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        return subprocess.run(ask, check=False).returncode == 0

    @staticmethod
    def _program(name: str) -> list[str]:
        assert POSTGRES is not None
        return [str(POSTGRES / name)]


class Balancer:
    """Passes each connection to the next server in turn."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._next = cycle(ports)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", self.port), self._loop).result(
            START_SECONDS
        )

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection("127.0.0.1", next(self._next))
        await asyncio.gather(pass_on(reader, requests), pass_on(answers, writer))


async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy all data until the source ends."""
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()
