"""Ending a growing text where one of the client's stop sequences begins."""

from collections.abc import Sequence


class StopSequences:
    """Lets a text pass that comes in pieces, up to the first stop sequence, whatever the pieces are.

    First is the sequence that is complete first, as for an LLM that looks after each token. What may be the
    beginning of one is held back until it is known not to be.
    """

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = sequences
        self._held = ""

    def take(self, piece: str) -> tuple[str, bool]:
        """As much of the text as may pass now, and whether it has met a stop sequence."""
        if not self._sequences:
            return piece, False
        text = self._held + piece
        self._held = ""
        found = [(start + len(sequence), start) for sequence in self._sequences if (start := text.find(sequence)) >= 0]
        if found:
            return text[: min(found)[1]], True
        held = self._beginning_at_the_end(text)
        self._held = text[len(text) - held :]
        return text[: len(text) - held], False

    def rest(self) -> str:
        """What was held back, when the text has ended."""
        held, self._held = self._held, ""
        return held

    def _beginning_at_the_end(self, text: str) -> int:
        """Length of the longest end of `text` that a sequence begins with."""
        return max(_overlap(text, sequence) for sequence in self._sequences)


def _overlap(text: str, sequence: str) -> int:
    start = text.find(sequence[0], max(0, len(text) - len(sequence) + 1))
    while start >= 0:
        if sequence.startswith(text[start:]):
            return len(text) - start
        start = text.find(sequence[0], start + 1)
    return 0
