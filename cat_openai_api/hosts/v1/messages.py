"""The client's turns as messages of Cat 1.9: as plugins see them in the history, and as the LLM gets them."""

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
    """A user's turn. The Cat's own message has fields for the text, one image and one audio: the first of each."""

    _turn: Turn = PrivateAttr()

    def __init__(self, turn: Turn, user_id: str) -> None:
        text, image, audio = _for_plugins(turn)
        super().__init__(user_id=user_id, text=text, image=image, audio=audio)
        self._turn = turn

    def langchainfy(self) -> Any:
        """The parts in order. Where a hook has changed the message: what the hook left in its fields, and then the
        parts that have no field there."""
        turn = self._turn
        if (self.text, self.image, self.audio) == _for_plugins(turn):
            content = [wire_part(part) for part in _joined(turn.parts)]
        else:
            # The Cat's own message converts its image, but not its audio: one that no hook has changed is added here.
            in_fields = [_first(turn, Image), None if self.audio == _for_plugins(turn)[2] else _first(turn, Audio)]
            others = [part for part in turn.parts if not isinstance(part, str) and not _is_in(part, in_fields)]
            content = [*super().langchainfy().content, *map(wire_part, others)]
        return HumanMessage(name=self.who, content=content or ("" if turn.parts else []))

    def __repr_args__(self) -> Any:
        """The Cat writes the message to its log: without megabytes of base64."""
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
        """The calls are in the message twice: parsed, as most of LangChain's classes take them, and as they came."""
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
    """The result of one of the client's functions."""

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


def langchain_messages(messages: Sequence[Any]) -> list[Any]:
    """The messages for the LLM, without those that no provider accepts: empty ones, and results whose calls a plugin
    has removed from the history."""
    call_ids: set[str] = set()
    converted = []
    for message in messages:
        if isinstance(message, AssistantTurn):
            call_ids.update(call.id for call in message.calls)
        if not isinstance(message, ToolTurn) or message.call_id in call_ids:
            converted.append(message.langchainfy())
    return [message for message in converted if message.content != []]


def _for_plugins(turn: Turn) -> tuple[str, str | None, str | None]:
    """Text, image and audio, as the fields of the Cat's own message have them."""
    image, audio = _first(turn, Image), _first(turn, Audio)
    return turn.text, image and image.url, audio and f"data:audio/{audio.format};base64,{audio.data}"


def _first(turn: Turn, kind: type[Any]) -> Any:
    return next((part for part in turn.parts if isinstance(part, kind)), None)


def _is_in(part: Part, parts: Sequence[Part | None]) -> bool:
    """Whether it is one of the objects: two parts may be equal."""
    return any(part is each for each in parts)


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Adjacent texts as one, as in the Cat's own message; empty ones are left out."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part:
            joined.append(part)
    return joined
