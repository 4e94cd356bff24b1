"""Pack the plugin's files that a Cat needs as a zip for the Cat's panel or its API: `pack.py TARGET`."""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = "cat_openai_api"
"""The folder in the zip. A Cat uses its name as the plugin's id and stores the settings under it."""

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
