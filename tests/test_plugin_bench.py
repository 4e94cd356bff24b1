"""`make plugins` tells plugins that behave the same through the API from those that do not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from host import ROOT, WHICH

pytestmark = pytest.mark.skipif(WHICH == "double", reason="the double has no web sockets")

TELLTALE = {
    "2": "from cat import hook\nfrom cat.ambient.context_vars import ctx\n\n\n@hook('after_agent_run')\n"
    "def tell(result):\n    if ctx().request.url.path.startswith('/custom'):\n"
    "        result.messages[-1].content[0].text += ' (API)'\n",
    "1.9": "from cat.mad_hatter.decorators import hook\n\n\n@hook\ndef before_cat_sends_message(message, cat):\n"
    "    message.text += '' if type(cat).__name__ == 'StrayCat' else ' (API)'\n    return message\n",
}

LACKING = "import a_package_that_nobody_has\n"


def test_the_table_and_the_exit_status_tell_what_differs(tmp_path: Path) -> None:
    for name, code in (("telltale", TELLTALE[WHICH]), ("lacking", LACKING)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(code, "utf-8")
        (folder / "plugin.json").write_text(json.dumps({"name": name, "version": "7.0.0"}), "utf-8")
        (folder / "turns.json").write_text(json.dumps(["Hello!"]), "utf-8")
    command = [sys.executable, ROOT / ".dev" / "plugins.py", tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    head, lacking, telltale, *details = ran.stdout.splitlines()
    assert head.split()[2:] == ["whole", "streamed", "response", "message", "LLM", "steps", "errors"]
    assert lacking.split() == ["lacking", "7.0.0", "lacks", "a_package_that_nobody_has"]
    assert telltale.split() == ["telltale", "7.0.0", *["1"] * 4, *["same"] * 3]
    assert "own chat: Hello!" in "\n".join(details)
    assert "API:      Hello! (API)" in "\n".join(details)
    assert ran.returncode == 1
