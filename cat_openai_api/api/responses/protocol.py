"""Wire models of `/v1/responses` (OpenAI API reference, "Responses").

Names, defaults and limits are OpenAI's.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, StringConstraints, field_validator

from ...wire.json import JsonObject
from ...wire.models import MAX_NAME_LENGTH, WireReply, WireRequest, raise_unsupported
from ...wire.parameters import (
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_TOOLS,
    FunctionName,
    GenerationParameters,
    InputAudio,
    JsonObjectFormat,
    Name,
    ReasoningEffort,
    RefusalPart,
    ServiceTier,
    TextFormat,
    Unsupported,
    check_tool_type,
    check_unique_names,
    count_parts,
    max_entries,
)

MAX_METADATA = 16

MetadataName = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]

ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]


class InputText(WireRequest):
    type: Literal["input_text"]
    text: str


class InputImage(WireRequest):
    type: Literal["input_image"]
    image_url: str | None = Field(None, description="A data URI; an http(s) URL if the Cat's settings allow downloads.")
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: Any = None

    @field_validator("file_id")
    @classmethod
    def _check_file_id(cls, value: Any) -> Any:
        if value:
            raise_unsupported("this API does not store files; send the image as a data URI in image_url")
        return value


class InputFile(WireRequest):
    type: Literal["input_file"]
    file_data: str | None = Field(None, description="A base64 data URI.")
    filename: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    file_id: Any = None
    file_url: Any = None

    @field_validator("file_id", "file_url")
    @classmethod
    def _check_file_reference(cls, value: Any) -> Any:
        if value:
            raise_unsupported("this API does not store or download files; send the content of the file in file_data")
        return value


class InputAudioPart(WireRequest):
    type: Literal["input_audio"]
    input_audio: InputAudio


class OutputTextPart(WireRequest):
    type: Literal["output_text"]
    text: str


TextPart: TypeAlias = InputText | OutputTextPart | RefusalPart
Part: TypeAlias = TextPart | InputImage | InputFile | InputAudioPart
Content: TypeAlias = (
    str | Annotated[list[Annotated[Part, Field(discriminator="type")]], Field(min_length=1, max_length=MAX_PARTS)]
)


class ItemWithId(WireRequest):
    id: str | None = Field(None, max_length=MAX_NAME_LENGTH)


class ItemWithStatus(ItemWithId):
    status: ItemStatus | None = None


class Message(ItemWithStatus):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content

    _sent_digest: str = PrivateAttr("")

    @property
    def sent_digest(self) -> str:
        """See `Turn`. No field: it is for stored items alone, a client could keep plugins from reading its message."""
        return self._sent_digest

    def set_sent_digest(self, digest: str) -> None:
        self._sent_digest = digest


class FunctionCall(ItemWithStatus):
    type: Literal["function_call"]
    call_id: Name
    name: Name
    arguments: str


class FunctionCallOutput(ItemWithStatus):
    type: Literal["function_call_output"]
    call_id: Name
    output: Content


class Reasoning(ItemWithId):
    """Accepted, because clients send back all output items, and ignored."""

    type: Literal["reasoning"]


class ItemReference(WireRequest):
    type: Literal["item_reference"] = "item_reference"
    id: Name


Item: TypeAlias = Message | FunctionCall | FunctionCallOutput | Reasoning | ItemReference

ITEM_TYPES = ("message", "function_call", "function_call_output", "reasoning", "item_reference")


def _set_item_type(item: Any) -> Any:
    """Validator of an item before its type is known: the type of messages and references is optional."""
    if not isinstance(item, dict):
        return item
    type = item.get("type")
    if type is None:
        return {**item, "type": "message" if "role" in item or "content" in item else "item_reference"}
    if isinstance(type, str) and type not in ITEM_TYPES:
        raise_unsupported(f"items of type '{type[:100]}' are not supported, only {', '.join(ITEM_TYPES)}")
    return item


InputItem: TypeAlias = Annotated[Item, Field(discriminator="type")]


class FunctionTool(WireRequest):
    """A function of the client. The LLM gets it as the client sent it."""

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: JsonObject | None = Field(None, description="A JSON schema.")
    strict: bool | None = None


class NamedFunction(WireRequest):
    type: Literal["function"]
    name: Name


class AllowedTools(WireRequest):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[Annotated[NamedFunction, BeforeValidator(check_tool_type)]] = Field(min_length=1, max_length=MAX_TOOLS)


def _check_tool_choice_type(choice: Any) -> Any:
    """Validator of a tool choice before its type is known."""
    type = choice.get("type") if isinstance(choice, dict) else None
    if isinstance(type, str) and type not in ("function", "allowed_tools"):
        raise_unsupported(f"the type '{type[:100]}' is not supported, only 'function' and 'allowed_tools'")
    return choice


ToolChoice: TypeAlias = (
    Literal["none", "auto", "required"] | Annotated[NamedFunction | AllowedTools, Field(discriminator="type")]
)


class JsonSchemaFormat(WireRequest):
    type: Literal["json_schema"]
    name: FunctionName
    schema_: JsonObject = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextOptions(WireRequest):
    format: Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None


class ReasoningOptions(WireRequest):
    effort: ReasoningEffort | None = None


class ResponseRequest(GenerationParameters):
    input: (
        Annotated[str, StringConstraints(min_length=1)]
        | Annotated[
            list[Annotated[InputItem, BeforeValidator(_set_item_type)]], Field(min_length=1, max_length=MAX_MESSAGES)
        ]
    )
    instructions: str | None = Field(None, description="Added to the Cat's own prompt, for this response only.")
    previous_response_id: str | None = Field(
        None, max_length=MAX_NAME_LENGTH, description="The response whose conversation is continued."
    )
    store: bool | None = Field(
        None, description="False: the response is not stored, and nothing is stored in the Cat's memory."
    )
    max_output_tokens: int | None = Field(None, ge=1)
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    tools: list[Annotated[FunctionTool, BeforeValidator(check_tool_type)]] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Annotated[ToolChoice, BeforeValidator(_check_tool_choice_type)] | None = None
    parallel_tool_calls: bool | None = None
    metadata: Annotated[dict[MetadataName, MetadataValue] | None, max_entries(MAX_METADATA, "entries")] = None
    truncation: Literal["auto", "disabled"] | None = None
    safety_identifier: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    service_tier: ServiceTier | None = None
    include: list[str] | None = Field(None, max_length=100)
    background: bool | None = Field(
        None, description="Answer at once, and generate the response without the client. It must be stored."
    )
    conversation: Unsupported = None
    prompt: Unsupported = None
    top_logprobs: Unsupported = None

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "cheshire-cat",
                "instructions": "Answer in one sentence.",
                "input": "Who are you?",
                "stream": False,
            }
        }
    )

    @field_validator("input", mode="before")
    @classmethod
    def _check_number_of_parts(cls, items: Any) -> Any:
        """Runs before the parts are validated, because Pydantic collects an error for each invalid one."""
        if count_parts(items, "content", "output") > MAX_PARTS:
            raise ValueError(f"send at most {MAX_PARTS} content parts in all items together")
        return items

    @field_validator("include")
    @classmethod
    def _check_include(cls, value: list[str] | None) -> list[str] | None:
        if value and any("logprobs" in name for name in value):
            raise_unsupported("logprobs are not supported; leave them out")
        return value

    @field_validator("tools")
    @classmethod
    def _check_names(cls, value: list[FunctionTool] | None) -> list[FunctionTool] | None:
        check_unique_names([tool.name for tool in value or []])
        return value

    def sampling(self) -> JsonObject:
        """The sampling parameters that are set, by their names in chat completions."""
        effort = self.reasoning.effort if self.reasoning else None
        sampling = {"temperature": self.temperature, "top_p": self.top_p, "reasoning_effort": effort}
        return {name: value for name, value in sampling.items() if value is not None}

    def format_wire(self) -> Mapping[str, Any]:
        """The format of the reply, as the response object repeats it."""
        format = self.text.format if self.text else None
        return format.model_dump(by_alias=True, exclude_unset=True) if format else {"type": "text"}


class OutputText(WireReply):
    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = Field(default_factory=list)
    logprobs: list[Any] = Field(default_factory=list)


class OutputRefusal(WireReply):
    type: Literal["refusal"] = "refusal"
    refusal: str


class OutputMessage(WireReply):
    type: Literal["message"] = "message"
    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputText | OutputRefusal]


class OutputFunctionCall(WireReply):
    type: Literal["function_call"] = "function_call"
    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class SummaryText(WireReply):
    type: Literal["summary_text"] = "summary_text"
    text: str


class OutputReasoning(WireReply):
    """Steps of the Cat before or between its texts: a summary text for each."""

    type: Literal["reasoning"] = "reasoning"
    id: str
    summary: list[SummaryText]


OutputItem: TypeAlias = OutputMessage | OutputFunctionCall | OutputReasoning


class InputTokensDetails(WireReply):
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokensDetails(WireReply):
    reasoning_tokens: int = 0


class ResponseUsage(WireReply):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseError(WireReply):
    code: Literal["server_error"] = "server_error"
    message: str


class IncompleteDetails(WireReply):
    reason: Literal["max_output_tokens", "content_filter"]


ResponseStatus: TypeAlias = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class ResponseObject(WireReply):
    """`created_at`: seconds since the epoch."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: ResponseStatus = "in_progress"
    background: bool = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    model: str
    output: list[OutputItem] = Field(default_factory=list)
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    reasoning: JsonObject = Field(default_factory=lambda: {"effort": None, "summary": None})
    service_tier: str | None = None
    store: bool = True
    temperature: float | None = None
    text: JsonObject = Field(default_factory=lambda: {"format": {"type": "text"}})
    tool_choice: str | JsonObject = "auto"
    tools: list[JsonObject] = Field(default_factory=list)
    top_p: float | None = None
    truncation: Literal["auto", "disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "resp_7f0f3a",
                "object": "response",
                "created_at": 1767225600,
                "status": "completed",
                "model": "cheshire-cat",
                "output": [
                    {
                        "type": "message",
                        "id": "msg_7f0f3a",
                        "status": "completed",
                        "role": "assistant",
                        "content": [{"type": "output_text", "text": "A cat without a grin.", "annotations": []}],
                    }
                ],
                "usage": {
                    "input_tokens": 21,
                    "input_tokens_details": {"cached_tokens": 0},
                    "output_tokens": 6,
                    "output_tokens_details": {"reasoning_tokens": 0},
                    "total_tokens": 27,
                },
            }
        }
    )

    def wire(self) -> JsonObject:
        """Without the null fields that OpenAI leaves out; others, such as `error`, OpenAI sends as null."""
        data = self.model_dump()
        for name in ("service_tier", "user", "safety_identifier"):
            if data[name] is None:
                del data[name]
        return data


class DeletedResponse(WireReply):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True

    model_config = ConfigDict(
        json_schema_extra={"example": {"id": "resp_7f0f3a", "object": "response", "deleted": True}}
    )


class InputItemList(WireReply):
    object: Literal["list"] = "list"
    data: list[JsonObject]
    first_id: str | None
    last_id: str | None
    has_more: bool

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "object": "list",
                "data": [
                    {
                        "type": "message",
                        "id": "msg_7f0f3a",
                        "status": "completed",
                        "role": "user",
                        "content": [{"type": "input_text", "text": "Who are you?"}],
                    }
                ],
                "first_id": "msg_7f0f3a",
                "last_id": "msg_7f0f3a",
                "has_more": False,
            }
        }
    )
