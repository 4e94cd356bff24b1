"""A double of Cheshire Cat 1.9: see the README beside this package's folder."""

from pathlib import Path

__path__.append(str(Path.cwd() / "cat"))  # where the plugins are, as `cat.plugins.<id>`
