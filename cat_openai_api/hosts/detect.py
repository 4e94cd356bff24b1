"""Which line of the Cheshire Cat this process runs, read off what it offers.

The host modules ask before they import `cat.*`: the Cat's loader imports each of them on every Cat.
"""

from importlib.util import find_spec


def _offers(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


IS_CAT_1 = _offers("cat.looking_glass.stray_cat") and _offers("cat.cache.cache_item")
"""1.9.0 to 1.9.2."""

IS_CAT_2 = _offers("cat.ambient.runtime") and _offers("cat.services.directives.base")
"""2.0.18 or later."""
