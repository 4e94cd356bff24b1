"""The calls of the client's functions, told apart from those of the Cat's own tools."""

from uuid import uuid4

from ...domain.conversation import Functions, ToolCall
from ...domain.events import CallDelta, Step

MAX_STEP_LENGTH = 1000
"""Characters."""


class ClientCalls:
    """What the LLM calls of the client's functions in one of its replies, piece by piece.

    A Cat's own tool is never among them. Where the client wants one call at a time, those after the first are
    dropped; where it wants none, all are.
    """

    def __init__(self, functions: Functions | None) -> None:
        self._functions = functions
        self._calls: list[list[str]] = []
        self._places: dict[int, int | None] = {}
        self._names: dict[int, str] = {}
        self._ids: dict[int, str] = {}

    def is_clients(self, name: str) -> bool:
        return self._functions is not None and name in self._functions.tools

    def is_clients_at(self, index: int) -> bool:
        """The same for the call that was heard at this index, also where it was dropped."""
        return self.is_clients(self._names.get(index, ""))

    def feed(self, index: int, id: str | None, name: str | None, arguments: str | None) -> CallDelta | None:
        """The client's view of a piece in OpenAI's form; None for one of the Cat's own tools, or a dropped one.

        Some servers give each call the same index and tell them apart by their ids.
        """
        begins = bool(name) and (index not in self._places or (bool(id) and id != self._ids[index]))
        if begins:
            self._names[index] = name or ""
            self._ids[index] = id or ""
            self._places[index] = self._begin(id, name or "")
        place = self._places.get(index)
        if place is None:
            return None
        call = self._calls[place]
        call[2] += arguments or ""
        return CallDelta(place, call[0] if begins else "", call[1] if begins else "", arguments or "")

    def _begin(self, id: str | None, name: str) -> int | None:
        if self._functions is None or name not in self._functions.tools or self._functions.choice == "none":
            return None
        if self._calls and self._functions.parallel is False:
            return None
        taken = [call[0] for call in self._calls]
        self._calls.append([id if id and id not in taken else f"call_{uuid4().hex}", name, ""])
        return len(self._calls) - 1

    def all(self) -> list[ToolCall]:
        """The calls so far."""
        return [ToolCall(id, name, arguments) for id, name, arguments in self._calls]

    def whole(self) -> list[CallDelta]:
        """The same, each in one piece."""
        return [CallDelta(index, call.id, call.name, call.arguments) for index, call in enumerate(self.all())]


def step_of(name: str, arguments: str) -> Step:
    """The call of one of the Cat's own tools, as a line to be shown."""
    line = f"{name}({arguments})"
    return Step(line if len(line) <= MAX_STEP_LENGTH else f"{line[:MAX_STEP_LENGTH]}…")
