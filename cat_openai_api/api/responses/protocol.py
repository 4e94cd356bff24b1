"""Wire models of `/v1/responses` (OpenAI API reference, "Responses").

Names, defaults and limits are OpenAI's.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, field_validator

from ...wire.models import MAX_NAME_LENGTH, WireReply, WireRequest, is_set, refuse
from ...wire.parameters import (
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_TOOLS,
    AskParameters,
    FunctionName,
    InputAudio,
    JsonObjectFormat,
    Name,
    NotSupported,
    ReasoningEffort,
    RefusalPart,
    ServiceTier,
    TextFormat,
    check_each_once,
    check_tool_type,
    count_parts,
    max_entries,
)

MAX_METADATA = 16
"""OpenAI's, like the lengths of their names and values."""

MetadataName = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]

ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]


class InputText(WireRequest):
    type: Literal["input_text"]
    text: str


class InputImage(WireRequest):
    type: Literal["input_image"]
    image_url: str | None = Field(None, description="A data URI, or an http(s) URL where the Cat may fetch images.")
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: Any = None

    @field_validator("file_id")
    @classmethod
    def _in_the_request(cls, value: Any) -> Any:
        if is_set(value):
            refuse("this API keeps no files; send the image itself, as image_url")
        return value


class InputFile(WireRequest):
    type: Literal["input_file"]
    file_data: str | None = Field(None, description="A data URI of base64.")
    filename: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    file_id: Any = None
    file_url: Any = None

    @field_validator("file_id", "file_url")
    @classmethod
    def _in_the_request(cls, value: Any) -> Any:
        if is_set(value):
            refuse("this API keeps and fetches no files; send the file itself, as file_data")
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


class NamedItem(WireRequest):
    id: str | None = Field(None, max_length=MAX_NAME_LENGTH)


class ItemWithStatus(NamedItem):
    status: ItemStatus | None = None


class Message(ItemWithStatus):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content


class FunctionCall(ItemWithStatus):
    type: Literal["function_call"]
    call_id: Name
    name: Name
    arguments: str


class FunctionCallOutput(ItemWithStatus):
    type: Literal["function_call_output"]
    call_id: Name
    output: Content


class Reasoning(NamedItem):
    """It is taken and not looked at: a Cat makes up its mind anew."""

    type: Literal["reasoning"]


class ItemReference(WireRequest):
    type: Literal["item_reference"] = "item_reference"
    id: Name


Item: TypeAlias = Message | FunctionCall | FunctionCallOutput | Reasoning | ItemReference

ITEM_TYPES = ("message", "function_call", "function_call_output", "reasoning", "item_reference")


def _with_type(item: Any) -> Any:
    """Messages and references may come without."""
    if not isinstance(item, dict):
        return item
    kind = item.get("type")
    if kind is None:
        return {**item, "type": "message" if "role" in item or "content" in item else "item_reference"}
    if isinstance(kind, str) and kind not in ITEM_TYPES:
        refuse(f"items of type '{kind[:100]}' are not supported, only {', '.join(ITEM_TYPES)}")
    return item


InputItem: TypeAlias = Annotated[Item, Field(discriminator="type")]


class FunctionTool(WireRequest):
    """It goes to the LLM as the client sent it."""

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = Field(None, description="A JSON schema.")
    strict: bool | None = None


class NamedFunction(WireRequest):
    type: Literal["function"]
    name: Name


class AllowedTools(WireRequest):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[Annotated[NamedFunction, BeforeValidator(check_tool_type)]] = Field(min_length=1, max_length=MAX_TOOLS)


def _a_choice(choice: Any) -> Any:
    kind = choice.get("type") if isinstance(choice, dict) else None
    if isinstance(kind, str) and kind not in ("function", "allowed_tools"):
        refuse(f"a choice of type '{kind[:100]}' is not supported, only 'function' and 'allowed_tools'")
    return choice


ToolChoice: TypeAlias = (
    Literal["none", "auto", "required"] | Annotated[NamedFunction | AllowedTools, Field(discriminator="type")]
)


