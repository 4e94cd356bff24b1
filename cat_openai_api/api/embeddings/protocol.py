"""Wire models of `/v1/embeddings` (OpenAI API reference, "Embeddings").

Names, defaults and limits are OpenAI's.
"""

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Field, PlainValidator, WithJsonSchema

from ...tokens.text_input import JSON_SCHEMA, TextOrTokens, parse_texts
from ...wire.models import MAX_NAME_LENGTH, WireReply, WireRequest

MAX_INPUTS = 2048

MAX_TOKENS = 300_000
"""Tokens of all inputs together."""

EncodingFormat: TypeAlias = Literal["float", "base64"]


def _parse_inputs(value: Any) -> list[TextOrTokens]:
    inputs = parse_texts(value, MAX_INPUTS)
    if "" in inputs:
        raise ValueError("a text is empty; send texts of at least one character")
    return inputs


class EmbeddingsRequest(WireRequest):
    model: str = Field(min_length=1, max_length=MAX_NAME_LENGTH)
    input: Annotated[list[TextOrTokens], PlainValidator(_parse_inputs), WithJsonSchema(JSON_SCHEMA)]
    encoding_format: EncodingFormat | None = None
    dimensions: int | None = Field(None, ge=1, lt=2**31)
    user: str | None = Field(None, max_length=MAX_NAME_LENGTH)

    model_config = ConfigDict(
        json_schema_extra={"example": {"model": "cheshire-cat-embedder", "input": ["A grin.", "A cat."]}}
    )


class Embedding(WireReply):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="A string is base64 of little-endian 32-bit floats.")

    @classmethod
    def from_vector(cls, index: int, vector: Sequence[float], format: EncodingFormat | None) -> "Embedding":
        if format == "base64":
            packed = struct.pack(f"<{len(vector)}f", *vector)
            return cls(index=index, embedding=base64.b64encode(packed).decode("ascii"))
        return cls(index=index, embedding=list(vector))


class EmbeddingsUsage(WireReply):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(WireReply):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 0.125]}],
                "model": "cheshire-cat-embedder",
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
            }
        }
    )
