"""Cheshire Cat 1.9 imports every module below a plugin's folder, its tests too: it is handed empty ones.

The loader begins with the folder's own modules, and so with this one, each time the plugin is switched on.
"""

import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent
PACKAGE = __name__.rpartition(".")[0]

if PACKAGE.startswith("cat.plugins."):
    for file in FOLDER.joinpath("tests").rglob("*.py"):
        name = ".".join([PACKAGE, *file.relative_to(FOLDER).with_suffix("").parts])
        sys.modules[name] = ModuleType(name)