class JsonSchemaFormat(WireRequest):
    type: Literal["json_schema"]
    name: FunctionName
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextOptions(WireRequest):
    format: Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None


class ReasoningOptions(WireRequest):
    effort: ReasoningEffort | None = None


class ResponseRequest(AskParameters):
    input: (
        Annotated[str, StringConstraints(min_length=1)]
        | Annotated[
            list[Annotated[InputItem, BeforeValidator(_with_type)]], Field(min_length=1, max_length=MAX_MESSAGES)
        ]
    )
    instructions: str | None = Field(None, description="Added to the Cat's own prompt, for this response alone.")
    previous_response_id: str | None = Field(
        None, max_length=MAX_NAME_LENGTH, description="The response to go on from."
    )
    store: bool | None = Field(None, description="False: nothing is kept, and nothing is left in the Cat's memory.")
    max_output_tokens: int | None = Field(None, ge=1)
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    tools: list[Annotated[FunctionTool, BeforeValidator(check_tool_type)]] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Annotated[ToolChoice, BeforeValidator(_a_choice)] | None = None
    parallel_tool_calls: bool | None = None
    metadata: Annotated[dict[MetadataName, MetadataValue] | None, max_entries(MAX_METADATA, "entries")] = None
    truncation: Literal["auto", "disabled"] | None = None
    safety_identifier: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    service_tier: ServiceTier | None = None
    include: list[str] | None = Field(None, max_length=100)
    background: NotSupported = None
    conversation: NotSupported = None
    prompt: NotSupported = None
    top_logprobs: NotSupported = None

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "cheshire-cat",
                "instructions": "Renderer in one sentence.",
                "input": "Who are you?",
                "stream": False,
            }
        }
    )

    @field_validator("input", mode="before")
    @classmethod
    def _check_number_of_parts(cls, items: Any) -> Any:
        """Each that is at fault makes an error of its own, so this comes first."""
        if count_parts(items, "content", "output") > MAX_PARTS:
            raise ValueError(f"more than {MAX_PARTS} content parts in all items together")
        return items

    @field_validator("include")
    @classmethod
    def _check_include(cls, value: list[str] | None) -> list[str] | None:
        if value and any("logprobs" in name for name in value):
            refuse("this API gives no logprobs; leave them out")
        return value

    @field_validator("tools")
    @classmethod
    def _check_names(cls, value: list[FunctionTool] | None) -> list[FunctionTool] | None:
        check_each_once([tool.name for tool in value or []])
        return value

    def sampling(self) -> dict[str, Any]:
        """The sampling parameters that are set, for the LLM, by their names in chat."""
        effort = self.reasoning.effort if self.reasoning else None
        sampling = {"temperature": self.temperature, "top_p": self.top_p, "reasoning_effort": effort}
        return {name: value for name, value in sampling.items() if value is not None}

    def format_wire(self) -> Mapping[str, Any]:
        """The form of the reply, as the reply repeats it."""
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


class OutputCall(WireReply):
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
    """What the Cat did before it spoke: a text for each step."""

    type: Literal["reasoning"] = "reasoning"
    id: str
    summary: list[SummaryText]


OutputItem: TypeAlias = OutputMessage | OutputCall | OutputReasoning


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


ResponseStatus: TypeAlias = Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]


class ResponseObject(WireReply):
    """The whole reply. `created_at`: seconds since the epoch."""

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
    reasoning: dict[str, Any] = Field(default_factory=lambda: {"effort": None, "summary": None})
    service_tier: str | None = None
    store: bool = True
    temperature: float | None = None
    text: dict[str, Any] = Field(default_factory=lambda: {"format": {"type": "text"}})
    tool_choice: Any = "auto"
    tools: list[dict[str, Any]] = Field(default_factory=list)
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

    def wire(self) -> dict[str, Any]:
        """What OpenAI leaves out is left out, and what it sends as null is null."""
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
    data: list[dict[str, Any]]
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
