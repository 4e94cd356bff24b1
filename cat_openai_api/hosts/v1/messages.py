"""The client's turns as messages of Cat 1.9: what its plugins find in the history, and its LLM in the prompt."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from ...domain.conversation import Audio, Image, Part, ToolCall, Turn
from ..detect import IS_CAT_1
from ..shared.openai_format import parse_arguments, wire_call, wire_part

if IS_CAT_1 or TYPE_CHECKING:
    from cat.convo.messages import CatMessage, ConversationMessage, UserMessage
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
else:
    CatMessage = ConversationMessage = UserMessage = object


class UserTurn(UserMessage):
    """A user's turn. The Cat's own message has a place for all of the text, the first image and the first audio."""

    _turn: Turn = PrivateAttr()

    def __init__(self, turn: Turn, user_id: str) -> None:
        text, image, audio = _for_plugins(turn)
        super().__init__(user_id=user_id, text=text, image=image, audio=audio)
        self._turn = turn

    def langchainfy(self) -> Any:
        """The parts in order; where a hook has changed the message, first what the hook left."""
        turn = self._turn
        if (self.text, self.image, self.audio) == _for_plugins(turn):
            content = [wire_part(part) for part in _joined(turn.parts)]
        else:
            gone = [_first(turn, Image), None if self.audio == _for_plugins(turn)[2] else _first(turn, Audio)]
            others = [part for part in turn.parts if not isinstance(part, str) and all(part is not one for one in gone)]
            content = [*super().langchainfy().content, *map(wire_part, others)]
        return HumanMessage(name=self.who, content=content or ("" if turn.parts else []))

    def __repr_args__(self) -> Any:
        """For the Cat's log, which has no use for megabytes of base64."""
        for name, value in super().__repr_args__():
            yield name, f"{value[:40]}…" if name in {"image", "audio"} and value else value


class AssistantTurn(CatMessage):
    """A turn of the assistant, with its calls of the client's functions."""

    _turn: Turn = PrivateAttr()

    def __init__(self, turn: Turn, user_id: str) -> None:
        super().__init__(user_id=user_id, text=turn.text)
        self._turn = turn

    @property
    def calls(self) -> Sequence[ToolCall]:
        return self._turn.calls

    def langchainfy(self) -> Any:
        """The calls stand there twice: parsed, as most LLMs of LangChain take them, and word for word."""
        if not self.calls:
            return super().langchainfy()
        parsed = [(call, parse_arguments(call.arguments)) for call in self.calls]
        return AIMessage(
            name=self.who,
            content=self.text,
            tool_calls=[
                {"id": call.id, "name": call.name, "args": value} for call, value in parsed if value is not None
            ],
            invalid_tool_calls=[
                {"id": call.id, "name": call.name, "args": call.arguments, "error": None}
                for call, value in parsed
                if value is None
            ],
            additional_kwargs={"tool_calls": [wire_call(call) for call in self.calls]},
        )


class ToolTurn(ConversationMessage):
    """What one of the client's functions returned."""

    who: str = "Tool"

    _turn: Turn = PrivateAttr()
    _function: str = PrivateAttr()

    def __init__(self, turn: Turn, user_id: str, function: str) -> None:
        super().__init__(user_id=user_id, text=turn.text)
        self._turn = turn
        self._function = function

    @property
    def call_id(self) -> str:
        return self._turn.call_id

    def langchainfy(self) -> Any:
        return ToolMessage(content=self.text, tool_call_id=self.call_id, name=self._function or None)


def messages_of(turns: Sequence[Turn], user_id: str) -> list[Any]:
    functions: dict[str, str] = {}
    messages: list[Any] = []
    for turn in turns:
        functions.update((call.id, call.name) for call in turn.calls)
        if turn.role == "tool":
            messages.append(ToolTurn(turn, user_id, functions.get(turn.call_id, "")))
        else:
            messages.append((UserTurn if turn.role == "user" else AssistantTurn)(turn, user_id))
    return messages


def for_llm(messages: Sequence[Any]) -> list[Any]:
    """The messages as LangChain's, without those that no LLM takes: those with nothing in them, and results whose
    calls a plugin has cut off."""
    called: set[str] = set()
    taken = []
    for message in messages:
        if isinstance(message, AssistantTurn):
            called.update(call.id for call in message.calls)
        if not isinstance(message, ToolTurn) or message.call_id in called:
            taken.append(message.langchainfy())
    return [message for message in taken if message.content != []]


def _for_plugins(turn: Turn) -> tuple[str, str | None, str | None]:
    """Text, image and audio of the Cat's own message."""
    image, audio = _first(turn, Image), _first(turn, Audio)
    return turn.text, image and image.url, audio and f"data:audio/{audio.format};base64,{audio.data}"


def _first(turn: Turn, kind: type[Any]) -> Any:
    return next((part for part in turn.parts if isinstance(part, kind)), None)


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbouring texts as one, as the Cat sees them; empty ones left out."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part:
            joined.append(part)
    return joined
