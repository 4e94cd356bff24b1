"""Environments for clients and other programs that cannot be installed together with the tests.

Each has one of its own, made once, with what its file in `clients/requirements` lists. The environments lie in the
hidden folder `.cat/clients`, are named by a checksum of that file, and serve the tests of every Cat.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from host import ROOT

SCRIPTS = ROOT / "tests" / "clients"
REQUIREMENTS = SCRIPTS / "requirements"
ENVIRONMENTS = ROOT / ".cat" / "clients"
INSTALL_SECONDS = 300

NEWEST = "2026-11-22"
"""What packages depend on is taken as it was on this day, where uv installs them."""

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The version of the Python that runs the tests."""

UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


class NotInstalled(Exception):
    """An environment could not be made, as on a machine without a network."""


@contextmanager
def installed() -> Iterator[None]:
    """Skip the test if an environment cannot be made; with `REQUIRE_CLIENTS` in the environment that is a failure."""
    try:
        yield
    except NotInstalled as problem:
        if "REQUIRE_CLIENTS" in os.environ:
            raise
        pytest.skip(f"could not be installed: {str(problem).splitlines()[-1]}")


def python_for(client: str, version: str | None = None) -> Path:
    """The interpreter that has the packages of `<client>.txt`. Raises `NotInstalled`.

    `version`: of the Python that these packages need, such as `3.11`; uv finds it. By default that of the tests.
    """
    wanted = REQUIREMENTS / f"{client}.txt"
    folder = _folder(wanted, version or RUNNING)
    python = folder / "bin" / "python"
    with _made_once(folder) as is_made:
        if is_made:
            pass
        elif UV:
            chosen = sys.executable if version in (None, RUNNING) else version
            _run([UV, "venv", "--quiet", "--python", chosen, str(folder)])
            options = ["--quiet", "--python", str(python), "--exclude-newer", NEWEST]
            _run([UV, "pip", "install", *options, "--requirement", str(wanted)])
        elif version not in (None, RUNNING):
            raise NotInstalled(f"there is no uv to find Python {version}")
        else:
            _run([sys.executable, "-m", "venv", str(folder)])
            _run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(wanted)])
    return python


def modules_for(client: str) -> Path:
    """A folder whose `node_modules` has the packages of `<client>.json`. Raises `NotInstalled`."""
    wanted = REQUIREMENTS / f"{client}.json"
    folder = _folder(wanted, RUNNING)
    npm = node().with_name("npm")
    with _made_once(folder) as is_made:
        if not is_made:
            folder.mkdir()
            shutil.copy(wanted, folder / "package.json")
            _run([str(npm), "install", "--no-audit", "--no-fund"], folder)
    return folder


def node() -> Path:
    """Node.js, which comes as a Python package. Raises `NotInstalled`."""
    return python_for("node").with_name("node")


def _folder(wanted: Path, version: str) -> Path:
    # Scripts in it begin with its path: it cannot be moved, nor used with another Python.
    place = f"{ENVIRONMENTS} {version} {NEWEST}\n"
    checksum = zlib.crc32(place.encode() + wanted.read_bytes())
    return ENVIRONMENTS / f"{wanted.name.replace('.', '-')}-{checksum:08x}"


@contextmanager
def _made_once(folder: Path) -> Iterator[bool]:
    """Whether it is made already; else it is made within. Nothing is left of an interrupted installation."""
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    stamp = folder / "made"
    with (ENVIRONMENTS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists():
            yield True
        else:
            shutil.rmtree(folder, ignore_errors=True)
            yield False
            stamp.touch()


def _run(command: list[str], folder: Path | None = None) -> None:
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"
    try:
        subprocess.run(
            command,
            check=True,
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"no end after {INSTALL_SECONDS} s: {error.cmd}") from error
    except subprocess.CalledProcessError as error:
        raise NotInstalled(error.stdout.strip()) from error
