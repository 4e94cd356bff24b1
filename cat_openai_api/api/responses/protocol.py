"""Wire models of `/v1/responses` (OpenAI API reference, "Responses").

Names, defaults and limits are OpenAI's.
"""

from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, StringConstraints, field_validator

from ...domain.model_ids import CAT_MODEL
from ...wire.json import JsonObject
from ...wire.models import MAX_NAME_LENGTH, WireReply, WireRequest, raise_unsupported
from ...wire.parameters import (
    MAX_MESSAGES,
    MAX_NAMESPACE_TOOLS,
    MAX_PARTS,
    MAX_TOOLS,
    SAMPLING_PARAMETERS,
    FunctionName,
    GenerationParameters,
    Grammar,
    InputAudio,
    JsonObjectFormat,
    Name,
    OtherTool,
    ReasoningEffort,
    RefusalPart,
    ServiceTier,
    TextFormat,
    Unsupported,
    check_unique_names,
    count_parts,
    max_entries,
    tool_choice_validator,
    tool_type_validator,
)

MAX_METADATA = 16

MAX_COMPACTION_LENGTH = 20_971_520
"""Characters."""

MetadataName = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]

ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]

Include: TypeAlias = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]

Phase: TypeAlias = Literal["commentary", "final_answer"]

CacheRetention: TypeAlias = Literal["in_memory", "24h"]


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


ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]


class FunctionTool(WireRequest):
    """A function of the client. The LLM gets it as the client sent it, but for a name that is too long for it."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: JsonObject | None = Field(None, description="A JSON schema.")
    strict: bool | None = None


class PlainTextFormat(WireRequest):
    type: Literal["text"]


class GrammarFormat(Grammar):
    type: Literal["grammar"]


class CustomTool(WireRequest):
    """A tool whose input is a text instead of arguments in JSON."""

    type: Literal["custom"]
    name: Name
    description: str | None = None
    format: Annotated[PlainTextFormat | GrammarFormat, Field(discriminator="type")] | None = None


ToolInNamespace: TypeAlias = Annotated[
    Annotated[FunctionTool | CustomTool | OtherTool, Field(discriminator="type")],
    tool_type_validator("function", "custom"),
]


class NamespaceTool(WireRequest):
    """Tools under a common name, such as those of an MCP server that the client runs."""

    type: Literal["namespace"]
    name: Name
    description: str | None = None
    tools: list[ToolInNamespace] = Field(max_length=MAX_NAMESPACE_TOOLS)

    @field_validator("tools")
    @classmethod
    def _check_names(cls, value: list[ToolInNamespace]) -> list[ToolInNamespace]:
        check_unique_names([tool.name for tool in value if not isinstance(tool, OtherTool)])
        return value


class ToolSearchTool(WireRequest):
    """A search for more tools. Where the client runs it, the LLM can call it; else only OpenAI's servers can."""

    type: Literal["tool_search"]
    execution: Literal["server", "client"] | None = None
    description: str | None = None
    parameters: JsonObject | None = Field(None, description="A JSON schema.")


Tool: TypeAlias = Annotated[
    Annotated[FunctionTool | CustomTool | NamespaceTool | ToolSearchTool | OtherTool, Field(discriminator="type")],
    tool_type_validator("function", "custom", "namespace", "tool_search"),
]


def wire_tool(tool: Tool) -> JsonObject:
    """The tool as the response object repeats it."""
    if isinstance(tool, OtherTool):
        return tool.without_secrets()
    if isinstance(tool, NamespaceTool):
        tools = [wire_tool(inner) for inner in tool.tools]
        return {"type": tool.type, "name": tool.name, "description": tool.description or "", "tools": tools}
    if isinstance(tool, CustomTool):
        return {"format": {"type": "text"}, **tool.model_dump(exclude_none=True)}
    if isinstance(tool, ToolSearchTool):
        return tool.model_dump(exclude_none=True)
    return dict(tool)


class NamedTool(WireRequest):
    type: Literal["function", "custom"]
    name: Name
    namespace: str | None = Field(None, max_length=MAX_NAME_LENGTH)


class NamedNamespace(WireRequest):
    type: Literal["namespace"]
    name: Name


