"""How Cheshire Cat 1.9 counts tokens for its own records, in the thread of each run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...tokens.counting import BLOCKING_CHARACTERS
from ...tokens.vocabulary import EstimatingTokenizer, TiktokenTokenizer, Tokenizer
from ..detect import IS_CAT_1

if IS_CAT_1 or TYPE_CHECKING:
    import tiktoken
    from cat.looking_glass import callbacks, stray_cat


class _Encoding:
    """As the host uses it: the number of tokens is all that counts."""

    def __init__(self, name: str) -> None:
        self._exact = TiktokenTokenizer(name)

    def encode(self, text: str) -> Sequence[int]:
        tokenizer: Tokenizer = self._exact if len(text) <= BLOCKING_CHARACTERS else EstimatingTokenizer()
        return range(tokenizer.count(text))


class _Tiktoken:
    def get_encoding(self, name: str) -> _Encoding:
        return _Encoding(name)


def limit_token_counting() -> None:
    """Have long texts estimated, in the Cat's own chat too.

    The Cat's tiktoken takes minutes for 100,000 emoji, which nothing can stop, and raises for a million letters
    without a space and for the text `<|endoftext|>`.
    """
    for module in (callbacks, stray_cat):
        module.tiktoken = _Tiktoken()


def restore_token_counting() -> None:
    for module in (callbacks, stray_cat):
        module.tiktoken = tiktoken
