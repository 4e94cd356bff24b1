"""On an unsupported Cat the plugin logs one line and adds no routes."""

import subprocess
import sys
from pathlib import Path

from host import ROOT, link_entries

OLD_CAT = {
    "cat/__init__.py": "",
    "cat/log.py": "class log:\n    error = staticmethod(lambda message: print('ERROR:', message))\n",
    "cat/mad_hatter/__init__.py": "",
    "cat/mad_hatter/decorators.py": "endpoint = None\n",
}

LOAD_ALL = """
import importlib, pathlib, sys
sys.path.insert(0, "plugins")
for file in sorted(pathlib.Path("plugins/bridge").rglob("*.py")):
    parts = file.relative_to("plugins").with_suffix("").parts
    if "tests" not in parts:
        importlib.import_module(".".join(parts))
"""


def test_an_unsupported_cat_logs_the_supported_versions(tmp_path: Path) -> None:
    for name, content in OLD_CAT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, "utf-8")
    link_entries(ROOT / "cat_openai_api", tmp_path / "plugins" / "bridge" / "cat_openai_api")
    for name in ("settings.py", "plugin.json"):
        (tmp_path / "plugins" / "bridge" / name).symlink_to(ROOT / name)
    loaded = subprocess.run([sys.executable, "-c", LOAD_ALL], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    (line,) = loaded.stdout.splitlines()
    assert line.startswith("ERROR: OpenAI API: this version of the Cat is not supported.")
    assert "1.9.0 to 1.9.2" in line
    assert "2.0.18" in line
