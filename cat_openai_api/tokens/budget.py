"""Cutting a streamed text at its token limit."""

import unicodedata

from .vocabulary import Tokenizer

MAX_TAIL_LENGTH = 4_000
"""Characters without a token boundary after which one is assumed. The count may then be off by one token."""


class TokenBudget:
    """Cuts a text that arrives in pieces after `limit` tokens; 0 is no limit.

    How a text splits into tokens depends on what follows it, up to the next certain token boundary. The text before the
    last such boundary is counted once; only the tail after it is counted again with each piece.
    """

    def __init__(self, limit: int, tokenizer: Tokenizer) -> None:
        self._limit = limit
        self._tokenizer = tokenizer
        self._bytes = 0
        self._uncounted: list[str] = []
        self._counted = 0
        self._tail = ""

    def feed(self, piece: str) -> tuple[str, bool]:
        """Returns the part of `piece` that is within the limit, and whether the limit was exceeded."""
        if not self._limit:
            return piece, False
        # A long piece is counted in parts, so that nothing after the limit is counted.
        for start in range(0, len(piece), MAX_TAIL_LENGTH):
            passed, is_exceeded = self._feed(piece[start : start + MAX_TAIL_LENGTH])
            if is_exceeded:
                return piece[:start] + passed, True
        return piece, False

    def _feed(self, piece: str) -> tuple[str, bool]:
        self._bytes += len(piece.encode("utf-8", "replace"))
        # A token has at least one byte, so most replies end before anything has to be counted.
        if self._bytes <= self._limit:
            self._uncounted.append(piece)
            return piece, False
        if self._uncounted:
            self._tail = "".join(self._uncounted)
            self._uncounted.clear()
        text = self._tail + piece
        boundary = _last_boundary(text)
        counted = self._counted + self._tokenizer.count(text[:boundary])
        if counted + self._tokenizer.count(text[boundary:]) <= self._limit:
            self._counted, self._tail = counted, text[boundary:]
            return piece, False
        truncated = self._tokenizer.truncate(text, self._limit - self._counted)
        return truncated[len(self._tail) :], True


def _last_boundary(text: str) -> int:
    """The last index where a letter is followed by a character that cannot belong to its word; 0 if there is none.

    The split patterns that are published for cl100k_base and o200k_base always end a piece there, so the tokens before
    this index do not depend on the text after it. For a text without one in its last `MAX_TAIL_LENGTH` characters, its
    length.
    """
    for position in range(len(text) - 1, max(0, len(text) - MAX_TAIL_LENGTH), -1):
        if text[position - 1].isalpha() and not _continues_word(text[position]):
            return position
    return len(text) if len(text) > MAX_TAIL_LENGTH else 0


def _continues_word(character: str) -> bool:
    return character.isalpha() or character in "'\u2019" or unicodedata.category(character).startswith("M")
