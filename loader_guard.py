"""Keeps Cheshire Cat 1.9 from importing the tests.

Its loader imports every module below the plugin's folder, beginning with those directly in the folder. This module is
among the first, and puts an empty module into `sys.modules` in place of each test.
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
