"""A Cat's home folder for development: its config, its own starter plugins, and this plugin linked in."""

import importlib.util
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = "cat_openai_api"

CONFIG = '''\
"""Written by `make run` at every start: changes made here are lost."""

import os

URL = os.environ.get("CCAT_URL", "http://localhost:1865")
API_KEY = os.environ.get("CCAT_API_KEY") or "meow"
# The Cat's own default for the key "meow"; a key of your own is worth little beside a well-known secret.
JWT_SECRET = f"{API_KEY}_jwt"
DEBUG = False
TELEMETRY = False
LOG_LEVEL = "INFO"
'''


def prepare(home: Path) -> None:
    """Make the home, or bring an existing one up to date; what the Cat stores in it stays."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)  # its database holds the LLM's key
    (home / "config.py").write_text(CONFIG, encoding="utf-8")
    plugins = home / "plugins"
    if not plugins.exists():
        _copy_starters(plugins)
    _link_plugin(plugins / PLUGIN)


def _copy_starters(plugins: Path) -> None:
    """The Cat does this itself, but only while there is no plugins folder, and ours has to be in it."""
    cat = importlib.util.find_spec("cat")
    if cat is None or cat.origin is None:
        raise RuntimeError("cheshire-cat-ai is not installed here")
    partial = plugins.with_name("plugins.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(
        Path(cat.origin).parent / "scaffold" / "plugins",
        partial,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    partial.rename(plugins)


def _link_plugin(folder: Path) -> None:
    """Link what is in the checkout into a real folder.

    Never link the checkout as a whole: "remove plugin" in the Cat empties the folder behind such a link.
    """
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(exist_ok=True)
    for link in folder.iterdir():
        if link.is_symlink():
            link.unlink()
    for entry in ROOT.iterdir():
        if not entry.name.startswith((".", "__")):
            (folder / entry.name).symlink_to(os.path.relpath(entry, folder))
