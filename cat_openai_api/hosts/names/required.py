"""The check that a Cat has the names that the plugin uses of it.

The lists are in `cat_1` and `cat_2`. `detect` checks them before a module of the plugin imports a name of `cat.*`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

SUPPORTED = "Cheshire Cat 1.9.0 to 1.9.2, and 2.0.18 or later"


@dataclass(frozen=True)
class Required:
    """Names that the plugin needs for one purpose.

    `owner`: the module they are in, or for names of the running Cat the object, as a path. `names`: dotted paths within
    it, such as "StrayCat.run"; none where the module itself is what is needed.
    """

    purpose: str
    owner: str
    names: tuple[str, ...] = ()


def missing_names(required: Sequence[Required]) -> list[str]:
    """Those that the modules of the Cat do not have, each as its full path and its purpose.

    A module that cannot be imported, whatever it raises, has none of its names.
    """
    missing = []
    for group in required:
        try:
            module = import_module(group.owner)
        except Exception:
            missing.append(f"{group.owner} ({group.purpose})")
            continue
        missing += _missing_of(module, group)
    return missing


def missing_attributes(running: Any, required: Sequence[Required]) -> list[str]:
    """The same for objects that exist only while the Cat runs. `running`: the object at which every owner begins."""
    missing = []
    for group in required:
        owner = running
        for name in group.owner.split(".")[1:]:
            owner = getattr(owner, name, None)
        missing += _missing_of(owner, group)
    return missing


def _missing_of(owner: Any, group: Required) -> list[str]:
    return [f"{group.owner}.{name} ({group.purpose})" for name in group.names if not _has(owner, name)]


def _has(owner: Any, path: str) -> bool:
    name, _, rest = path.partition(".")
    if not hasattr(owner, name):
        # Pydantic takes fields away from the class.
        return not rest and name in getattr(owner, "model_fields", {})
    return not rest or _has(getattr(owner, name), rest)


def problem_for_clients(missing: Sequence[str]) -> str:
    return (
        f"It lacks {len(missing)} of the names that the plugin uses. The Cat's log lists them. "
        f"Versions that work: {SUPPORTED}."
    )


def problem_for_log(missing: Sequence[str]) -> str:
    return (
        f"OpenAI API: this Cat lacks what the plugin needs: {'; '.join(missing)}. Every route of the plugin that needs "
        f"the Cat answers 503. Install a version of the Cat that works ({SUPPORTED}), or a version of the plugin that "
        "is made for this Cat. Another plugin that removes or renames parts of the Cat is a cause too."
    )
