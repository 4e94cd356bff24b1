"""Reading the items of a request and of stored responses into domain objects, and listing items."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from ...conversation.builder import ConversationBuilder, ParsedConversation
from ...domain.conversation import Image, JsonFormat, Part, ToolCall, Turn
from ...errors import invalid
from ...generation.generation import Generation
from ...generation.request import new_id
from ...generation.tools import (
    NO_ALLOWED_TOOL,
    TOOL_SEARCH,
    ClientTool,
    ClientTools,
    OfferedTools,
    ToolDefinition,
    ToolsBuilder,
    custom_function,
    encode_call,
    function_choice,
)
from ...wire.json import JsonObject
from ...wire.models import set_fields
from ...wire.parameters import JsonObjectFormat, OtherTool, RefusalPart
from .hosted_items import HostedCall, complete_hosted_calls
from .protocol import (
    AllowedTools,
    Compaction,
    Content,
    CustomTool,
    CustomToolCall,
    CustomToolCallOutput,
    FunctionCall,
    FunctionCallOutput,
    FunctionTool,
    GrammarFormat,
    HostedItem,
    InputAudioPart,
    InputFile,
    InputImage,
    Item,
    JsonSchemaFormat,
    Message,
    NamedNamespace,
    NamedTool,
    NamespaceTool,
    Reasoning,
    ResponseRequest,
    TextPart,
    Tool,
    ToolList,
    ToolSearchTool,
    wire_tool,
)
from .protocol import Part as WirePart

LocatedItem: TypeAlias = tuple[str, Item]
"""The path of an item in the request, and the item."""

LocatedEntry: TypeAlias = tuple[str, Item | HostedCall]


def read_items(
    items: Sequence[LocatedItem],
    instructions: str | None,
    tools: ClientTools,
    *,
    allow_remote_images: bool,
    last_user_message_only: bool,
) -> ParsedConversation:
    """The conversation of `items`, with calls of `tools` as the LLM made them. Raises `InvalidRequest`.

    `last_user_message_only`: whether to leave out all items before the user's last message, and instructions. What
    follows it are tool calls and their results.
    """
    reader = _ItemReader(ConversationBuilder(allow_remote_images=allow_remote_images), tools)
    ends_with_instructions = bool(items) and _has_role(items[-1][1], "system", "developer")
    if last_user_message_only:
        user_indexes = [index for index, (_, item) in enumerate(items) if _has_role(item, "user")]
        recent = items[user_indexes[-1] if user_indexes else 0 :]
        items = [(path, item) for path, item in recent if not _has_role(item, "system", "developer")]
    elif instructions:
        reader.builder.add_instructions([instructions])
    for path, item in _move_results_to_calls(complete_hosted_calls(items)):
        reader.read(path, item)
    return reader.build(ends_with_instructions=ends_with_instructions)


def read_tools(body: ResponseRequest, items: Iterable[Item]) -> ClientTools:
    """The tools of the request and of its items, as its `tool_choice` allows them. Raises `InvalidRequest`."""
    builder = ToolsBuilder("tools")
    for tool in body.tools or []:
        _add_tool(builder, tool)
    for item in items:
        for tool in item.tools if isinstance(item, ToolList) else []:
            _add_tool(builder, tool)
    offered, parallel = builder.build(), body.parallel_tool_calls
    choice = body.tool_choice
    if isinstance(choice, AllowedTools):
        allowed = _find_allowed(offered, choice)
        if not allowed:
            raise invalid("tool_choice.tools", NO_ALLOWED_TOOL, "unsupported_parameter")
        return offered.choose(choice.mode, parallel, allowed)
    if isinstance(choice, NamedTool):
        name = offered.find("tool_choice.name", choice.type, choice.name, choice.namespace)
        return offered.choose(function_choice(name), parallel)
    if choice == "required":
        offered.require_any("tool_choice")
    return offered.choose(choice, parallel)


def _find_allowed(offered: OfferedTools, choice: AllowedTools) -> list[str]:
    names: list[str] = []
    for index, tool in enumerate(choice.tools):
        path = f"tool_choice.tools[{index}].name"
        if isinstance(tool, NamedNamespace):
            names += offered.find_all(path, tool.name)
        elif isinstance(tool, NamedTool):
            names.append(offered.find(path, tool.type, tool.name, tool.namespace))
    return names


def _add_tool(builder: ToolsBuilder, tool: Tool) -> None:
    if isinstance(tool, OtherTool):
        builder.leave_out(tool.sent_type)
    elif isinstance(tool, NamespaceTool):
        for inner in tool.tools:
            if isinstance(inner, OtherTool):
                builder.leave_out(inner.sent_type)
            else:
                builder.add(_define(inner, tool.name, tool.description or ""))
    elif isinstance(tool, ToolSearchTool):
        if tool.execution == "client":
            builder.add(ToolDefinition(ClientTool("tool_search", TOOL_SEARCH), _search_function(tool)))
        else:
            builder.leave_out(tool.type)
    else:
        builder.add(_define(tool))


def _search_function(tool: ToolSearchTool) -> JsonObject:
    function = tool.model_dump(include={"description", "parameters"}, exclude_none=True)
    return {"parameters": {"type": "object", "properties": {"query": {"type": "string"}}}, **function}


def _define(tool: FunctionTool | CustomTool, namespace: str = "", namespace_description: str = "") -> ToolDefinition:
    if isinstance(tool, CustomTool):
        grammar = tool.format if isinstance(tool.format, GrammarFormat) else None
        function = custom_function(tool.description, grammar)
    else:
        function = {name: value for name, value in set_fields(tool).items() if name not in ("type", "name")}
    return ToolDefinition(ClientTool(tool.type, tool.name, namespace), function, namespace_description)


def read_format(body: ResponseRequest) -> JsonFormat | None:
    """The JSON format of the reply, in the form of chat completions; None for plain text."""
    format = body.text.format if body.text else None
    if isinstance(format, JsonObjectFormat):
        return JsonFormat({"type": "json_object"})
    if isinstance(format, JsonSchemaFormat):
        schema = format.model_dump(by_alias=True, exclude={"type"}, exclude_unset=True)
        return JsonFormat({"type": "json_schema", "json_schema": schema}, format.schema_)
    return None


def _move_results_to_calls(items: Sequence[LocatedEntry]) -> Iterator[LocatedEntry]:
    """Move the results of calls before user messages that stand between them: LLMs reject such a message there."""
    yielded: set[int] = set()
    pending_call_ids: set[str] = set()
    for index, (path, item) in enumerate(items):
        if index in yielded:
            continue
        if isinstance(item, FunctionCall | CustomToolCall):
            pending_call_ids.add(item.call_id)
        elif isinstance(item, FunctionCallOutput | CustomToolCallOutput):
            pending_call_ids.discard(item.call_id or "")
        elif pending_call_ids and _has_role(item, "user"):
            for later in range(index + 1, len(items)):
                result = items[later][1]
                if isinstance(result, FunctionCallOutput | CustomToolCallOutput) and result.call_id in pending_call_ids:
                    pending_call_ids.discard(result.call_id)
                    yielded.add(later)
                    yield items[later]
            pending_call_ids.clear()
        yield path, item


def _has_role(item: Item | HostedCall, *roles: str) -> bool:
    return isinstance(item, Message) and item.role in roles


class _ItemReader:
    """Adds items to a conversation. Adjacent messages and calls of the assistant become one turn.

    `tools`: of the request. Calls of hosted tools have their results at once, in `_results`.
    """

    def __init__(self, builder: ConversationBuilder, tools: ClientTools) -> None:
        self.builder = builder
        self._tools = tools
        self._path = ""
        self._texts: list[Part] = []
        self._calls: list[ToolCall] = []
        self._results: dict[str, Sequence[Part]] = {}
        self._hosted_calls = 0

    def read(self, path: str, item: Item | HostedCall) -> None:
        if isinstance(item, FunctionCall):
            self._add_call(path, item.call_id, ClientTool("function", item.name, item.namespace or ""), item.arguments)
        elif isinstance(item, CustomToolCall):
            self._add_call(path, item.call_id, ClientTool("custom", item.name, item.namespace or ""), item.input)
        elif isinstance(item, FunctionCallOutput | CustomToolCallOutput):
            self._add_assistant_turn()
            call_id = item.call_id or self._pending_call_id(item)
            parts = self._read_parts(f"{path}.output", item.output)
            self.builder.add_tool_result(f"{path}.call_id", call_id, parts or [""])
        elif isinstance(item, HostedCall):
            self._add_hosted_call(path, item)
        elif isinstance(item, Message) and item.role == "assistant":
            self._end_answered_turn()
            self._path = self._path or path
            self._texts += _texts(f"{path}.content", item.content)
        elif isinstance(item, Message) and item.role == "user":
            self._add_assistant_turn()
            self.builder.add_user_turn(
                path, self._read_parts(f"{path}.content", item.content), sent_digest=item.sent_digest
            )
        elif isinstance(item, Message):
            self.builder.add_instructions(_texts(f"{path}.content", item.content))

    def build(self, *, ends_with_instructions: bool) -> ParsedConversation:
        """See `ConversationBuilder.build`."""
        self._add_assistant_turn()
        return self.builder.build("input", ends_with_instructions=ends_with_instructions)

    def _end_answered_turn(self) -> None:
        """The assistant went on after the results of its calls, which only calls of hosted tools have already."""
        if self._results and len(self._results) == len(self._calls):
            self._add_assistant_turn()

    def _add_call(self, path: str, call_id: str, tool: ClientTool, content: str) -> None:
        self._end_answered_turn()
        self._path = self._path or path
        self._calls.append(encode_call(call_id, tool, content, self._tools))

    def _pending_call_id(self, item: FunctionCallOutput | CustomToolCallOutput) -> str:
        """Of the call whose output names no call but a function."""
        if not isinstance(item, FunctionCallOutput) or not item.name:
            return ""
        tool = ClientTool("function", item.name, item.namespace or "")
        return self.builder.pending_call_id(self._tools.function_name(tool))

    def _add_hosted_call(self, path: str, call: HostedCall) -> None:
        self._end_answered_turn()
        self._path = self._path or path
        self._hosted_calls += 1
        id = f"call_hosted_{self._hosted_calls}"
        image = [self.builder.parse_image(path, call.image, None)] if call.image else []
        self._calls.append(ToolCall(id, call.name, call.arguments))
        self._results[id] = [call.result, *image]

    def _add_assistant_turn(self) -> None:
        if self._path:
            self.builder.add_assistant_turn(self._path, self._texts or [""], self._calls)
            for call_id, parts in self._results.items():
                self.builder.add_tool_result(self._path, call_id, parts)
        self._path, self._texts, self._calls, self._results = "", [], [], {}

    def _read_parts(self, path: str, content: Content) -> list[Part]:
        if isinstance(content, str):
            return [content]
        return [self._read_part(f"{path}[{index}]", part) for index, part in enumerate(content)]

    def _read_part(self, path: str, part: WirePart) -> Part:
        if isinstance(part, InputImage):
            if not part.image_url:
                raise invalid(f"{path}.image_url", "send the image as a data URI")
            return self.builder.parse_image(f"{path}.image_url", part.image_url, part.detail)
        if isinstance(part, InputFile):
            return self.builder.parse_file(f"{path}.file_data", part.file_data or "", part.filename)
        if isinstance(part, InputAudioPart):
            return self.builder.parse_audio(f"{path}.input_audio.data", part.input_audio.data, part.input_audio.format)
        return _text(part)


def _texts(path: str, content: Content) -> list[str]:
    if isinstance(content, str):
        return [content]
    texts: list[str] = []
    for index, part in enumerate(content):
        if isinstance(part, InputImage | InputFile | InputAudioPart):
            raise invalid(f"{path}[{index}]", "only text parts are supported here", "unsupported_parameter")
        texts.append(_text(part))
    return texts


def text_of(content: Content) -> str:
    """The text of the content, with a note in the place of each image, file and audio."""
    if isinstance(content, str):
        return content
    return "".join(
        f"[{part.type}]" if isinstance(part, InputImage | InputFile | InputAudioPart) else _text(part)
        for part in content
    )


def _text(part: TextPart) -> str:
    return part.refusal if isinstance(part, RefusalPart) else part.text


ID_PREFIXES = {
    "message": "msg_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
    "reasoning": "rs_",
    "compaction": "cmp_",
}
"""By the type of the item; those of hosted tools' items are their types."""