class AllowedTools(WireRequest):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[
        Annotated[
            Annotated[NamedTool | NamedNamespace | OtherTool, Field(discriminator="type")],
            tool_type_validator("function", "custom", "namespace"),
        ]
    ] = Field(min_length=1, max_length=MAX_TOOLS)


ToolChoice: TypeAlias = Annotated[
    Literal["none", "auto", "required"] | Annotated[NamedTool | AllowedTools, Field(discriminator="type")],
    tool_choice_validator("function", "custom", "allowed_tools"),
]


CallOutput: TypeAlias = str | Annotated[list[Annotated[Part, Field(discriminator="type")]], Field(max_length=MAX_PARTS)]
"""The output of a call, which may have no parts at all."""

HostedItemType: TypeAlias = Literal[
    "apply_patch_call",
    "apply_patch_call_output",
    "code_interpreter_call",
    "computer_call",
    "computer_call_output",
    "file_search_call",
    "image_generation_call",
    "local_shell_call",
    "local_shell_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "program",
    "program_output",
    "shell_call",
    "shell_call_output",
    "tool_search_call",
    "web_search_call",
]


class ItemWithId(WireRequest):
    id: str | None = Field(None, max_length=MAX_NAME_LENGTH)


class ItemWithStatus(ItemWithId):
    status: ItemStatus | None = None


class Message(ItemWithStatus):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    phase: Phase | None = Field(None, description="Of an assistant's message; the LLM does not get it.")

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
    namespace: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    arguments: str


class FunctionCallOutput(ItemWithStatus):
    """`call_id` may be left out: then it is the output of the first call of `name` that has none yet."""

    type: Literal["function_call_output"]
    call_id: Name | None = None
    name: Name | None = None
    namespace: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    output: CallOutput


class CustomToolCall(ItemWithStatus):
    type: Literal["custom_tool_call"]
    call_id: Name
    name: Name
    namespace: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    input: str


class CustomToolCallOutput(ItemWithStatus):
    type: Literal["custom_tool_call_output"]
    call_id: Name
    output: CallOutput


class HostedItem(ItemWithId):
    """A call of a tool that OpenAI's servers run or that OpenAI defines, or its output. The LLM gets it as a call.

    Its fields differ by type; those that are not named here are kept as they were sent.
    """

    type: HostedItemType
    call_id: Name | None = None

    model_config = ConfigDict(extra="allow")


class ToolList(ItemWithId):
    """Tools that are available from this item on; the LLM is offered them with those in `tools` of the request."""

    type: Literal["tool_search_output", "additional_tools"]
    call_id: Name | None = None
    tools: list[Tool] = Field(max_length=MAX_TOOLS)

    model_config = ConfigDict(extra="allow")


class Reasoning(ItemWithId):
    """Accepted, because clients send back all output items, and ignored."""

    type: Literal["reasoning"]


class Compaction(ItemWithId):
    """A summary in the place of older items, as `/v1/responses/compact` makes it. The other types are Codex's; the last
    one may have no content, and is ignored then."""

    type: Literal["compaction", "compaction_summary", "context_compaction"]
    encrypted_content: str | None = Field(None, max_length=MAX_COMPACTION_LENGTH)


class CompactionTrigger(WireRequest):
    """As the last item: the response is to be the compaction of the items before it."""

    type: Literal["compaction_trigger"]


class ItemReference(WireRequest):
    type: Literal["item_reference"] = "item_reference"
    id: Name


Item: TypeAlias = (
    Message
    | FunctionCall
    | FunctionCallOutput
    | CustomToolCall
    | CustomToolCallOutput
    | HostedItem
    | ToolList
    | Reasoning
    | Compaction
    | CompactionTrigger
    | ItemReference
)

ITEM_TYPES = (
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "reasoning",
    "compaction",
    "compaction_summary",
    "context_compaction",
    "compaction_trigger",
    "item_reference",
    "tool_search_output",
    "additional_tools",
    *get_args(HostedItemType),
)


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


class JsonSchemaFormat(WireRequest):
    type: Literal["json_schema"]
    name: FunctionName
    schema_: JsonObject = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextOptions(WireRequest):
    format: Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


ReasoningSummary: TypeAlias = Literal["auto", "concise", "detailed"]


class ReasoningOptions(WireRequest):
    effort: ReasoningEffort | None = None
    summary: ReasoningSummary | None = None
    generate_summary: ReasoningSummary | None = Field(None, description="Older name of summary.")


