"""Serving the list of models."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...domain.model_ids import EMBEDDER_MODEL
from ...errors import ModelNotFound
from ...generation.model_names import resolve_alias
from ...runtime import runtime
from .protocol import ModelList, ModelObject

if TYPE_CHECKING:
    from ....settings import Settings

CREATED = int(time.time())
"""The value of OpenAI's field `created`. Agents have no time of creation, so it is the time of the plugin's start."""


async def list_all_models(settings: "Settings") -> ModelList:
    models = filter(settings.allows_model, await _ids(settings))
    return ModelList(data=[ModelObject(id=model, created=CREATED) for model in models])


async def find_model(name: str, settings: "Settings") -> ModelObject:
    """The model with the id or alias `name`, which is also the id in the result. Raises `ModelNotFound`."""
    known = await _ids(settings)
    usable = [*filter(settings.allows_model, known)]
    if resolve_alias(name, settings, known) not in usable:
        raise ModelNotFound(name, usable)
    return ModelObject(id=name, created=CREATED)


async def _ids(settings: "Settings") -> Sequence[str]:
    """The models for chat, then the embedder."""
    has_embedder = settings.embeddings and await runtime.host.embedder() is not None
    return [*runtime.host.models(), *([EMBEDDER_MODEL] if has_embedder else [])]
