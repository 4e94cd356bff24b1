"""The models of the Cat, and which of them a client means."""

import time
from typing import TYPE_CHECKING

from ..errors import ModelNotFound
from ..hosts.current import host
from .protocol import ModelList, ModelObject

if TYPE_CHECKING:
    from ...settings import Settings

CREATED = int(time.time())
"""OpenAI's field is the time a model was made; agents have none, so it is the time they were loaded."""


def all_models() -> ModelList:
    return ModelList(data=[ModelObject(id=model, created=CREATED) for model in host.models()])


def one_model(name: str, settings: "Settings") -> ModelObject:
    """The model under the name the client uses for it. Raises `ModelNotFound`."""
    resolve_model(name, settings)
    return ModelObject(id=name, created=CREATED)


def resolve_model(name: str, settings: "Settings") -> str:
    """The id of the model that a client means by `name`: its own id, else an alias. Raises `ModelNotFound`."""
    known = host.models()
    if name in known:
        return name
    aliases = settings.aliases()
    meant = aliases.get(name, aliases.get("*"))
    if meant is None or meant not in known:
        raise ModelNotFound(name, known)
    return meant
