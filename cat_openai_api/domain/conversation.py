"""What was said: the client's messages in the words that the hosts share."""

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

    `calls`: what an assistant asked the client to do. `call_id`: which of them a tool's turn answers.
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
    """`instructions`: the system and developer texts, verbatim and in order, wherever they stood.

    The last turn is the user's, or a tool's that answers a call of the assistant turn before it.
    """

    turns: tuple[Turn, ...]
    instructions: tuple[str, ...] = ()

    def mentions(self, word: str) -> bool:
        """`word`: in lower case; it is found in any case."""
        return any(word in text.lower() for text in (*self.instructions, *(turn.text for turn in self.turns)))


@dataclass(frozen=True)
class Functions:
    """The client's functions that the LLM may call in this run, and how.

    `tools`: OpenAI's tool objects as the client sent them, by name, at least one. `choice`: "auto", "none",
    "required", `{"type": "function", "function": {"name": …}}`, or None, which is "auto". `parallel`: false for one
    call at most, None where the client leaves it to the LLM.
    """

    tools: Mapping[str, Mapping[str, Any]]
    choice: Any = None
    parallel: bool | None = None


@dataclass(frozen=True)
class JsonFormat:
    """JSON as the form of the reply. `wire`: the `response_format` as the client sent it. `schema`: the JSON schema
    that it must fit; None for any object."""

    wire: Mapping[str, Any]
    schema: Any = None


Kind: TypeAlias = type[Image | Audio | File | Functions]
"""What not every LLM takes."""
