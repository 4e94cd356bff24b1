"""Environments for clients: each has one of its own, made once, with what its file in `clients/requirements` names.

They lie in the hidden folder `.cat/clients`, named by a checksum of that file, and serve every Cat.
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

from host import ROOT

SCRIPTS = ROOT / "tests" / "clients"
REQUIREMENTS = SCRIPTS / "requirements"
ENVIRONMENTS = ROOT / ".cat" / "clients"
INSTALL_SECONDS = 300

NEWEST = "2026-11-22"
"""What packages depend on is taken as it was on this day, where uv installs them."""

UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


class NotInstalled(Exception):
    """A client could not be installed, as on a machine without a network."""


def python_for(client: str) -> Path:
    """The interpreter that has the packages of `<client>.txt`. Raises `NotInstalled`."""
    wanted = REQUIREMENTS / f"{client}.txt"
    folder = _folder(wanted)
    python = folder / "bin" / "python"
    with _made_once(folder) as is_made:
        if is_made:
            pass
        elif UV:
            _run([UV, "venv", "--quiet", "--python", sys.executable, str(folder)])
            options = ["--quiet", "--python", str(python), "--exclude-newer", NEWEST]
            _run([UV, "pip", "install", *options, "--requirement", str(wanted)])
        else:
            _run([sys.executable, "-m", "venv", str(folder)])
            _run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(wanted)])
    return python


def modules_for(client: str) -> Path:
    """A folder whose `node_modules` has the packages of `<client>.json`. Raises `NotInstalled`."""
    wanted = REQUIREMENTS / f"{client}.json"
    folder = _folder(wanted)
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


def _folder(wanted: Path) -> Path:
    # Scripts in it begin with its path: it cannot be moved, nor used with another Python.
    place = f"{ENVIRONMENTS} {sys.version_info.major}.{sys.version_info.minor} {NEWEST}\n"
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
