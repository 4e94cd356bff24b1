"""Which line of the Cheshire Cat this process runs, read off the modules that it has."""

from importlib.util import find_spec
from typing import Literal


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that the module is in
        return False


def _has_two_of(*modules: str) -> bool:
    """A Cat that lacks one of them is still of its line: `detect` says what it lacks."""
    return sum(map(_has, modules)) >= 2


def _line() -> Literal["1.9", "2.0"] | None:
    # The first came with 1.4, the others with 1.9.
    if _has_two_of("cat.looking_glass.stray_cat", "cat.cache.cache_item", "cat.cache.in_memory_cache"):
        return "1.9"
    # The first came before 2.0.17, the others with 2.0.18.
    if _has_two_of("cat.services.directives.base", "cat.ambient.runtime", "cat.ambient.context_vars"):
        return "2.0"
    return None


LINE = _line()
"""1.9.0 to 1.9.2; 2.0.18 or later; None for any other."""