def _normalize_retention(value: Any) -> Any:
    """Earlier versions of OpenAI's reference have a hyphen in the name."""
    return "in_memory" if value == "in-memory" else value


class InputFields(WireRequest):
    """Where the conversation comes from. One of `input` and `previous_response_id` is required."""

    input: (
        Annotated[str, StringConstraints(min_length=1)]
        | Annotated[
            list[Annotated[InputItem, BeforeValidator(_set_item_type)]], Field(min_length=1, max_length=MAX_MESSAGES)
        ]
        | None
    ) = None
    instructions: str | None = Field(None, description="Added to the Cat's own prompt, for this response only.")
    previous_response_id: str | None = Field(
        None, max_length=MAX_NAME_LENGTH, description="The response whose conversation is continued."
    )

    @field_validator("input", mode="before")
    @classmethod
    def _check_number_of_parts(cls, items: Any) -> Any:
        """Runs before the parts are validated, because Pydantic collects an error for each invalid one."""
        if count_parts(items, "content", "output") > MAX_PARTS:
            raise ValueError(f"send at most {MAX_PARTS} content parts in all items together")
        return items


class ResponseRequest(InputFields, GenerationParameters):
    store: bool | None = Field(
        None, description="False: the response is not stored, and nothing is stored in the Cat's memory."
    )
    max_output_tokens: int | None = Field(None, ge=1)
    max_tool_calls: int | None = Field(None, ge=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    tools: list[Tool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    metadata: Annotated[dict[MetadataName, MetadataValue] | None, max_entries(MAX_METADATA, "entries")] = None
    truncation: Literal["auto", "disabled"] | None = None
    safety_identifier: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    prompt_cache_key: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    prompt_cache_retention: Annotated[CacheRetention | None, BeforeValidator(_normalize_retention)] = None
    service_tier: ServiceTier | None = None
    include: list[Include] | None = Field(None, max_length=100)
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

    @field_validator("include")
    @classmethod
    def _check_include(cls, value: list[Include] | None) -> list[Include] | None:
        if value and "message.output_text.logprobs" in value:
            raise_unsupported("logprobs are not supported; leave them out")
        return value

    @field_validator("tools")
    @classmethod
    def _check_names(cls, value: list[Tool] | None) -> list[Tool] | None:
        check_unique_names([tool.name for tool in value or [] if isinstance(tool, FunctionTool | CustomTool)])
        check_unique_names([tool.name for tool in value or [] if isinstance(tool, NamespaceTool)])
        return value

    def sampling(self) -> JsonObject:
        """The sampling parameters that are set, by their names in chat completions."""
        sampling = self.model_dump(include=SAMPLING_PARAMETERS, exclude_none=True)
        if self.reasoning and self.reasoning.effort:
            sampling["reasoning_effort"] = self.reasoning.effort
        return sampling

    def text_wire(self) -> JsonObject:
        """The field `text`, as the response object repeats it."""
        text = self.text or TextOptions()
        format: JsonObject = text.format.model_dump(by_alias=True) if text.format else {"type": "text"}
        if isinstance(text.format, JsonSchemaFormat):
            format["strict"] = bool(text.format.strict)
        return {"format": format, **({"verbosity": text.verbosity} if text.verbosity else {})}

    def reasoning_wire(self) -> JsonObject:
        """The field `reasoning`, as the response object repeats it."""
        reasoning = self.reasoning or ReasoningOptions()
        return {"effort": reasoning.effort, "summary": reasoning.summary or reasoning.generate_summary}


class InputTokensRequest(ResponseRequest):
    """What a response would be generated from. The other fields of a request for a response are accepted, too."""

    model: Annotated[Name, BeforeValidator(lambda value: CAT_MODEL if value is None else value)] = CAT_MODEL

    model_config = ConfigDict(json_schema_extra={"example": {"model": "cheshire-cat", "input": "Who are you?"}})


class CompactRequest(InputFields):
    model: Name
    user: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    safety_identifier: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    prompt_cache_key: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    prompt_cache_retention: Annotated[CacheRetention | None, BeforeValidator(_normalize_retention)] = None
    service_tier: ServiceTier | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "cheshire-cat",
                "input": [
                    {"role": "user", "content": "We launch on Tuesday."},
                    {"role": "assistant", "content": "Noted: the launch is on Tuesday."},
                ],
            }
        }
    )


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


