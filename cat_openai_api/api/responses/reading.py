"""Reading the items of a request and of stored responses into domain objects, and listing items."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from ...conversation.builder import ConversationBuilder, ParsedConversation
from ...domain.conversation import CallChoice, Functions, Image, JsonFormat, Part, ToolCall, Turn
from ...errors import invalid
from ...generation.generation import Generation
from ...generation.request import new_id
from ...wire.json import JsonObject
from ...wire.parameters import JsonObjectFormat, RefusalPart, check_function_name
from .protocol import (
    AllowedTools,
    Content,
    FunctionCall,
    FunctionCallOutput,
    InputAudioPart,
    InputFile,
    InputImage,
    Item,
    JsonSchemaFormat,
    Message,
    NamedFunction,
    Reasoning,
    ResponseRequest,
    TextPart,
)
from .protocol import Part as WirePart

LAST_ITEM = "the last item must be a message with the role user, or a function_call_output"

LocatedItem: TypeAlias = tuple[str, Item]
"""The path of an item in the request, and the item."""


def read_items(
    items: Sequence[LocatedItem], instructions: str | None, *, allow_remote_images: bool, last_user_message_only: bool
) -> ParsedConversation:
    """The conversation of `items`. Raises `InvalidRequest`.

    `last_user_message_only`: whether to leave out all items before the user's last message, and instructions. What
    follows it are tool calls and their results.
    """
    reader = _ItemReader(ConversationBuilder(allow_remote_images=allow_remote_images))
    if last_user_message_only:
        user_indexes = [index for index, (_, item) in enumerate(items) if _has_role(item, "user")]
        recent = items[user_indexes[-1] if user_indexes else 0 :]
        items = [(path, item) for path, item in recent if not _has_role(item, "system", "developer")]
    elif instructions:
        reader.builder.add_instructions([instructions])
    for path, item in _move_results_to_calls(items):
        reader.read(path, item)
    return reader.build()


def read_functions(body: ResponseRequest) -> Functions | None:
    """The functions that the LLM may call, in the form of chat completions; None if there are none.

    Raises `InvalidRequest`.
    """
    tools = {
        tool.name: {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_unset=True)}
        for tool in body.tools or []
    }
    choice: CallChoice = None
    if isinstance(body.tool_choice, AllowedTools):
        names = [
            check_function_name(tool.name, tools, f"tool_choice.tools[{index}].name")
            for index, tool in enumerate(body.tool_choice.tools)
        ]
        tools, choice = {name: tools[name] for name in names}, body.tool_choice.mode
    elif isinstance(body.tool_choice, NamedFunction):
        name = check_function_name(body.tool_choice.name, tools, "tool_choice.name")
        choice = {"type": "function", "function": {"name": name}}
    elif body.tool_choice == "required" and not tools:
        raise invalid("tool_choice", "the request has no tools; send tools or leave it out")
    else:
        choice = body.tool_choice
    return Functions(tools, choice, body.parallel_tool_calls) if tools else None


def read_format(body: ResponseRequest) -> JsonFormat | None:
    """The JSON format of the reply, in the form of chat completions; None for plain text."""
    format = body.text.format if body.text else None
    if isinstance(format, JsonObjectFormat):
        return JsonFormat({"type": "json_object"})
    if isinstance(format, JsonSchemaFormat):
        schema = format.model_dump(by_alias=True, exclude={"type"}, exclude_unset=True)
        return JsonFormat({"type": "json_schema", "json_schema": schema}, format.schema_)
    return None


def _move_results_to_calls(items: Sequence[LocatedItem]) -> Iterator[LocatedItem]:
    """Move the results of calls before user messages that stand between them: LLMs reject such a message there."""
    yielded: set[int] = set()
    pending_call_ids: set[str] = set()
    for index, (path, item) in enumerate(items):
        if index in yielded:
            continue
        if isinstance(item, FunctionCall):
            pending_call_ids.add(item.call_id)
        elif isinstance(item, FunctionCallOutput):
            pending_call_ids.discard(item.call_id)
        elif pending_call_ids and _has_role(item, "user"):
            for later in range(index + 1, len(items)):
                result = items[later][1]
                if isinstance(result, FunctionCallOutput) and result.call_id in pending_call_ids:
                    pending_call_ids.discard(result.call_id)
                    yielded.add(later)
                    yield items[later]
            pending_call_ids.clear()
        yield path, item


def _has_role(item: Item, *roles: str) -> bool:
    return isinstance(item, Message) and item.role in roles


class _ItemReader:
    """Adds items to a conversation. Adjacent messages and calls of the assistant become one turn."""

    def __init__(self, builder: ConversationBuilder) -> None:
        self.builder = builder
        self._path = ""
        self._texts: list[Part] = []
        self._calls: list[ToolCall] = []

    def read(self, path: str, item: Item) -> None:
        if isinstance(item, FunctionCall):
            self._path = self._path or path
            self._calls.append(ToolCall(item.call_id, item.name, item.arguments))
        elif isinstance(item, FunctionCallOutput):
            self._add_assistant_turn()
            self.builder.add_tool_result(f"{path}.call_id", item.call_id, _texts(f"{path}.output", item.output))
        elif isinstance(item, Message) and item.role == "assistant":
            self._path = self._path or path
            self._texts += _texts(f"{path}.content", item.content)
        elif isinstance(item, Message) and item.role == "user":
            self._add_assistant_turn()
            self.builder.add_user_turn(
                path, self._read_parts(f"{path}.content", item.content), sent_digest=item.sent_digest
            )
        elif isinstance(item, Message):
            self.builder.add_instructions(_texts(f"{path}.content", item.content))

    def build(self) -> ParsedConversation:
        """Raises `InvalidRequest` if the last turn is not the user's or a tool's."""
        if self._path and not self._calls:
            raise invalid(self._path, LAST_ITEM)
        self._add_assistant_turn()
        parsed = self.builder.build("input")
        if not parsed.conversation.turns:
            raise invalid("input", LAST_ITEM)
        return parsed

    def _add_assistant_turn(self) -> None:
        if self._path:
            self.builder.add_assistant_turn(self._path, self._texts or [""], self._calls)
        self._path, self._texts, self._calls = "", [], []

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


def _text(part: TextPart) -> str:
    return part.refusal if isinstance(part, RefusalPart) else part.text


ID_PREFIXES = {"message": "msg_", "function_call": "fc_", "function_call_output": "fco_", "reasoning": "rs_"}


def list_item(item: Item) -> JsonObject:
    """The item as OpenAI lists it: with an id and a status, and its content as parts."""
    wire = item.model_dump(exclude_none=True)
    wire["id"] = wire.get("id") or new_id(ID_PREFIXES[item.type])
    if isinstance(item, Reasoning):
        return {**wire, "summary": []}
    wire["status"] = "completed"
    if isinstance(item, Message):
        wire["content"] = [_list_part(part, item.role) for part in _content_parts(item.content)]
    return wire


def input_as_read(input: Sequence[JsonObject], generation: Generation) -> tuple[list[JsonObject], dict[str, str]]:
    """The listed items of a request for storing, with the messages of the user as the Cat's pipeline left them, and
    for `StoredResponse` the digests of the messages as they were sent.

    Messages that the pipeline did not get, because the Cat keeps the conversation, are left out where plugins change
    messages.
    """
    from_client = [turn for turn in generation.request.parsed.conversation.turns if turn.role == "user"]
    sent = [turn for turn in generation.conversation.turns if turn.role == "user"]
    read = [turn for turn in generation.turns_as_read() if turn.role == "user"]
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
