"""The models of the Cat, and which of them a client means."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ModelNotFound
from ..hosts.current import host
from ..hosts.port import THE_EMBEDDER
from .protocol import ModelList, ModelObject

if TYPE_CHECKING:
    from ...settings import Settings

CREATED = int(time.time())
"""OpenAI's field is the time a model was made; agents have none, so it is the time they were loaded."""


async def all_models(settings: "Settings") -> ModelList:
    return ModelList(data=[ModelObject(id=model, created=CREATED) for model in await _ids(settings)])


async def one_model(name: str, settings: "Settings") -> ModelObject:
    """The model under the name the client uses for it. Raises `ModelNotFound`."""
    known = await _ids(settings)
    if _meant(name, settings, known) not in known:
        raise ModelNotFound(name, known)
    return ModelObject(id=name, created=CREATED)


async def _ids(settings: "Settings") -> Sequence[str]:
    """The Cat's embedder behind all that a client can talk to."""
    has_embedder = settings.embeddings and await host.embedder() is not None
    return [*host.models(), *([THE_EMBEDDER] if has_embedder else [])]


def resolve_model(name: str, settings: "Settings") -> str:
    """The id of the model that a client wants to talk to. Raises `ModelNotFound`."""
    known = host.models()
    meant = _meant(name, settings, [*known, THE_EMBEDDER])
    if meant in known:
        return meant
    raise ModelNotFound(name, known, *(["only makes embeddings"] if meant == THE_EMBEDDER else []))


def resolve_embedder(name: str, settings: "Settings") -> str:
    """The id of the model that a client wants embeddings of. Raises `ModelNotFound`."""
    chats = host.models()
    meant = _meant(name, settings, [*chats, THE_EMBEDDER])
    if meant == THE_EMBEDDER:
        return meant
    is_chat = name in chats or settings.aliases().get(name) in chats
    raise ModelNotFound(name, [THE_EMBEDDER], *(["makes no embeddings"] if is_chat else []))


def _meant(name: str, settings: "Settings", known: Sequence[str]) -> str:
    """Of a model that a client calls `name`: its own id, else what an alias says, else the name."""
    if name in known:
        return name
    aliases = settings.aliases()
    return aliases.get(name, aliases.get("*", name))
