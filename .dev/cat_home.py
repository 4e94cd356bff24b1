"""A Cat's home folder for development: its config or code, its starter plugins, and this plugin as links."""

import hashlib
import importlib.util
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = "cat_openai_api"
DATA_FOLDERS_V1 = ("data", "static", "plugins")
"""Folders in which Cheshire Cat 1.9 stores data, next to those of its code."""

CONFIG = '''\
"""Written by `make run` at every start: changes made here are lost."""

import os

URL = os.environ.get("CCAT_URL", "http://localhost:1865")
API_KEY = os.environ.get("CCAT_API_KEY") or "meow"
# With the key "meow" this is the Cat's default; with another key the secret must not be the well-known default.
JWT_SECRET = f"{API_KEY}_jwt"
DEBUG = False
TELEMETRY = False
LOG_LEVEL = "INFO"
'''


def prepare(home: Path) -> None:
    """Create the home, or update an existing one; the Cat's data stay."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)  # its database holds the LLM's key
    (home / "config.py").write_text(CONFIG, encoding="utf-8")
    plugins = home / "plugins"
    if not plugins.exists():
        _copy_starters(plugins)
    _link_plugin(plugins / PLUGIN)


def prepare_v1(home: Path, core: Path) -> None:
    """The same for Cheshire Cat 1.9, which runs from a copy of its checkout's folder `core`."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _copy_core(home, core)
    for name in DATA_FOLDERS_V1:
        (home / "cat" / name).mkdir(exist_ok=True)
    _link_plugin(home / "cat" / "plugins" / PLUGIN)


def _copy_core(home: Path, core: Path) -> None:
    """Copy the Cat's code unless the home has it already; the Cat's data stay."""
    files = {Path("pyproject.toml"): (core / "pyproject.toml").read_bytes()}
    for file in sorted((core / "cat").rglob("*")):
        name = file.relative_to(core)
        if file.is_file() and name.parts[1] not in DATA_FOLDERS_V1 and "__pycache__" not in name.parts:
            files[name] = file.read_bytes()
    digest = hashlib.sha256(repr(files).encode()).hexdigest()
    mark = home / ".core"
    if mark.exists() and mark.read_text("utf-8") == digest:
        return
    mark.unlink(missing_ok=True)
    (home / "cat").mkdir(exist_ok=True)
    for entry in (home / "cat").iterdir():
        if entry.name in DATA_FOLDERS_V1:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    mark.write_text(digest, "utf-8")


def _copy_starters(plugins: Path) -> None:
    """Copy the starter plugins. The Cat does this only if there is no plugins folder, but this plugin needs one."""
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

    Never link the checkout as a whole: "remove plugin" in the Cat deletes the files in the folder behind such a link.
    """
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(exist_ok=True)
    for link in folder.iterdir():
        if link.is_symlink():
            link.unlink()
    for entry in ROOT.iterdir():
        # This Cat has its own settings.json, even if the checkout is used as a plugin of another Cat.
        if not entry.name.startswith((".", "__", "settings.json")):
            (folder / entry.name).symlink_to(os.path.relpath(entry, folder))
