"""The embedder of Cat 2: a model of one of its providers, chosen in the core settings."""

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

REQUESTS_AT_ONCE = 4
"""To the provider, for one request of a client's."""

T = TypeVar("T")
R = TypeVar("R")


class _Choice:
    """The model that is chosen, as `provider:model`."""

    def __init__(self) -> None:
        self._known: str | None = None

    async def read(self) -> str:
        """The one of before when it cannot be read: a busy SQLite file says so instead of waiting."""
        core = await ccat().get("config", "core")
        try:
            self._known = (await core.load_settings()).default_embedder
        except Exception:
            if self._known is None:
                raise
            log.error("OpenAI API: the Cat's embedder cannot be read, the one of before stays in force")
        assert self._known is not None
        return self._known


choice = _Choice()


async def configured_embedder() -> Embedder | None:
    """None also where its provider is gone, makes no embeddings or has no key."""
    slug, _, model = (await choice.read()).partition(":")
    provider = await ccat().get("model_providers", slug, raise_error=False)
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
            return _ManyAtOnce(client, model)
    return _OneByOne(provider, model)


class _Embedder2(Embedder):
    """`source`: what makes the embeddings."""

    def __init__(self, source: Any, model: str) -> None:
        self.source = source
        self.model = model

    async def embed(self, texts: Sequence[str], dimensions: int | None) -> Embeddings:
        with embedder_failures(dimensions, log.error):
            return await self._embed(texts, dimensions)

    @abstractmethod
    async def _embed(self, texts: Sequence[str], dimensions: int | None) -> Embeddings: ...


class _ManyAtOnce(_Embedder2):
    """A provider of OpenAI's wire format, asked through its own client."""

    async def _embed(self, texts: Sequence[str], dimensions: int | None) -> Embeddings:
        size = {} if dimensions is None else {"dimensions": dimensions}

        async def ask(batch: Sequence[str]) -> tuple[list[Vector], int]:
            reply = await self.source.embeddings.create(model=self.model, input=batch, **size)
            given = sorted(reply.data, key=lambda item: item.index)
            tokens = reply.usage.prompt_tokens if reply.usage else 0
            return check_vectors((item.embedding for item in given), batch, dimensions), tokens

        replies = await _a_few_at_once(ask, batches(texts))
        vectors = [*chain.from_iterable(vectors for vectors, _ in replies)]
        # There is no text without tokens: some servers have this field and no number for it.
        counts = [tokens for _, tokens in replies]
        return Embeddings(vectors, sum(counts) if all(counts) else None)


class _OneByOne(_Embedder2):
    """Any provider, as the Cat itself would ask it."""

    async def _embed(self, texts: Sequence[str], dimensions: int | None) -> Embeddings:
        async def ask(text: str) -> Vector:
            (vector,) = check_vectors([await self.source.embed(self.model, text)], [text], dimensions)
            return vector

        return Embeddings(await _a_few_at_once(ask, texts))


async def _a_few_at_once(ask: Callable[[T], Awaitable[R]], questions: Sequence[T]) -> list[R]:
    """The answers in order. Whatever ends it, no question is open then."""
    concurrency_limit = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def asked(question: T) -> R:
        async with concurrency_limit:
            return await ask(question)

    asking = [asyncio.create_task(asked(question)) for question in questions]
    try:
        return await asyncio.gather(*asking)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
