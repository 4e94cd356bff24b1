"""The text of a live stream, and how it ends with the run's final text."""

from collections.abc import Sequence
from dataclasses import dataclass

PARAGRAPH = "\n\n"


@dataclass
class _Segment:
    """What came from one source without a break."""

    source: int
    pieces: list[str]


class LiveText:
    """The text of a run while the run lasts, as it comes: without what separates texts of different sources.

    `stop_sequences`: the client's, which separators must not contain.
    """

    def __init__(self, stop_sequences: Sequence[str]) -> None:
        self._segments: list[_Segment] = []
        self._sources: set[int] = set()
        unusable = {*"".join(stop_sequences)}
        self._separator = next((each for each in (PARAGRAPH, " ") if not {*each} & unusable), "")

    def add(self, source: int, piece: str) -> str:
        """Returns what separates the piece from what came before. This runs for every token.

        Texts of different sources are different paragraphs. Nothing separates what belongs to a source that another
        one has interrupted.
        """
        if self._segments and self._segments[-1].source == source:
            self._segments[-1].pieces.append(piece)
            return ""
        separator = "" if source in self._sources else self._separator_before(piece)
        self._sources.add(source)
        self._segments.append(_Segment(source, [piece]))
        return separator

    def compare(self, final: str) -> tuple[str, str, str]:
        """Returns the part of the final text that has come already, the separator before the rest, and the rest.

        The final text may begin with all that has come or with the last texts of it, such as the LLM's reply after a
        plugin's "Searching …". It may also be one of the texts. Otherwise it says something else, and all of it is the
        rest.
        """
        final = _whole_characters(final)
        texts = [_whole_characters("".join(segment.pieces)) for segment in self._segments]
        for first, text in enumerate(texts):
            if final.startswith(text) and final.startswith(come := "".join(texts[first:])):
                return come, "", final[len(come) :]
        if final in texts:
            return final, "", ""
        return "", self._separator_before(final), final

    def _separator_before(self, piece: str) -> str:
        """A paragraph, unless there is nothing before it or white space is there."""
        last = self._segments[-1].pieces[-1] if self._segments else ""
        return "" if not last or last[-1].isspace() or piece[:1].isspace() else self._separator


def _whole_characters(text: str) -> str:
    """The two halves of a character that an LLM sent in two pieces joined, as Cheshire Cat 1.9 joins them."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
