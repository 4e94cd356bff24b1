"""The models that a client can ask for, and which of them it means."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..domain.model_ids import EMBEDDER_MODEL
from ..errors import ModelNotFound
from ..runtime import runtime

if TYPE_CHECKING:
    from ...settings import Settings


def resolve_model(name: str, settings: "Settings") -> str:
    """The id of the model that a client wants to talk to. Raises `ModelNotFound`."""
    known = runtime.host.models()
    model = resolve_alias(name, settings, [*known, EMBEDDER_MODEL])
    if model in known:
        return model
    raise ModelNotFound(name, known, *(["only makes embeddings"] if model == EMBEDDER_MODEL else []))


def resolve_embedder(name: str, settings: "Settings") -> str:
    """The id of the model that a client wants embeddings of. Raises `ModelNotFound`."""
    chats = runtime.host.models()
    model = resolve_alias(name, settings, [*chats, EMBEDDER_MODEL])
    if model == EMBEDDER_MODEL:
        return model
    is_chat = name in chats or settings.aliases().get(name) in chats
    raise ModelNotFound(name, [EMBEDDER_MODEL], *(["makes no embeddings"] if is_chat else []))


def resolve_alias(name: str, settings: "Settings", known: Sequence[str]) -> str:
    """Of a model that a client calls `name`: its own id, else what an alias says, else the name."""
    if name in known:
        return name
    aliases = settings.aliases()
    return aliases.get(name, aliases.get("*", name))
