"""Takes names away from the Cat that runs, and gives them back. For either Cat."""

import os
import sys
from importlib import import_module
from typing import Any

from cat.mad_hatter.decorators import endpoint, hook
from pydantic import BaseModel

stolen: list[tuple[Any, str, Any]] = []


class Name(BaseModel):
    """`attribute`: a path within the module; empty for the module itself."""

    module: str
    attribute: str = ""


@endpoint.post("/thief/take", prefix="")
async def take(name: Name) -> None:
    if not name.attribute:
        stolen.append((sys.modules, name.module, sys.modules[name.module]))
        sys.modules[name.module] = None  # type: ignore[assignment]
        return
    *path, last = name.attribute.split(".")
    owner = import_module(name.module)
    for step in path:
        owner = getattr(owner, step)
    stolen.append((owner, last, vars(owner)[last]))
    delattr(owner, last)


@endpoint.post("/thief/give-back", prefix="")
async def give_back() -> None:
    while stolen:
        owner, name, value = stolen.pop()
        if owner is sys.modules:
            owner[name] = value
        else:
            setattr(owner, name, value)


@hook
def after_cat_bootstrap(cat: Any) -> None:
    """On Cheshire Cat 1.9: attributes of the Cat, named by the environment, are gone when it has started."""
    for name in filter(None, os.environ.get("THIEF_TAKES", "").split(",")):
        delattr(cat, name)
