"""A conversation, the functions that its client offers and the format that it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Role: TypeAlias = Literal["user", "assistant", "tool"]


@dataclass(frozen=True)
class Image:
    """`url`: a data URI of base64. `detail`: low, high, auto, or None where the client left it out."""

    url: str
    detail: str | None = None

    @property
    def mime_type(self) -> str:
        return self.url[len("data:") : self.url.index(";")]

    @property
    def base64(self) -> str:
        return self.url[self.url.index(",") + 1 :]


@dataclass(frozen=True)
class Audio:
    """`data`: base64. `format`: wav or mp3."""

    data: str
    format: str


@dataclass(frozen=True)
class File:
    """`data`: a data URI of base64. `name`: what the client calls it; empty where it does not say."""

    data: str
    name: str = ""


Part: TypeAlias = str | Image | Audio | File


@dataclass(frozen=True)
class ToolCall:
    """A call of one of the client's functions. `arguments`: as the LLM wrote them, which need not be JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Turn:
    """One message of the conversation.

    `calls`: of an assistant's turn. `call_id`: of a tool's turn, the id of the call that it answers.
    """

    role: Role
    parts: tuple[Part, ...]
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""

    @property
    def texts(self) -> list[str]:
        return [part for part in self.parts if isinstance(part, str)]

    @property
    def text(self) -> str:
        return "".join(self.texts)


@dataclass(frozen=True)
class Conversation:
    """A conversation whose last turn is the user's, or a tool's that answers a call of the turn before it.

    `instructions`: the system and developer texts, verbatim and in order, wherever they stood.
    """

    turns: tuple[Turn, ...]
    instructions: tuple[str, ...] = ()

    def mentions(self, word: str) -> bool:
        """Whether `word`, in lower case, stands in any text, in any case."""
        return any(word in text.lower() for text in (*self.instructions, *(turn.text for turn in self.turns)))


CallChoice: TypeAlias = Literal["auto", "none", "required"] | Mapping[str, Any] | None
"""OpenAI's `tool_choice`; a mapping is `{"type": "function", "function": {"name": …}}`."""


@dataclass(frozen=True)
class Functions:
    """The client's functions that the LLM may call in a run, and how.

    `tools`: OpenAI's tool objects as the client sent them, by name, at least one. `choice`: None is "auto".
    `parallel`: false for one call at most, None where the client leaves it to the LLM.
    """

    tools: Mapping[str, Mapping[str, Any]]
    choice: CallChoice = None
    parallel: bool | None = None


@dataclass(frozen=True)
class JsonFormat:
    """The reply is to be JSON.

    `response_format`: OpenAI's object, as the client sent it. `schema`: the JSON schema that the reply must be valid
    against; None for any object.
    """

    response_format: Mapping[str, Any]
    schema: Any = None


Capability: TypeAlias = type[Image | Audio | File | Functions]
"""What not every LLM takes."""
