"""Serving embeddings."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...domain.usage import Usage
from ...errors import EmbeddingsOff, NoEmbedder, RequestTimeout, UpstreamError, invalid
from ...generation.model_names import resolve_embedder
from ...hosts.port import DimensionsRefused, Embedder, Embeddings
from ...runtime import runtime
from ...telemetry.record import RequestRecord
from ...tokens.counting import count_tokens
from ...tokens.text_input import decode_texts
from ...wire.json import encode
from .protocol import Embedding, EmbeddingsRequest, EmbeddingsUsage

if TYPE_CHECKING:
    from ....settings import Settings

CHARACTERS_PER_TOKEN = 4
"""In English text, about."""


async def parse_request(body: EmbeddingsRequest, settings: "Settings") -> tuple[Embedder, list[str]]:
    """The embedder, and the texts of the request. Raises `EmbeddingsOff`, `ModelNotFound`, `NoEmbedder` or
    `InvalidRequest`."""
    if not settings.embeddings:
        raise EmbeddingsOff
    resolve_embedder(body.model, settings)
    embedder = await runtime.host.embedder()
    if embedder is None:
        raise NoEmbedder(runtime.host.embedder_setting)
    return embedder, await decode_texts(body.input, "input", runtime.vocabulary)


async def embed_texts(
    body: EmbeddingsRequest,
    embedder: Embedder,
    texts: Sequence[str],
    settings: "Settings",
    record: RequestRecord,
) -> bytes:
    """An encoded `EmbeddingList`. It is not built as a model because that is slow for millions of numbers.

    Raises `UpstreamError`, `RequestTimeout`, or `InvalidRequest` for dimensions that the embedder does not support.
    """
    record.details = {"requested_model": body.model, "texts": [{"characters": len(text)} for text in texts]}
    # Of a request whose client leaves, or whose time is over, the embedder does not report it.
    tokens = sum(map(len, texts)) // CHARACTERS_PER_TOKEN
    record.usage = Usage(tokens, 0, tokens)
    try:
        embeddings = await asyncio.wait_for(embedder.embed(texts, body.dimensions), settings.request_timeout or None)
    except (UpstreamError, DimensionsRefused) as error:
        record.usage = None
        if isinstance(error, UpstreamError):
            raise
        message = "the Cat's embedder does not support this size of vectors; leave it out"
        raise invalid("dimensions", message, "unsupported_parameter") from None
    except asyncio.TimeoutError:
        raise RequestTimeout(settings.request_timeout) from None
    tokens = embeddings.tokens or await count_tokens(texts, runtime.vocabulary)
    record.usage = Usage(tokens, 0, tokens)
    usage = EmbeddingsUsage(prompt_tokens=tokens, total_tokens=tokens)
    head = encode({"object": "list", "model": body.model, "usage": usage.wire()})
    return b'%b,"data":[%b]}' % (head[:-1], b",".join(await _encode_items(body, embeddings)))


async def _encode_items(body: EmbeddingsRequest, embeddings: Embeddings) -> list[bytes]:
    """Encode one vector at a time and let other tasks run in between: together they may have millions of numbers."""
    items = []
    for index, vector in enumerate(embeddings.vectors):
        items.append(encode(Embedding.from_vector(index, vector, body.encoding_format).wire()))
        await asyncio.sleep(0)
    return items