def _without_null(data: JsonObject, *names: str) -> JsonObject:
    """`data` without those of its fields that are null."""
    return {name: value for name, value in data.items() if value is not None or name not in names}


class OutputFunctionCall(WireReply):
    type: Literal["function_call"] = "function_call"
    id: str
    status: ItemStatus
    call_id: str
    name: str
    namespace: str | None = None
    arguments: str

    def wire(self) -> JsonObject:
        return _without_null(self.model_dump(), "namespace")


class OutputCustomToolCall(WireReply):
    type: Literal["custom_tool_call"] = "custom_tool_call"
    id: str
    status: ItemStatus
    call_id: str
    name: str
    namespace: str | None = None
    input: str

    def wire(self) -> JsonObject:
        return _without_null(self.model_dump(), "namespace")


class OutputToolSearchCall(WireReply):
    type: Literal["tool_search_call"] = "tool_search_call"
    id: str
    status: ItemStatus
    call_id: str
    execution: Literal["client"] = "client"
    arguments: JsonObject = Field(default_factory=dict)


class SummaryText(WireReply):
    type: Literal["summary_text"] = "summary_text"
    text: str


class OutputReasoning(WireReply):
    """Steps of the Cat before or between its texts: a summary text for each."""

    type: Literal["reasoning"] = "reasoning"
    id: str
    summary: list[SummaryText]


class OutputCompaction(WireReply):
    type: Literal["compaction"] = "compaction"
    id: str
    encrypted_content: str


OutputItem: TypeAlias = (
    OutputMessage
    | OutputFunctionCall
    | OutputCustomToolCall
    | OutputToolSearchCall
    | OutputReasoning
    | OutputCompaction
)


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
    """All fields that OpenAI and Open Responses publish and that a Cat can fill.

    `created_at`, `completed_at`: seconds since the epoch; the latter only of a completed response. `temperature` and
    the other numbers: as in the request, or OpenAI's defaults.
    """

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: ResponseStatus = "in_progress"
    background: bool = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    frequency_penalty: float = 0.0
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    model: str
    output: list[OutputItem] = Field(default_factory=list)
    parallel_tool_calls: bool = True
    presence_penalty: float = 0.0
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: CacheRetention | None = None
    reasoning: JsonObject = Field(default_factory=lambda: {"effort": None, "summary": None})
    safety_identifier: str | None = None
    service_tier: str = "default"
    store: bool = True
    temperature: float = 1.0
    text: JsonObject = Field(default_factory=lambda: {"format": {"type": "text"}})
    tool_choice: str | JsonObject = "auto"
    tools: list[JsonObject] = Field(default_factory=list)
    top_logprobs: int = 0
    top_p: float = 1.0
    truncation: Literal["auto", "disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "resp_7f0f3a",
                "object": "response",
                "created_at": 1767225600,
                "completed_at": 1767225601,
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
        """Without `user` where it is null, which OpenAI's document does not allow."""
        data = self.model_dump(exclude={"output", "user"} if self.user is None else {"output"})
        return {**data, "output": [item.wire() for item in self.output]}


class CompactedResponse(WireReply):
    """`output`: the items that take the place of the conversation. `created_at`: seconds since the epoch."""

    id: str
    object: Literal["response.compaction"] = "response.compaction"
    created_at: int
    output: list[JsonObject]
    usage: ResponseUsage

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "resp_7f0f3a",
                "object": "response.compaction",
                "created_at": 1767225600,
                "output": [
                    {
                        "type": "message",
                        "id": "msg_7f0f3a",
                        "status": "completed",
                        "role": "user",
                        "content": [{"type": "input_text", "text": "We launch on Tuesday."}],
                    },
                    {"type": "compaction", "id": "cmp_7f0f3a", "encrypted_content": "AV9zZWFsZWQ="},
                ],
                "usage": {
                    "input_tokens": 210,
                    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                    "output_tokens": 30,
                    "output_tokens_details": {"reasoning_tokens": 0},
                    "total_tokens": 240,
                },
            }
        }
    )


class InputTokens(WireReply):
    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int

    model_config = ConfigDict(json_schema_extra={"example": {"object": "response.input_tokens", "input_tokens": 21}})


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
