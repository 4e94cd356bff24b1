"""How Cheshire Cat 1.9 counts tokens for its own records, in the thread of each run."""

from collections.abc import Sequence
from typing import Any

from ...tokens.counting import BLOCKING_CHARACTERS
from ...tokens.vocabulary import EstimatingTokenizer, TiktokenTokenizer, Tokenizer


class LimitedTiktoken:
    """In place of the module `tiktoken` where the Cat counts tokens: long texts are estimated.

    The Cat's tiktoken takes minutes for 100,000 emoji, and no thread can be stopped. It raises an exception for a
    million letters without a space, and for the text `<|endoftext|>`.
    """

    def __init__(self, _: Any) -> None:
        """The argument is the module that the Cat uses otherwise: see `Replacement`."""

    def get_encoding(self, name: str) -> "_LimitedEncoding":
        return _LimitedEncoding(name)


class _LimitedEncoding:
    def __init__(self, name: str) -> None:
        self._exact = TiktokenTokenizer(name)

    def encode(self, text: str) -> Sequence[int]:
        """As many numbers as there are tokens: the Cat counts them and nothing else."""
        tokenizer: Tokenizer = self._exact if len(text) <= BLOCKING_CHARACTERS else EstimatingTokenizer()
        return range(tokenizer.count(text))
