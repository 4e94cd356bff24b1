"""The embedder of Cat 2: a model of one of its providers, named in its core settings."""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from ..detect import IS_CAT_2
from ..port import Embedder, Embeddings
from ..shared.vectors import Vector, batches, check_vectors, embedder_failures

if IS_CAT_2 or TYPE_CHECKING:
    from cat import log
    from cat.ambient.runtime import ccat
    from cat.services.model_providers.base import ModelProvider
    from cat.services.model_providers.default import DefaultModelProvider
    from cat.services.model_providers.openai_compatible import OpenAICompatibleProvider

MAX_CONCURRENT_REQUESTS = 4
"""To the provider, for one request of a client."""

T = TypeVar("T")
R = TypeVar("R")


class EmbedderSetting:
    """The model that the Cat's core settings name as its embedder."""

    def __init__(self) -> None:
        self._slug: str | None = None

    async def embedder(self) -> Embedder | None:
        """None if the provider of the model does not exist, has no API key, or makes no embeddings."""
        provider_slug, _, model = (await self._read()).partition(":")
        provider = await ccat().get("model_providers", provider_slug, raise_error=False)
        if provider is None or isinstance(provider, DefaultModelProvider):
            return None
        embed = type(provider).embed
        if embed is ModelProvider.embed:
            return None
        if isinstance(provider, OpenAICompatibleProvider):
            client = await provider.client()
            if client is None:
                return None
            if embed is OpenAICompatibleProvider.embed:
                return _BatchEmbedder(client, model)
        return _SingleTextEmbedder(provider, model)

    async def _read(self) -> str:
        """The slug `provider:model`; the former one if it cannot be read: a busy SQLite file raises at once."""
        core = await ccat().get("config", "core")
        try:
            self._slug = (await core.load_settings()).default_embedder
        except Exception:
            if self._slug is None:
                raise
            log.error("OpenAI API: the Cat's embedder cannot be read, the last known one stays in force")
        assert self._slug is not None
        return self._slug


class _Embedder2(Embedder):
    """`source`: the SDK's client or the Cat's provider."""

    def __init__(self, source: Any, model: str) -> None:
        self._source = source
        self._model = model

    async def embed(self, texts: Sequence[str], dimensions: int | None) -> Embeddings:
        with embedder_failures(dimensions, log.error):
            return await self._embed(texts, dimensions)

    @abstractmethod
    async def _embed(self, texts: Sequence[str], dimensions: int | None) -> Embeddings: ...


class _BatchEmbedder(_Embedder2):
    """A provider of OpenAI's wire format: its SDK client embeds many texts in one request."""

    async def _embed(self, texts: Sequence[str], dimensions: int | None) -> Embeddings:
        size = {} if dimensions is None else {"dimensions": dimensions}

        async def embed_batch(batch: Sequence[str]) -> tuple[list[Vector], int]:
            reply = await self._source.embeddings.create(model=self._model, input=batch, **size)
            items = sorted(reply.data, key=lambda item: item.index)
            tokens = reply.usage.prompt_tokens if reply.usage else 0
            return check_vectors((item.embedding for item in items), batch, dimensions), tokens

        replies = await _map_concurrently(embed_batch, batches(texts))
        vectors = [*chain.from_iterable(vectors for vectors, _ in replies)]
        # Every text has tokens: a server that reports 0 has not counted them.
        counts = [tokens for _, tokens in replies]
        return Embeddings(vectors, sum(counts) if all(counts) else None)


class _SingleTextEmbedder(_Embedder2):
    """Any other provider: its method `embed` takes one text."""

    async def _embed(self, texts: Sequence[str], dimensions: int | None) -> Embeddings:
        async def embed_text(text: str) -> Vector:
            (vector,) = check_vectors([await self._source.embed(self._model, text)], [text], dimensions)
            return vector

        return Embeddings(await _map_concurrently(embed_text, texts))


async def _map_concurrently(function: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """The results in order, with at most `MAX_CONCURRENT_REQUESTS` calls at a time.

    If one call raises or the caller is cancelled, the other calls are cancelled, too, and have ended.
    """
    concurrency_limit = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)

    async def call(item: T) -> R:
        async with concurrency_limit:
            return await function(item)

    calls = [asyncio.create_task(call(item)) for item in items]
    try:
        return await asyncio.gather(*calls)
    finally:
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
