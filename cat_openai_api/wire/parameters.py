"""Request fields that several API resources share.

Names, defaults and limits are OpenAI's (OpenAI API reference), unless a docstring says otherwise.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from .json import JsonObject
from .models import MAX_NAME_LENGTH, WireRequest, raise_unsupported

MAX_MESSAGES = 2048
MAX_TOOLS = 128

MAX_NAMESPACE_TOOLS = 512
"""OpenAI gives no limit."""

MAX_STOP_SEQUENCES = 4

MAX_PARTS = 2048
"""Content parts and tool calls in all messages together. OpenAI gives no limit; the LLM's SDK in the Cat needs most of
a second for this number."""

MAX_LOGIT_BIASES = 1024
"""OpenAI gives no limit."""

MAX_STOP_LENGTH = 1000
"""Characters. OpenAI gives no limit; each token is compared with the beginnings of all stop sequences."""

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]

FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]

StopSequence = Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]

TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,10}$")]

ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

ServiceTier: TypeAlias = Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"]

SAMPLING_PARAMETERS = {
    "temperature",
    "top_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "reasoning_effort",
}


def _check_unsupported(value: Any) -> Any:
    # Many clients send null, false, 0 or an empty list for a feature that they do not use.
    if value:
        raise_unsupported("this parameter is not supported; leave it out")
    return value


def tool_type_validator(*known: str) -> BeforeValidator:
    """A validator of a tool, before its type is known, that makes an `OtherTool` of all but the `known` types."""

    def check(tool: Any) -> Any:
        type = tool.get("type") if isinstance(tool, dict) else None
        return {"type": "other", "sent": tool} if isinstance(type, str) and type not in known else tool

    return BeforeValidator(check)


def tool_choice_validator(*known: str) -> BeforeValidator:
    """A validator of a tool choice, before its type is known, that refuses all but the `known` types."""

    def check(choice: Any) -> Any:
        type = choice.get("type") if isinstance(choice, dict) else None
        if isinstance(type, str) and type not in known:
            raise_unsupported(f"the Cat has no tool of the type '{type[:100]}' that it could be told to use")
        return choice

    return BeforeValidator(check)


def check_unique_names(names: Sequence[str]) -> None:
    """For validators. Raises ValueError."""
    if len(set(names)) < len(names):
        duplicates = (name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"several tools have the name '{min(duplicates)}'; names must be unique")


def max_entries(limit: int, noun: str) -> BeforeValidator:
    """A validator for the size of an object.

    It runs before the entries are validated, because Pydantic collects an error for each invalid one.
    """

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > limit:
            raise ValueError(f"send at most {limit} {noun}")
        return value

    return BeforeValidator(check)


def count_parts(messages: Any, *fields: str) -> int:
    """The number of items in the lists `fields` of all messages, which have not been validated yet."""
    lists = [
        message.get(field)
        for message in (messages if isinstance(messages, list) else ())
        if isinstance(message, dict)
        for field in fields
    ]
    return sum(len(parts) for parts in lists if isinstance(parts, list))


def _check_token_limit(value: int) -> int:
    if value == 0:
        raise ValueError("send at least 1, or leave it out to use the limit in the Cat's settings")
    return value


def _check_single_choice(value: int) -> int:
    if value > 1:
        raise_unsupported("only one choice is supported; send 1 or leave it out")
    return value


TokenLimit = Annotated[int, Field(ge=-1), AfterValidator(_check_token_limit)]
"""-1 means no limit, as in llama.cpp."""

Unsupported = Annotated[Any, AfterValidator(_check_unsupported)]
"""A parameter of OpenAI's that this API does not have. Values that switch it off are accepted."""

SingleChoice = Annotated[int, Field(ge=1), AfterValidator(_check_single_choice)]


class StreamOptions(WireRequest):
    include_usage: bool | None = None


class OtherTool(WireRequest):
    """A tool that neither the Cat nor its LLM can call: OpenAI's own servers run it, or its type is unknown here.

    It is left out of what the LLM is offered. `sent`: the tool as the client sent it.
    """

    type: Literal["other"]
    sent: JsonObject

    @property
    def sent_type(self) -> str:
        return str(self.sent["type"])

    def without_secrets(self) -> JsonObject:
        """The tool without credentials for servers that OpenAI would call: responses are stored with their tools."""
        without: JsonObject = _without_secrets(self.sent)
        return without


SECRETS = frozenset({"authorization", "headers", "domain_secrets"})
"""Fields of tools of the types `mcp`, `code_interpreter` and `shell`."""


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_secrets(inner) for name, inner in value.items() if name not in SECRETS}
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value


class InputAudio(WireRequest):
    data: str = Field(min_length=1, description="Base64.")
    format: Literal["wav", "mp3"]


class RefusalPart(WireRequest):
    type: Literal["refusal"]
    refusal: str


class TextFormat(WireRequest):
    type: Literal["text"]


class JsonObjectFormat(WireRequest):
    type: Literal["json_object"]


class Grammar(WireRequest):
    syntax: Literal["lark", "regex"]
    definition: str


class GenerationParameters(WireRequest):
    """Parameters of chat completions, completions and responses."""

    model: str = Field(min_length=1, max_length=MAX_NAME_LENGTH)
    stream: bool | None = None
    user: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)


class CompletionParameters(GenerationParameters):
    """Parameters of chat completions and completions."""

    stream_options: StreamOptions | None = None
    max_tokens: TokenLimit | None = Field(None, description="-1 means no limit, as in llama.cpp.")
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    logit_bias: Annotated[
        dict[TokenId, Annotated[float, Field(ge=-100, le=100)]] | None, max_entries(MAX_LOGIT_BIASES, "tokens")
    ] = None
    n: SingleChoice | None = None
    stop: StopSequence | Annotated[list[StopSequence], Field(max_length=MAX_STOP_SEQUENCES)] | None = Field(
        None, description="Up to 4 texts. The reply ends before the first of them."
    )

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def stop_sequences(self) -> list[str]:
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def sampling(self) -> JsonObject:
        """The sampling parameters that are set."""
        return self.model_dump(include=SAMPLING_PARAMETERS, exclude_none=True)