def list_item(item: Item) -> JsonObject:
    """The item as OpenAI lists it: with an id and a status, and its content as parts."""
    is_hosted = isinstance(item, HostedItem | ToolList)
    wire = item.model_dump(exclude_unset=True) if is_hosted else item.model_dump(exclude_none=True)
    if isinstance(item, Compaction):
        wire["type"] = "compaction"
    wire["id"] = wire.get("id") or new_id(ID_PREFIXES.get(wire["type"], f"{item.type}_"))
    if isinstance(item, Compaction):
        return wire
    if isinstance(item, Reasoning):
        return {**wire, "summary": []}
    if isinstance(item, ToolList):
        wire["tools"] = [wire_tool(tool) for tool in item.tools]
    if is_hosted:
        return wire
    wire["status"] = "completed"
    if isinstance(item, Message):
        if item.role != "assistant":
            wire.pop("phase", None)
        wire["content"] = [_list_part(part, item.role) for part in _content_parts(item.content)]
    return wire


def input_as_read(input: Sequence[JsonObject], generation: Generation) -> tuple[list[JsonObject], dict[str, str]]:
    """The listed items of a request for storing, with the messages of the user as the Cat's pipeline left them, and
    for `StoredResponse` the digests of the messages as they were sent.

    Messages that the pipeline did not get, because the Cat keeps the conversation, are left out where plugins change
    messages.
    """
    parsed = generation.request.parsed
    from_client, sent, read = (
        [turn for turn in turns if turn.role == "user"]
        for turns in (parsed.conversation.turns, generation.conversation.turns, generation.turns_as_read())
    )
    if parsed.ends_with_added_question:
        # None of the items is that turn.
        from_client, sent, read = from_client[:-1], sent[:-1], read[:-1]
    messages = [item for item in input if item["type"] == "message" and item["role"] == "user"]
    places = {item["id"]: place for place, item in enumerate(reversed(messages), 1)}
    items: list[JsonObject] = []
    digests: dict[str, str] = {}
    for item in input:
        place = places.get(item["id"], 0)
        if not place or not generation.questions.turns:
            items.append(item)
        elif place <= len(from_client):
            turn = read[-place]
            items.append({**item, "content": _parts_as_read(item["content"], sent[-place], turn)})
            if turn.sent_digest:
                digests[item["id"]] = turn.sent_digest
    return items, digests


def _parts_as_read(content: list[JsonObject], sent: Turn, read: Turn) -> list[JsonObject]:
    if read.parts == sent.parts:
        return content
    parts: list[JsonObject] = []
    for part in read.parts:
        if isinstance(part, str):
            parts.append({"type": "input_text", "text": part})
        elif part in sent.parts and len(content) == len(sent.parts):
            parts.append(content[sent.parts.index(part)])
        elif isinstance(part, Image):
            parts.append({"type": "input_image", "image_url": part.url, "detail": "auto"})
    return parts or [{"type": "input_text", "text": ""}]


def _content_parts(content: Content) -> list[JsonObject]:
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    return [part.model_dump(exclude_none=True) for part in content]


def _list_part(part: JsonObject, role: str) -> JsonObject:
    if part["type"] == "input_image":
        return {"detail": "auto", **part}
    if part["type"] in ("input_text", "output_text"):
        if role == "assistant":
            return {"type": "output_text", "text": part["text"], "annotations": [], "logprobs": []}
        return {"type": "input_text", "text": part["text"]}
    return part
