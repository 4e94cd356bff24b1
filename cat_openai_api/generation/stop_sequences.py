"""Cutting a streamed text at the client's stop sequences."""

from collections.abc import Sequence


class StopSequences:
    """Cuts a text that arrives in pieces before its first stop sequence.

    The first one is the one that ends first, as in an LLM that checks after each token. Text that may be the beginning
    of a stop sequence is held back until it is certain that it is not.
    """

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = sequences
        self._held_back = ""

    def feed(self, piece: str) -> tuple[str, bool]:
        """Returns the text that can be sent now, and whether a stop sequence was found."""
        if not self._sequences:
            return piece, False
        text = self._held_back + piece
        self._held_back = ""
        found = [(start + len(sequence), start) for sequence in self._sequences if (start := text.find(sequence)) >= 0]
        if found:
            return text[: min(found)[1]], True
        end = len(text) - max(_overlap(text, sequence) for sequence in self._sequences)
        self._held_back = text[end:]
        return text[:end], False

    def flush(self) -> str:
        """Returns the text that was held back, after the last piece."""
        text, self._held_back = self._held_back, ""
        return text


def _overlap(text: str, sequence: str) -> int:
    """Length of the longest suffix of `text` that is a prefix of `sequence`."""
    start = text.find(sequence[0], max(0, len(text) - len(sequence) + 1))
    while start >= 0:
        if sequence.startswith(text[start:]):
            return len(text) - start
        start = text.find(sequence[0], start + 1)
    return 0
