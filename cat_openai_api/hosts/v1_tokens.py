"""How Cheshire Cat 1.9 counts tokens for its own records, in the thread of each run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..tokens import PIECE_CHARACTERS, EstimatingTokenizer
from .detect import IS_CAT_1

if IS_CAT_1 or TYPE_CHECKING:
    import tiktoken
    from cat.looking_glass import callbacks, stray_cat


class _Encoding:
    """As the host uses it: the number of tokens is all that counts."""

    def __init__(self, encoding: Any) -> None:
        self._encoding = encoding

    def encode(self, text: str) -> Sequence[int]:
        if len(text) > PIECE_CHARACTERS:
            return range(EstimatingTokenizer().count(text))
        tokens: list[int] = self._encoding.encode_ordinary(text)
        return tokens


class _Tiktoken:
    def get_encoding(self, name: str) -> _Encoding:
        return _Encoding(tiktoken.get_encoding(name))


def count_safely() -> None:
    """Have long texts estimated, in the Cat's own chat too.

    The Cat's tiktoken takes minutes for 100,000 emoji, which nothing can stop, and raises for a million letters
    without a space and for the text `<|endoftext|>`.
    """
    for module in (callbacks, stray_cat):
        module.tiktoken = _Tiktoken()


def count_as_before() -> None:
    for module in (callbacks, stray_cat):
        module.tiktoken = tiktoken
