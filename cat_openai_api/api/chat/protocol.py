"""Wire models of `/v1/chat/completions` (OpenAI API reference, "Chat Completions").

Names, defaults and limits are OpenAI's.
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ...wire.json import JsonObject
from ...wire.models import MAX_NAME_LENGTH, WireReply, WireRequest, raise_unsupported
from ...wire.parameters import (
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_TOOLS,
    CompletionParameters,
    FunctionName,
    Grammar,
    InputAudio,
    JsonObjectFormat,
    Name,
    OtherTool,
    ReasoningEffort,
    RefusalPart,
    ServiceTier,
    TextFormat,
    TokenLimit,
    Unsupported,
    check_unique_names,
    count_parts,
    tool_choice_validator,
    tool_type_validator,
)
from ...wire.usage import CompletionUsage

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "function_call", "content_filter"]


class TextPart(WireRequest):
    type: Literal["text"]
    text: str


class ImageUrl(WireRequest):
    url: str = Field(min_length=1, description="A data URI; an http(s) URL if the Cat's settings allow downloads.")
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(WireRequest):
    type: Literal["image_url"]
    image_url: ImageUrl


class AudioPart(WireRequest):
    type: Literal["input_audio"]
    input_audio: InputAudio


class FileContent(WireRequest):
    file_data: str = Field(min_length=1, description="A base64 data URI.")
    filename: str | None = Field(None, max_length=MAX_NAME_LENGTH)

    @model_validator(mode="before")
    @classmethod
    def _check_file_id(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("file_id"):
            raise_unsupported("this API does not store files; send the content of the file in file_data")
        return value


class FilePart(WireRequest):
    type: Literal["file"]
    file: FileContent


UserPart = Annotated[TextPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")]
AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]

Content = str | Annotated[list[TextPart], Field(min_length=1, max_length=MAX_PARTS)]
UserContent = str | Annotated[list[UserPart], Field(min_length=1, max_length=MAX_PARTS)]
AssistantContent = str | Annotated[list[AssistantPart], Field(min_length=1, max_length=MAX_PARTS)]


class SystemMessage(WireRequest):
    role: Literal["system"]
    content: Content


class DeveloperMessage(WireRequest):
    role: Literal["developer"]
    content: Content


class UserMessage(WireRequest):
    role: Literal["user"]
    content: UserContent


class MessageFunctionCall(WireRequest):
    name: Name
    arguments: str


class MessageToolCall(WireRequest):
    id: Name
    type: Literal["function"]
    function: MessageFunctionCall


class MessageCustomCall(WireRequest):
    name: Name
    input: str


class MessageCustomToolCall(WireRequest):
    id: Name
    type: Literal["custom"]
    custom: MessageCustomCall


def _set_call_type(call: Any) -> Any:
    """Validator of a call before its type is known: some clients leave it out."""
    if isinstance(call, dict) and call.get("type") is None:
        return {**call, "type": "custom" if "custom" in call else "function"}
    return call


MessageCall: TypeAlias = Annotated[
    Annotated[MessageToolCall | MessageCustomToolCall, Field(discriminator="type")], BeforeValidator(_set_call_type)
]


class AssistantMessage(WireRequest):
    role: Literal["assistant"]
    content: AssistantContent | None = None
    refusal: str | None = None
    tool_calls: list[MessageCall] | None = Field(None, max_length=MAX_PARTS)
    function_call: MessageFunctionCall | None = None


class ToolMessage(WireRequest):
    role: Literal["tool"]
    content: Content
    tool_call_id: Name


class FunctionMessage(WireRequest):
    role: Literal["function"]
    content: str | None
    name: Name


RequestMessage: TypeAlias = (
    SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
)


class FunctionDefinition(WireRequest):
    """A function of the client. The LLM gets it as the client sent it, with unknown fields."""

    name: FunctionName
    description: str | None = None
    parameters: JsonObject | None = Field(None, description="A JSON schema.")
    strict: bool | None = None

    model_config = ConfigDict(extra="allow")


class FunctionTool(WireRequest):
    type: Literal["function"]
    function: FunctionDefinition


class PlainTextFormat(WireRequest):
    type: Literal["text"]


class GrammarFormat(WireRequest):
    type: Literal["grammar"]
    grammar: Grammar


class CustomDefinition(WireRequest):
    name: Name
    description: str | None = None
    format: Annotated[PlainTextFormat | GrammarFormat, Field(discriminator="type")] | None = None


class CustomTool(WireRequest):
    """A tool whose input is a text instead of arguments in JSON."""

    type: Literal["custom"]
    custom: CustomDefinition


Tool: TypeAlias = Annotated[
    Annotated[FunctionTool | CustomTool | OtherTool, Field(discriminator="type")],
    tool_type_validator("function", "custom"),
]


class ToolName(WireRequest):
    name: Name


class FunctionChoice(WireRequest):
    type: Literal["function"]
    function: ToolName


class CustomChoice(WireRequest):
    type: Literal["custom"]
    custom: ToolName


AllowedTool: TypeAlias = Annotated[
    Annotated[FunctionChoice | CustomChoice | OtherTool, Field(discriminator="type")],
    tool_type_validator("function", "custom"),
]


class AllowedTools(WireRequest):
    mode: Literal["auto", "required"]
    tools: list[AllowedTool] = Field(min_length=1, max_length=MAX_TOOLS)


class AllowedToolsChoice(WireRequest):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice: TypeAlias = Annotated[
    Literal["none", "auto", "required"]
    | Annotated[FunctionChoice | CustomChoice | AllowedToolsChoice, Field(discriminator="type")],
    tool_choice_validator("function", "custom", "allowed_tools"),
]


class JsonSchema(WireRequest):
    name: FunctionName
    description: str | None = None
    schema_: JsonObject | None = Field(None, alias="schema")
    strict: bool | None = None

    model_config = ConfigDict(extra="allow")


class JsonSchemaFormat(WireRequest):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class ChatCompletionRequest(CompletionParameters):
    messages: list[Annotated[RequestMessage, Field(discriminator="role")]] = Field(
        min_length=1, max_length=MAX_MESSAGES
    )
    max_completion_tokens: TokenLimit | None = Field(None, description="Newer name of max_tokens.")
    safety_identifier: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    reasoning_effort: ReasoningEffort | None = None
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[FunctionDefinition] | None = Field(None, max_length=MAX_TOOLS, description="Older form of tools.")
    function_call: Literal["none", "auto"] | ToolName | None = Field(None, description="Older form of tool_choice.")
    store: bool | None = Field(None, description="False: nothing of the request is stored in the Cat's memory.")
    service_tier: ServiceTier | None = None
    logprobs: Unsupported = None
    top_logprobs: Unsupported = None
    modalities: list[str] | None = Field(None, max_length=8)
    audio: Unsupported = None
    prediction: Unsupported = None

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

    @field_validator("messages", mode="before")
    @classmethod
    def _check_number_of_parts(cls, messages: Any) -> Any:
        """Runs before the parts are validated, because Pydantic collects an error for each invalid one."""
        if count_parts(messages, "content", "tool_calls") > MAX_PARTS:
            raise ValueError(f"send at most {MAX_PARTS} content parts and tool calls in all messages together")
        return messages

    @field_validator("modalities")
    @classmethod
    def _check_modalities(cls, value: list[str] | None) -> list[str] | None:
        if value and value != ["text"]:
            raise_unsupported("only text is supported; send ['text'] or leave it out")
        return value

    @field_validator("tools")
    @classmethod
    def _check_tool_names(cls, value: list[Tool] | None) -> list[Tool] | None:
        functions = [tool.function.name for tool in value or [] if isinstance(tool, FunctionTool)]
        check_unique_names(functions + [tool.custom.name for tool in value or [] if isinstance(tool, CustomTool)])
        return value

    @field_validator("functions")
    @classmethod
    def _check_function_names(cls, value: list[FunctionDefinition] | None) -> list[FunctionDefinition] | None:
        check_unique_names([function.name for function in value or []])
        return value


class FunctionCall(WireReply):
    name: str
    arguments: str


class ReplyToolCall(WireReply):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class CustomCall(WireReply):
    name: str
    input: str


class ReplyCustomToolCall(WireReply):
    id: str
    type: Literal["custom"] = "custom"
    custom: CustomCall


class AssistantReply(WireReply):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    annotations: list[JsonObject] = Field(default_factory=list)
    reasoning_content: str | None = Field(None, description="Steps of the Cat, with the setting show_steps.")
    tool_calls: list[ReplyToolCall | ReplyCustomToolCall] | None = None
    function_call: FunctionCall | None = None


class Choice(WireReply):
    index: int = 0
    message: AssistantReply
    logprobs: None = None
    finish_reason: FinishReason | None


class ChatCompletion(WireReply):
    """The response without a stream. `created`: seconds since the epoch."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    system_fingerprint: str | None = None
    service_tier: str | None = None

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
                            "annotations": [],
                        },
                        "logprobs": None,
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 21, "completion_tokens": 6, "total_tokens": 27},
            }
        }
    )

    def wire(self) -> JsonObject:
        """Without the null fields that OpenAI leaves out; others, such as `refusal`, OpenAI sends as null."""
        data = self.model_dump()
        (choice,) = data["choices"]
        for fields, optional_names in (
            (data, ("system_fingerprint", "service_tier")),
            (choice["message"], ("reasoning_content", "tool_calls", "function_call")),
        ):
            for name in optional_names:
                if fields[name] is None:
                    del fields[name]
        return {**data, "usage": self.usage.wire()}
