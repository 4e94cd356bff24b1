"""Resolving the names that clients use for models."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..domain.model_ids import EMBEDDER_MODEL
from ..errors import ModelNotFound
from ..runtime import runtime

if TYPE_CHECKING:
    from ...settings import Settings


def resolve_model(name: str, settings: "Settings") -> str:
    """The id of the model for chat that `name` stands for. Raises `ModelNotFound`."""
    chat_models = runtime.host.models()
    model = resolve_alias(name, settings, [*chat_models, EMBEDDER_MODEL])
    usable = [*filter(settings.allows_model, chat_models)]
    if model in usable:
        return model
    is_embedder = model == EMBEDDER_MODEL and settings.allows_model(model)
    raise ModelNotFound(name, usable, *(["only makes embeddings"] if is_embedder else []))


def resolve_embedder(name: str, settings: "Settings") -> str:
    """The id of the embedding model that `name` stands for. Raises `ModelNotFound`."""
    chat_models = runtime.host.models()
    model = resolve_alias(name, settings, [*chat_models, EMBEDDER_MODEL])
    usable = [*filter(settings.allows_model, [EMBEDDER_MODEL])]
    if model in usable:
        return model
    chat_model = name if name in chat_models else settings.aliases().get(name, "")
    is_chat_model = chat_model in chat_models and settings.allows_model(chat_model)
    raise ModelNotFound(name, usable, *(["makes no embeddings"] if is_chat_model else []))


def resolve_alias(name: str, settings: "Settings", known: Sequence[str]) -> str:
    """`name` itself if it is one of the `known` ids; otherwise the model of its alias, or of the alias `*`, if any."""
    if name in known:
        return name
    aliases = settings.aliases()
    return aliases.get(name, aliases.get("*", name))
