"""Packages that requirements.txt cannot ask for: see the note on it in CONTRIBUTING.md."""

import shutil
import subprocess
import sys
from importlib import invalidate_caches
from importlib.util import find_spec
from threading import Lock

_installing = Lock()


def is_there(module: str) -> bool:
    return find_spec(module) is not None


def ensure(module: str, requirement: str) -> None:
    """Install `requirement` with pip, as the host does with what requirements.txt names, unless `module` is there.

    Raises ImportError.
    """
    with _installing:
        if is_there(module):
            return
        install = [*_installer(), requirement]
        try:
            subprocess.run(install, check=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise ImportError(f"the OpenAI API plugin needs a package: {' '.join(install[1:])}") from error
        invalidate_caches()


def _installer() -> list[str]:
    """An environment that uv made has no pip; Cat 2 calls uv itself."""
    uv = shutil.which("uv")
    if uv and not is_there("pip"):
        return [uv, "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install", "--no-cache-dir"]
