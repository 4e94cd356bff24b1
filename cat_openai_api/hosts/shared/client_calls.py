"""Tool calls of the client's functions, separated from calls of the Cat's own tools."""

from dataclasses import replace
from uuid import uuid4

from ...domain.conversation import Functions, ToolCall
from ...domain.events import CallDelta, Step
from ...wire.custom_input import decode_input, encode_input

MAX_STEP_LENGTH = 1000
"""Characters."""


class ClientCalls:
    """The calls of the client's functions in one run, assembled from the pieces that the LLM streams.

    Calls of the Cat's own tools are ignored. With `parallel` false only the first call counts, and with the choice
    "none" no call does: the others are dropped.
    """

    def __init__(self, functions: Functions | None) -> None:
        self._functions = functions
        self._calls: list[list[str]] = []
        self._positions: dict[int, int | None] = {}
        self._names: dict[int, str] = {}
        self._ids: dict[int, str] = {}

    def is_client_function(self, name: str) -> bool:
        return self._functions is not None and name in self._functions.tools

    def is_client_call(self, index: int) -> bool:
        """Whether the call that the LLM streams at `index` is of a client's function; true for dropped calls too."""
        return self.is_client_function(self._names.get(index, ""))

    def feed(self, index: int, id: str | None, name: str | None, arguments: str | None) -> CallDelta | None:
        """Take one piece of a call, as OpenAI streams it, and return what the client gets of it.

        None for a call of one of the Cat's own tools and for a dropped call. Some servers give every call the same
        index, so another id at the same index begins another call.
        """
        begins = bool(name) and (index not in self._positions or (bool(id) and id != self._ids[index]))
        if begins:
            self._names[index] = name or ""
            self._ids[index] = id or ""
            self._positions[index] = self._begin(id, name or "")
        position = self._positions.get(index)
        if position is None:
            return None
        call = self._calls[position]
        call[2] += arguments or ""
        return CallDelta(position, call[0] if begins else "", call[1] if begins else "", arguments or "")

    def _begin(self, id: str | None, name: str) -> int | None:
        if self._functions is None or name not in self._functions.tools or self._functions.choice == "none":
            return None
        if self._calls and self._functions.parallel is False:
            return None
        ids = [call[0] for call in self._calls]
        self._calls.append([id if id and id not in ids else f"call_{uuid4().hex}", name, ""])
        return len(self._calls) - 1

    def tool_calls(self) -> list[ToolCall]:
        """The calls so far; the arguments of the last one may be incomplete."""
        return [ToolCall(id, name, arguments) for id, name, arguments in self._calls]

    def returned_calls(self) -> list[ToolCall]:
        """The calls so far as the client will send them back: of a custom tool it gets the input only."""
        custom = self._functions.custom if self._functions else frozenset()
        return [
            replace(call, arguments=encode_input(decode_input(call.arguments))) if call.name in custom else call
            for call in self.tool_calls()
        ]

    def as_deltas(self) -> list[CallDelta]:
        """The calls so far, each as a single event."""
        return [CallDelta(index, call.id, call.name, call.arguments) for index, call in enumerate(self.tool_calls())]


def step_for(name: str, arguments: str) -> Step:
    """The event for a call of one of the Cat's own tools: one line of at most `MAX_STEP_LENGTH` characters."""
    line = f"{name}({arguments})"
    return Step(line if len(line) <= MAX_STEP_LENGTH else f"{line[:MAX_STEP_LENGTH]}…")
