"""The embedder of Cat 1.9, a LangChain class that waits: it is asked in a thread."""

import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..detect import IS_CAT_1
from ..port import Embedder, Embeddings
from ..shared.vectors import Vector, batches, check_vectors, embedder_failures
from .rewrites import with_fields

if IS_CAT_1 or TYPE_CHECKING:
    from cat.db.crud import get_setting_by_name
    from cat.factory.custom_embedder import DumbEmbedder
    from cat.log import log
    from cat.looking_glass.cheshire_cat import CheshireCat

InAThread: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]

DUMB = "EmbedderDumbConfig"
RANDOM = "EmbedderFakeConfig"
"""Names of settings in the Cat's panel."""


def configured_embedder(in_a_thread: InAThread) -> Embedder | None:
    """`in_a_thread`: runs a function there.

    None where the Cat embeds with random numbers, or with letter pairs because the embedder that was chosen could
    not be made. Where none was chosen, the letter pairs are the Cat's own.
    """
    embedder = CheshireCat().embedder
    selected = get_setting_by_name("embedder_selected")
    name = selected["value"]["name"] if selected else DUMB
    if name == RANDOM or (isinstance(embedder, DumbEmbedder) and name != DUMB):
        return None
    return _Embedder1(embedder, in_a_thread)


class _Embedder1(Embedder):
    def __init__(self, embedder: Any, in_a_thread: InAThread) -> None:
        self._embedder = embedder
        self._in_a_thread = in_a_thread

    async def embed(self, texts: Sequence[str], dimensions: int | None) -> Embeddings:
        nobody_waits = threading.Event()

        def embed() -> list[Vector]:
            embedder = _with_dimensions(self._embedder, dimensions)
            vectors: list[Vector] = []
            for batch in batches(texts):
                if nobody_waits.is_set():
                    break
                vectors += check_vectors(embedder.embed_documents([*batch]), batch, dimensions)
            return vectors

        try:
            with embedder_failures(dimensions, log.error):
                return Embeddings(await self._in_a_thread(embed))
        finally:
            nobody_waits.set()


def _with_dimensions(embedder: Any, dimensions: int | None) -> Any:
    """Only OpenAI's class has a field for it."""
    if dimensions is None or "dimensions" not in getattr(embedder, "__fields__", {}):
        return embedder
    return with_fields(embedder, dimensions=dimensions)
