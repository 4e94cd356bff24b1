"""Request fields that several API resources have in common (OpenAI API reference). Names, defaults and limits are
OpenAI's."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from ..errors import invalid
from .models import MAX_NAME_LENGTH, WireRequest, is_set, refuse

MAX_MESSAGES = 2048
MAX_TOOLS = 128
MAX_STOPS = 4
"""Those three are OpenAI's; it says nothing of the others."""

MAX_PARTS = 2048
"""Content parts and calls in all messages together: the SDK behind a Cat takes most of a second for so many."""

MAX_BIASES = 1024

MAX_STOP_LENGTH = 1000
"""Characters: what may be the beginning of one is looked for after each token."""

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]

FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]

StopSequence = Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]

TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,10}$")]

ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

ServiceTier: TypeAlias = Literal["auto", "default", "flex", "scale", "priority"]

SAMPLING = {
    "temperature",
    "top_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "reasoning_effort",
}


def _not_supported(value: Any) -> Any:
    if is_set(value):
        refuse("not supported by this API; leave it out")
    return value


def check_tool_type(tool: Any) -> Any:
    """A tool, or a choice of one, before it is validated: those of other types are refused by their type."""
    kind = tool.get("type", "function") if isinstance(tool, dict) else "function"
    if kind != "function":
        refuse(f"tools of type '{str(kind)[:100]}' are not supported, only 'function'")
    return tool


def check_function_name(name: str, offered: Mapping[str, Any], param: str) -> str:
    """The name, if a function of that name is offered. Raises `InvalidRequest`."""
    if name not in offered:
        raise invalid(param, f"there is no function of the name '{name}' in the request")
    return name


def check_each_once(names: Sequence[str]) -> None:
    """For validators. Raises ValueError."""
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"the name '{min(twice)}' stands there twice")


def max_entries(entries: int, what: str) -> BeforeValidator:
    """Of an object. Each that is at fault makes an error of its own, so this comes first."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > entries:
            raise ValueError(f"at most {entries} {what}")
        return value

    return BeforeValidator(check)


def count_parts(messages: Any, *fields: str) -> int:
    """How many there are in those fields of all messages together, before anything is validated."""
    lists = [
        message.get(field)
        for message in (messages if isinstance(messages, list) else ())
        if isinstance(message, dict)
        for field in fields
    ]
    return sum(len(parts) for parts in lists if isinstance(parts, list))


def _some_tokens(value: int) -> int:
    if value == 0:
        raise ValueError("at least 1, or leave it out for the Cat's own limit")
    return value


def _one_answer(value: int) -> int:
    if value > 1:
        refuse("a Cat gives one answer; send 1 or leave it out")
    return value


TokenLimit = Annotated[int, Field(ge=-1), AfterValidator(_some_tokens)]
"""-1 is no limit, as for llama.cpp."""

NotSupported = Annotated[Any, AfterValidator(_not_supported)]

OneAnswer = Annotated[int, Field(ge=1), AfterValidator(_one_answer)]


class StreamOptions(WireRequest):
    include_usage: bool | None = None


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


class AskParameters(WireRequest):
    """Whom a client asks for whom, and how the LLM chooses its words."""

    model: str = Field(min_length=1, max_length=MAX_NAME_LENGTH)
    stream: bool | None = None
    user: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)


class ReplyParameters(AskParameters):
    """All that a client may want of a completion, be it chat's or the older one."""

    stream_options: StreamOptions | None = None
    max_tokens: TokenLimit | None = Field(None, description="-1 is no limit, as for llama.cpp.")
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    logit_bias: Annotated[
        dict[TokenId, Annotated[float, Field(ge=-100, le=100)]] | None, max_entries(MAX_BIASES, "tokens")
    ] = None
    n: OneAnswer | None = None
    stop: StopSequence | Annotated[list[StopSequence], Field(max_length=MAX_STOPS)] | None = Field(
        None, description="Up to 4 texts; none of them is sent."
    )

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def stops(self) -> list[str]:
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def sampling(self) -> dict[str, Any]:
        """The sampling parameters that are set, for the LLM."""
        return self.model_dump(include=SAMPLING, exclude_none=True)
