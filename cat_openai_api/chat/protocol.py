"""Wire models of `/v1/chat/completions` (OpenAI API reference, "Chat Completions").

Names, defaults and limits are OpenAI's.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from ..wire import WireReply, WireRequest, is_set, refuse

LONGEST_NAME = 512
"""Characters of a name that a client makes up: OpenAI says nothing of `user`; a digest or an e-mail fits well."""


MOST_STOPS = 4

StopSequence = Annotated[str, Field(min_length=1)]

SAMPLING = {
    "temperature",
    "top_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "reasoning_effort",
}


class TextPart(WireRequest):
    type: Literal["text"]
    text: str


Content = str | Annotated[list[TextPart], Field(min_length=1)]


class SystemMessage(WireRequest):
    role: Literal["system"]
    content: Content


class DeveloperMessage(WireRequest):
    role: Literal["developer"]
    content: Content


class UserMessage(WireRequest):
    role: Literal["user"]
    content: Content


class AssistantMessage(WireRequest):
    role: Literal["assistant"]
    content: Content | None = None
    tool_calls: list[Any] | None = None
    function_call: Any = None

    @field_validator("tool_calls", "function_call")
    @classmethod
    def _no_calls(cls, value: Any) -> Any:
        if is_set(value):
            refuse("function calls are not supported")
        return value


RequestMessage = Annotated[
    SystemMessage | DeveloperMessage | UserMessage | AssistantMessage, Field(discriminator="role")
]


class StreamOptions(WireRequest):
    include_usage: bool | None = None


class ResponseFormat(WireRequest):
    type: Literal["text", "json_object", "json_schema"]

    @field_validator("type")
    @classmethod
    def _only_text(cls, value: str) -> str:
        if value != "text":
            refuse(f"'{value}' is not supported, only 'text'")
        return value


class ChatCompletionRequest(WireRequest):
    model: str = Field(min_length=1, max_length=LONGEST_NAME)
    messages: list[RequestMessage] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: int | None = Field(None, ge=-1, description="-1 is no limit, as for llama.cpp.")
    max_tokens: int | None = Field(None, ge=-1, description="Older name of max_completion_tokens.")
    user: str | None = Field(None, max_length=LONGEST_NAME)
    safety_identifier: str | None = Field(None, max_length=LONGEST_NAME)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    n: int | None = Field(None, ge=1)
    response_format: ResponseFormat | None = None
    stop: StopSequence | list[StopSequence] | None = Field(None, description="Up to 4 texts; none of them is sent.")
    tools: Any = None
    functions: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    modalities: list[str] | None = None
    audio: Any = None
    prediction: Any = None

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "cheshire-cat",
                "messages": [
                    {"role": "system", "content": "Answer in one sentence."},
                    {"role": "user", "content": "Who are you?"},
                ],
                "stream": False,
            }
        }
    )

    @field_validator("messages")
    @classmethod
    def _ends_with_a_question(cls, messages: list[RequestMessage]) -> list[RequestMessage]:
        if messages[-1].role != "user":
            raise ValueError("the last message must be from the user")
        return messages

    @field_validator("max_tokens", "max_completion_tokens")
    @classmethod
    def _some_tokens(cls, value: int | None) -> int | None:
        if value == 0:
            raise ValueError("at least 1, or leave it out for the Cat's own limit")
        return value

    @field_validator("n")
    @classmethod
    def _one_choice(cls, value: int | None) -> int | None:
        if value is not None and value > 1:
            refuse("a Cat gives one answer; send n: 1 or leave it out")
        return value

    @field_validator("modalities")
    @classmethod
    def _no_audio(cls, value: list[str] | None) -> list[str] | None:
        if value and value != ["text"]:
            refuse("replies are text; send ['text'] or leave it out")
        return value

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        if isinstance(value, list) and len(value) > MOST_STOPS:
            raise ValueError(f"at most {MOST_STOPS} stop sequences")
        return value

    @field_validator("tools", "functions", "logprobs", "top_logprobs", "audio", "prediction")
    @classmethod
    def _not_supported(cls, value: Any) -> Any:
        if is_set(value):
            refuse("not supported by this API; leave it out")
        return value

    def stops(self) -> list[str]:
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def sampling(self) -> dict[str, Any]:
        """The sampling parameters that are set, for the LLM."""
        return self.model_dump(include=SAMPLING, exclude_none=True)


class AssistantReply(WireReply):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None


class Choice(WireReply):
    index: int = 0
    message: AssistantReply
    logprobs: None = None
    finish_reason: Literal["stop", "length"] | None


class Usage(WireReply):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(WireReply):
    """The whole reply. `created`: seconds since the epoch."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "chatcmpl-7f0f3a",
                "object": "chat.completion",
                "created": 1767225600,
                "model": "cheshire-cat",
                "choices": [
                    {
                        "index": 0,
                        "message": {
                            "role": "assistant",
                            "content": "A cat without a grin.",
                            "refusal": None,
                        },
                        "logprobs": None,
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 21, "completion_tokens": 6, "total_tokens": 27},
            }
        }
    )
