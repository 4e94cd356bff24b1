"""A text or many, any of them as tokens: what embeddings and completions take."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from ..errors import invalid
from .counting import decode_tokens
from .vocabulary import NoVocabulary, UnknownToken, Vocabulary

TextOrTokens: TypeAlias = str | list[int]

SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "array", "items": {"type": "integer"}},
        {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
    ]
}
"""Of such a field, for the API docs."""


def parse_texts(value: Any, most: int) -> list[TextOrTokens]:
    """For validators: one by one what a client sent as one text or as at most so many. Raises ValueError.

    Pydantic's own union would make an error of each item, for each form that the items do not have.
    """
    if isinstance(value, str) or _are_all(int, value):
        return [value]
    if not (_are_all(str, value) or (_are_all(list, value) and all(_are_all(int, tokens) for tokens in value))):
        raise ValueError("send a text, the tokens of one, or a list of either")
    if len(value) > most:
        raise ValueError(f"at most {most} texts in one request")
    return list(value)


def _are_all(kind: type, items: Any) -> bool:
    """Whether it is a list of nothing else, and not empty."""
    return isinstance(items, list) and bool(items) and all(type(item) is kind for item in items)


async def decode_texts(texts: Sequence[TextOrTokens], path: str, vocabulary: Vocabulary) -> list[str]:
    """All of them as texts. `path`: where they stand in the request. Raises `InvalidRequest`."""
    try:
        return await decode_tokens(texts, vocabulary)
    except UnknownToken as problem:
        raise invalid(path, f"there is no token {problem} in the vocabulary cl100k_base") from problem
    except NoVocabulary:
        message = (
            "this Cat has no vocabulary to read tokens with; send texts "
            "(for LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)"
        )
        raise invalid(path, message, "unsupported_parameter") from None
