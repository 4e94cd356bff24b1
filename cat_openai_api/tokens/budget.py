"""Cutting a growing text where its token limit is reached."""

import unicodedata

from .vocabulary import Tokenizer

MAX_TAIL_LENGTH = 4_000
"""Characters without a sure boundary after which one is assumed, at the price of a token more or less."""


class TokenBudget:
    """Lets a text pass that comes in pieces, up to `limit` tokens of the whole; 0 is no limit.

    What is certain to stay as it is has been counted once; only the tail behind the last sure boundary is
    counted again with each piece.
    """

    def __init__(self, limit: int, tokenizer: Tokenizer) -> None:
        self._limit = limit
        self._tokenizer = tokenizer
        self._bytes = 0
        self._uncounted: list[str] = []
        self._counted = 0
        self._tail = ""

    def take(self, piece: str) -> tuple[str, bool]:
        """As much of `piece` as may pass, and whether the limit has cut it."""
        if not self._limit:
            return piece, False
        # Of a long piece, no more than may pass is counted.
        for start in range(0, len(piece), MAX_TAIL_LENGTH):
            passed, cut = self._take(piece[start : start + MAX_TAIL_LENGTH])
            if cut:
                return piece[:start] + passed, True
        return piece, False

    def _take(self, piece: str) -> tuple[str, bool]:
        self._bytes += len(piece.encode("utf-8", "replace"))
        # A token is at least one byte, so most replies end before anything needs counting.
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
        head = self._tokenizer.head(text, self._limit - self._counted)
        return head[len(self._tail) :], True


def _last_boundary(text: str) -> int:
    """The last place where a letter is followed by what cannot belong to its word; 0 if there is none.

    There the encodings cl100k_base and o200k_base always end a piece (their published split patterns), so the
    tokens before it do not depend on what follows. Behind a very long text without one, its end.
    """
    for position in range(len(text) - 1, max(0, len(text) - MAX_TAIL_LENGTH), -1):
        if text[position - 1].isalpha() and not _continues_word(text[position]):
            return position
    return len(text) if len(text) > MAX_TAIL_LENGTH else 0


def _continues_word(character: str) -> bool:
    return character.isalpha() or character in "'\u2019" or unicodedata.category(character).startswith("M")
