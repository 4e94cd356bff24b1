"""Packages that requirements.txt cannot ask for: see the note on it in CONTRIBUTING.md."""

import subprocess
import sys
from importlib import invalidate_caches
from importlib.util import find_spec


def ensure(module: str, requirement: str) -> None:
    """Install `requirement` with pip, as the host does with what requirements.txt names, unless `module` is there.

    Raises ImportError.
    """
    if find_spec(module) is not None:
        return
    install = [sys.executable, "-m", "pip", "install", "--no-cache-dir", requirement]
    try:
        subprocess.run(install, check=True)
    except subprocess.CalledProcessError as error:
        raise ImportError(f"the OpenAI API plugin needs a package: {' '.join(install[1:])}") from error
    invalidate_caches()
