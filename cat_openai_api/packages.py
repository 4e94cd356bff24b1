"""Installs packages that requirements.txt cannot list: see the note on that file in CONTRIBUTING.md."""

import shutil
import subprocess
import sys
from importlib import invalidate_caches
from importlib.util import find_spec
from threading import Lock

_install_lock = Lock()


def is_installed(module: str) -> bool:
    return find_spec(module) is not None


def ensure_installed(module: str, requirement: str) -> None:
    """Install `requirement` into the running environment unless `module` can be imported.

    Blocks until the package is installed. Raises ImportError if it cannot be installed.
    """
    with _install_lock:
        if is_installed(module):
            return
        command = [*_install_command(), requirement]
        try:
            subprocess.run(command, check=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise ImportError(f"the OpenAI API plugin needs a package: {' '.join(command[1:])}") from error
        invalidate_caches()


def _install_command() -> list[str]:
    """pip, or uv in an environment without pip: environments that uv creates have none."""
    uv = shutil.which("uv")
    if uv and not is_installed("pip"):
        return [uv, "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install", "--no-cache-dir"]
