"""The input of embeddings and completions: one or several texts, each as a string or as a list of tokens."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from ..errors import invalid
from .counting import decode_tokens
from .vocabulary import NoVocabulary, UnknownToken, Vocabulary

TextOrTokens: TypeAlias = str | list[int]

JSON_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "array", "items": {"type": "integer"}},
        {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
    ]
}
"""The schema of such a field in the API docs."""


def parse_texts(value: Any, max_texts: int) -> list[TextOrTokens]:
    """Validate the value of such a field and return its texts, one or several. Raises ValueError.

    This replaces a union of Pydantic's, which would collect an error for each item and each member of the union.
    """
    if isinstance(value, str) or _is_list_of(int, value):
        return [value]
    is_token_lists = _is_list_of(list, value) and all(_is_list_of(int, tokens) for tokens in value)
    if not (_is_list_of(str, value) or is_token_lists):
        raise ValueError("send a string, a list of strings, a list of tokens, or a list of lists of tokens")
    if len(value) > max_texts:
        raise ValueError(f"send at most {max_texts} texts in one request")
    return list(value)


def _is_list_of(type_: type, value: Any) -> bool:
    """Whether `value` is a list of at least one item, all of exactly that type: booleans are not integers."""
    return isinstance(value, list) and bool(value) and all(type(item) is type_ for item in value)


async def decode_texts(texts: Sequence[TextOrTokens], path: str, vocabulary: Vocabulary) -> list[str]:
    """All texts as strings. `path`: of the field in the request. Raises `InvalidRequest`."""
    try:
        return await decode_tokens(texts, vocabulary)
    except UnknownToken as error:
        raise invalid(path, f"the vocabulary cl100k_base has no token {error}") from error
    except NoVocabulary:
        message = (
            "the Cat has no vocabulary to decode tokens; send strings "
            "(in LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)"
        )
        raise invalid(path, message, "unsupported_parameter") from None
