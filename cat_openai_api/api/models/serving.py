"""The models of the Cat, and which of them a client means."""

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
"""OpenAI's field is the time a model was made; agents have none, so it is the time they were loaded."""


async def all_models(settings: "Settings") -> ModelList:
    return ModelList(data=[ModelObject(id=model, created=CREATED) for model in await _ids(settings)])


async def one_model(name: str, settings: "Settings") -> ModelObject:
    """The model under the name the client uses for it. Raises `ModelNotFound`."""
    known = await _ids(settings)
    if resolve_alias(name, settings, known) not in known:
        raise ModelNotFound(name, known)
    return ModelObject(id=name, created=CREATED)


async def _ids(settings: "Settings") -> Sequence[str]:
    """The Cat's embedder behind all that a client can talk to."""
    has_embedder = settings.embeddings and await runtime.host.embedder() is not None
    return [*runtime.host.models(), *([EMBEDDER_MODEL] if has_embedder else [])]
