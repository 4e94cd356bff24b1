"""The plugin as a zip for the Cat's panel or its API, with what a Cat needs and nothing else: `pack.py TARGET`."""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = "cat_openai_api"
"""In the zip. A Cat gives the plugin its name, and its settings hang on that."""

FILES = ("plugin.json", "requirements.txt", "settings.py", "loader_guard.py", "LICENSE", "README.md")
SUFFIXES = {".py", ".html", ".css", ".js"}


def files() -> Iterator[Path]:
    yield from (ROOT / name for name in FILES)
    yield from sorted(path for path in (ROOT / "cat_openai_api").rglob("*") if path.suffix in SUFFIXES)


def pack(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files():
            packed.write(path, Path(FOLDER) / path.relative_to(ROOT))


if __name__ == "__main__":
    pack(Path(sys.argv[1]))
    print(sys.argv[1])
