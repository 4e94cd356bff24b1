"""Whether the plugin can work with the Cat of this process.

The host modules ask before they import `cat.*`: the Cat's loader imports each of them on every Cat.
"""

from typing import Any

from .line import LINE
from .names.cat_1 import NAMES as NAMES_1
from .names.cat_1 import RUNNING as RUNNING_1
from .names.cat_2 import NAMES as NAMES_2
from .names.cat_2 import RUNNING as RUNNING_2
from .names.required import missing_attributes, missing_names


def _missing_of_cat_1() -> list[str]:
    missing = missing_names(NAMES_1)
    return missing or missing_of_running_cat_1()


def missing_of_running_cat_1() -> list[str]:
    """Names that the Cat 1.9 lacks that has started; none while it starts."""
    from cat.startup import cheshire_cat_api  # noqa: PLC0415 (only on that Cat)

    state: Any = cheshire_cat_api.state
    return missing_attributes(state, RUNNING_1) if hasattr(state, "ccat") else []


def _missing_of_cat_2() -> list[str]:
    missing = missing_names(NAMES_2)
    if missing:
        return missing
    from cat.ambient.runtime import ccat  # noqa: PLC0415 (only on that Cat)

    try:
        running = ccat()
    except RuntimeError:
        return []  # imported outside of a Cat
    return missing_attributes(running, RUNNING_2)


def _missing() -> list[str]:
    if LINE == "1.9":
        return _missing_of_cat_1()
    return _missing_of_cat_2() if LINE == "2.0" else []


MISSING = tuple(_missing())
"""The names that the Cat of a known line lacks, each with its purpose."""

IS_CAT_1 = LINE == "1.9" and not MISSING
"""1.9.0 to 1.9.2, with all names that the plugin uses."""

IS_CAT_2 = LINE == "2.0" and not MISSING
"""2.0.18 or later, with all names that the plugin uses."""
