"""The client's turns as messages of Cat 1.9: as plugins see them in the history, and as the LLM gets them."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from ...domain.conversation import Audio, Image, Part, ToolCall, Turn
from ...wire.json import JsonObject
from ..detect import IS_CAT_1
from ..shared.openai_format import parse_arguments, wire_call, wire_part

if IS_CAT_1 or TYPE_CHECKING:
    from cat.convo.messages import CatMessage, ConversationMessage, MessageWhy, UserMessage
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
else:
    CatMessage = ConversationMessage = UserMessage = object


MAX_WHY = 32_000
"""Characters of JSON that are stored of each field of the Cat's account of a reply."""

CHANGEABLE = ("text", "image", "audio")
"""Fields of the Cat's message of a user."""

_AUDIO = re.compile("data:audio/(?P<format>[^;]+);base64,(?P<data>.*)", re.DOTALL)


class UserTurn(UserMessage):
    """A user's turn. The Cat's own message has fields for the text, one image and one audio: the first of each."""

    _turn: Turn = PrivateAttr()

    def __init__(self, turn: Turn, user_id: str) -> None:
        text, image, audio = _for_plugins(turn)
        super().__init__(user_id=user_id, text=text, image=image, audio=audio)
        self._turn = turn

    def apply(self, changes: JsonObject) -> None:
        """Set the fields that the pipeline's hooks have changed, as `changes_of` noted them."""
        for name in CHANGEABLE:
            if name in changes:
                setattr(self, name, changes[name])

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

    def __init__(self, turn: Turn, user_id: str, text: str, why: Any) -> None:
        """`text`: the final text, which can differ from the turn's, which has what the client got."""
        super().__init__(user_id=user_id, text=text, why=why)
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


def changes_of(turn: Turn, message: Any) -> JsonObject:
    """The fields of a user's message that hooks have changed, with their values of now."""
    sent = dict(zip(CHANGEABLE, _for_plugins(turn), strict=True))
    return {name: value for name in CHANGEABLE if (value := getattr(message, name)) != sent[name]}


def turn_as_left(turn: Turn, changes: JsonObject) -> Turn:
    """The user's turn with the changes that hooks have made to its message, and no trace of what they removed."""
    parts: list[Part] = list(turn.parts)
    if "text" in changes:
        text = [changes["text"]] if changes["text"] else []
        parts = [*text, *(part for part in parts if not isinstance(part, str))]
    for name, kind in (("image", Image), ("audio", Audio)):
        if name in changes:
            first = _first(turn, kind)
            parts = [part for part in parts if part is not first]
    if image := changes.get("image"):
        parts.append(Image(image))
    if found := _AUDIO.fullmatch(changes.get("audio") or ""):
        parts.append(Audio(found["data"], found["format"]))
    return replace(turn, parts=tuple(parts), sent_digest=turn.sent_digest or turn.digest())


def why_of(message: Any) -> JsonObject:
    """What can be stored of the Cat's account of its reply: the tools that it used, what it recalled, and the numbers
    of its requests to models. Not stored are prompts and replies of models, and the user's message, which is the one
    before the reply."""
    why = getattr(message, "why", None)
    if why is None:
        return {}
    stored: JsonObject = {}
    for name in ("intermediate_steps", "memory", "model_interactions"):
        try:
            value = getattr(why, name)
            if name == "model_interactions":
                value = [interaction.model_dump(exclude={"prompt", "reply"}) for interaction in value]
            encoded = json.dumps(value, default=str, allow_nan=False)
        except (AttributeError, TypeError, ValueError, RecursionError):  # plugins may put anything there
            continue
        if len(encoded) <= MAX_WHY:
            stored[name] = json.loads(encoded)
    return stored


def message_why(input: str, stored: JsonObject) -> Any:
    """The Cat's account of an earlier reply. `input`: the user's message. `stored`: what `why_of` returned."""
    steps = stored.get("intermediate_steps")
    memory = stored.get("memory")
    interactions = stored.get("model_interactions", ())
    return MessageWhy(
        input=input,
        intermediate_steps=[_step(step) for step in steps] if isinstance(steps, list) else [],
        memory=memory if isinstance(memory, dict) else {kind: [] for kind in ("episodic", "declarative", "procedural")},
        model_interactions=[
            {**interaction, "prompt": [], "reply": "" if interaction["model_type"] == "llm" else []}
            for interaction in interactions
        ],
    )


def _step(step: Any) -> Any:
    """The Cat has tuples here: the name of a tool and its input, and the output."""
    is_pair = isinstance(step, list) and len(step) == 2 and isinstance(step[0], list)
    return (tuple(step[0]), step[1]) if is_pair else step


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
