"""The models that a client can ask for, and which of them it means."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..domain.model_ids import EMBEDDER_MODEL
from ..errors import ModelNotFound
from ..hosts.current import host

if TYPE_CHECKING:
    from ...settings import Settings


def resolve_model(name: str, settings: "Settings") -> str:
    """The id of the model that a client wants to talk to. Raises `ModelNotFound`."""
    known = host.models()
    meant = _meant(name, settings, [*known, EMBEDDER_MODEL])
    if meant in known:
        return meant
    raise ModelNotFound(name, known, *(["only makes embeddings"] if meant == EMBEDDER_MODEL else []))


def resolve_embedder(name: str, settings: "Settings") -> str:
    """The id of the model that a client wants embeddings of. Raises `ModelNotFound`."""
    chats = host.models()
    meant = _meant(name, settings, [*chats, EMBEDDER_MODEL])
    if meant == EMBEDDER_MODEL:
        return meant
    is_chat = name in chats or settings.aliases().get(name) in chats
    raise ModelNotFound(name, [EMBEDDER_MODEL], *(["makes no embeddings"] if is_chat else []))


def _meant(name: str, settings: "Settings", known: Sequence[str]) -> str:
    """Of a model that a client calls `name`: its own id, else what an alias says, else the name."""
    if name in known:
        return name
    aliases = settings.aliases()
    return aliases.get(name, aliases.get("*", name))
