"""What a client and a Cat talk about, in neither one's words: from wire models to hosts it goes through here."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Turn:
    """One message of the conversation. `texts`: its text parts, in order; at least one, which may be empty."""

    role: Literal["user", "assistant"]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Conversation:
    """`instructions`: the system and developer texts, verbatim and in order, wherever they stood."""

    turns: tuple[Turn, ...]
    instructions: tuple[str, ...] = ()

    def all_texts(self) -> list[str]:
        return [*self.instructions, *("".join(turn.texts) for turn in self.turns)]
