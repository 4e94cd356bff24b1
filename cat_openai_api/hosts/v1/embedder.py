"""The embedder of Cat 1.9. Its LangChain class is synchronous, so it is called in a thread."""

import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..detect import IS_CAT_1
from ..port import Embedder, Embeddings
from ..shared.vectors import Vector, batches, check_vectors, embedder_failures
from .rewrites import copy_with_fields

if IS_CAT_1 or TYPE_CHECKING:
    from cat.db.crud import get_setting_by_name
    from cat.factory.custom_embedder import DumbEmbedder
    from cat.log import log
    from cat.looking_glass.cheshire_cat import CheshireCat

RunInThread: TypeAlias = Callable[[Callable[[], "list[Vector]"]], Awaitable["list[Vector]"]]

DUMB = "EmbedderDumbConfig"
RANDOM = "EmbedderFakeConfig"
"""Names that the Cat's panel stores for two embedders."""


def configured_embedder(run_in_thread: RunInThread) -> Embedder | None:
    """`run_in_thread`: runs a function in a thread of its own.

    None where the Cat embeds with random numbers, or with letter pairs because it could not make the embedder that
    was chosen. Where none was chosen, the letter pairs are the Cat's default.
    """
    embedder = CheshireCat().embedder
    selected = get_setting_by_name("embedder_selected")
    name = selected["value"]["name"] if selected else DUMB
    if name == RANDOM or (isinstance(embedder, DumbEmbedder) and name != DUMB):
        return None
    return _Embedder1(embedder, run_in_thread)


class _Embedder1(Embedder):
    def __init__(self, embedder: Any, run_in_thread: RunInThread) -> None:
        self._embedder = embedder
        self._run_in_thread = run_in_thread

    async def embed(self, texts: Sequence[str], dimensions: int | None) -> Embeddings:
        cancelled = threading.Event()

        def embed() -> list[Vector]:
            embedder = _with_dimensions(self._embedder, dimensions)
            vectors: list[Vector] = []
            for batch in batches(texts):
                if cancelled.is_set():
                    break
                vectors += check_vectors(embedder.embed_documents([*batch]), batch, dimensions)
            return vectors

        try:
            with embedder_failures(dimensions, log.error):
                return Embeddings(await self._run_in_thread(embed))
        finally:
            cancelled.set()


def _with_dimensions(embedder: Any, dimensions: int | None) -> Any:
    """The same embedder for vectors of that size. Only OpenAI's class has a field for it."""
    if dimensions is None or "dimensions" not in getattr(embedder, "__fields__", {}):
        return embedder
    return copy_with_fields(embedder, dimensions=dimensions)
