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
    if model in chat_models:
        return model
    raise ModelNotFound(name, chat_models, *(["only makes embeddings"] if model == EMBEDDER_MODEL else []))


def resolve_embedder(name: str, settings: "Settings") -> str:
    """The id of the embedding model that `name` stands for. Raises `ModelNotFound`."""
    chat_models = runtime.host.models()
    model = resolve_alias(name, settings, [*chat_models, EMBEDDER_MODEL])
    if model == EMBEDDER_MODEL:
        return model
    is_chat_model = name in chat_models or settings.aliases().get(name) in chat_models
    raise ModelNotFound(name, [EMBEDDER_MODEL], *(["makes no embeddings"] if is_chat_model else []))


def resolve_alias(name: str, settings: "Settings", known: Sequence[str]) -> str:
    """`name` itself if it is one of the `known` ids; otherwise the model of its alias, or of the alias `*`, if any."""
    if name in known:
        return name
    aliases = settings.aliases()
    return aliases.get(name, aliases.get("*", name))
