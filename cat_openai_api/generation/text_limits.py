"""Cutting a text that arrives in pieces at its token limit and before its first stop sequence."""

from collections.abc import Sequence

from ..domain.events import FinishReason
from ..tokens.budget import TokenBudget
from .stop_sequences import StopSequences


class TextLimits:
    """`reason`: the limit that was reached; None while there was none. Then no text passes any more."""

    def __init__(self, budget: TokenBudget, stop_sequences: Sequence[str]) -> None:
        self.reason: FinishReason | None = None
        self._budget = budget
        self._stop_sequences = StopSequences(stop_sequences)

    def feed(self, piece: str) -> str:
        """The text that may be sent now. This runs for every token."""
        if self.reason:
            return ""
        piece, is_stopped = self._stop_sequences.feed(piece)
        passed = self.count(piece)
        if is_stopped and not self.reason:
            self.reason = "stop"
        return passed

    def count(self, piece: str) -> str:
        """The part of a piece that is within the token limit, whatever stop sequences it has."""
        passed, is_exceeded = self._budget.feed(piece)
        if is_exceeded:
            self.reason = "length"
        return passed

    def flush(self) -> str:
        """The text that was held back because it could have become a stop sequence, after the last piece."""
        return "" if self.reason else self.count(self._stop_sequences.flush())
