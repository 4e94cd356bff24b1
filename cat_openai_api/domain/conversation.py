"""A conversation, the functions that the client offers for it, and the format of the reply."""

import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, Literal, TypeAlias, TypedDict

Role: TypeAlias = Literal["user", "assistant", "tool"]


@dataclass(frozen=True)
class Image:
    """An image of a user's turn.

    `url`: a base64 data URI, or an http(s) URL until the image has been downloaded. `detail`: "low", "high" or
    "auto"; None where the client did not set it.
    """

    url: str
    detail: str | None = None

    @property
    def mime_type(self) -> str:
        """The type in the data URI."""
        return self.url[len("data:") : self.url.index(";")]

    @property
    def base64(self) -> str:
        """The data in the data URI."""
        return self.url[self.url.index(",") + 1 :]


@dataclass(frozen=True)
class Audio:
    """Audio of a user's turn. `data`: base64. `format`: "wav" or "mp3"."""

    data: str
    format: str


@dataclass(frozen=True)
class File:
    """A file of a user's turn. `data`: a base64 data URI. `name`: the file name; empty where the client sent none."""

    data: str
    name: str = ""


Part: TypeAlias = str | Image | Audio | File


@dataclass(frozen=True)
class ToolCall:
    """A call of one of the client's functions. `arguments`: the LLM's text, which need not be valid JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Turn:
    """One message of a conversation.

    `parts`: the content, in order; a `str` is text. `calls`: the tool calls of an assistant's turn. `call_id`: of a
    tool's turn, the id of the call whose result it is. `sent_digest`: where the Cat's pipeline has read this turn of
    the user's already, the `digest` of the turn as the client sent it; `parts` are then as the pipeline left them.
    """

    role: Role
    parts: tuple[Part, ...]
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    sent_digest: str = ""

    def digest(self) -> str:
        """Of role and content, in which texts are not readable."""
        digest = hashlib.sha256(self.role.encode())
        for part in self.parts:
            fields = (part,) if isinstance(part, str) else astuple(part)
            digest.update(repr((type(part).__name__, *fields)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @property
    def texts(self) -> list[str]:
        return [part for part in self.parts if isinstance(part, str)]

    @property
    def text(self) -> str:
        return "".join(self.texts)


@dataclass(frozen=True)
class Conversation:
    """A conversation whose last turn is the user's, or a tool's with the result of a call.

    `turns`: oldest first. `instructions`: the texts of all system and developer messages, verbatim and in order.
    """

    turns: tuple[Turn, ...]
    instructions: tuple[str, ...] = ()

    def mentions(self, word: str) -> bool:
        """Whether any text contains `word`, which is in lower case; the case of the text does not matter."""
        return any(word in text.lower() for text in (*self.instructions, *(turn.text for turn in self.turns)))


class FunctionReference(TypedDict):
    name: str


class NamedFunctionChoice(TypedDict):
    type: Literal["function"]
    function: FunctionReference


CallChoice: TypeAlias = Literal["auto", "none", "required"] | NamedFunctionChoice | None
"""OpenAI's `tool_choice`; None is "auto"."""

JsonSchema: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Functions:
    """The client's functions that the LLM may call in a run.

    `tools`: OpenAI's tool objects as the client sent them, by function name, at least one. `choice`: whether the LLM
    may, must or must not call one. `parallel`: False limits the LLM to one call; None leaves it to the LLM.
    """

    tools: Mapping[str, Mapping[str, Any]]
    choice: CallChoice = None
    parallel: bool | None = None


@dataclass(frozen=True)
class JsonFormat:
    """A reply in JSON.

    `response_format`: OpenAI's object of that name, as the client sent it. `schema`: the JSON schema that the reply
    must match; None for any JSON object.
    """

    response_format: Mapping[str, Any]
    schema: JsonSchema | None = None


Capability: TypeAlias = type[Image | Audio | File | Functions]
"""Something in a request that not every LLM supports."""
