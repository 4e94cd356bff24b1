"""From the wire models of a request, and the items of stored responses, to what the generation works with."""

from collections.abc import Iterator, Sequence
from typing import Any

from ...conversation.builder import ConversationBuilder, ParsedConversation
from ...domain.conversation import CallChoice, Functions, JsonFormat, Part, ToolCall
from ...errors import invalid
from ...generation.request import new_id
from ...wire.parameters import JsonObjectFormat, check_function_name
from .protocol import (
    AllowedTools,
    Content,
    FunctionCall,
    FunctionCallOutput,
    InputAudioPart,
    InputFile,
    InputImage,
    InputText,
    Item,
    JsonSchemaFormat,
    Message,
    NamedFunction,
    OutputTextPart,
    Reasoning,
    ResponseRequest,
)
from .protocol import Part as WirePart

LAST_ITEM = "the last item must be a user's message, or a function_call_output"

Placed = tuple[str, Item]
"""An item, and where it stands in the request."""


def read_items(
    items: Sequence[Placed], instructions: str | None, *, fetches_images: bool, last_question_only: bool
) -> ParsedConversation:
    """The conversation that `items` are.

    `last_question_only`: of all items only the user's last message and those after it, which are calls and their
    results. Raises `InvalidRequest`.
    """
    reader = _ItemReader(ConversationBuilder(fetches=fetches_images))
    questions = [place for place, (_, item) in enumerate(items) if _is_from(item, "user")]
    if last_question_only:
        items = [placed for placed in items[questions[-1] if questions else 0 :] if not _is_instruction(placed[1])]
    elif instructions:
        reader.builder.instructions([instructions])
    for path, item in _results_first(items):
        reader.read(path, item)
    return reader.build()


def read_functions(body: ResponseRequest) -> Functions | None:
    """The functions that the LLM may call, in chat's form; None where the client offers none.

    Raises `InvalidRequest`.
    """
    offered = {
        tool.name: {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_unset=True)}
        for tool in body.tools or []
    }
    choice: CallChoice = None
    if isinstance(body.tool_choice, AllowedTools):
        names = [
            check_function_name(tool.name, offered, f"tool_choice.tools[{place}].name")
            for place, tool in enumerate(body.tool_choice.tools)
        ]
        offered, choice = {name: offered[name] for name in names}, body.tool_choice.mode
    elif isinstance(body.tool_choice, NamedFunction):
        name = check_function_name(body.tool_choice.name, offered, "tool_choice.name")
        choice = {"type": "function", "function": {"name": name}}
    elif body.tool_choice == "required" and not offered:
        raise invalid("tool_choice", "there are no tools to choose from")
    else:
        choice = body.tool_choice
    return Functions(offered, choice, body.parallel_tool_calls) if offered else None


def read_format(body: ResponseRequest) -> JsonFormat | None:
    """The JSON format of the reply, in chat's form; None for plain text."""
    format = body.text.format if body.text else None
    if isinstance(format, JsonObjectFormat):
        return JsonFormat({"type": "json_object"})
    if isinstance(format, JsonSchemaFormat):
        schema = format.model_dump(by_alias=True, exclude={"type"}, exclude_unset=True)
        return JsonFormat({"type": "json_schema", "json_schema": schema}, format.schema_)
    return None


def _results_first(items: Sequence[Placed]) -> Iterator[Placed]:
    """What a user said before the results of the calls were there comes behind them: no LLM takes it between."""
    yielded: set[int] = set()
    open_calls: set[str] = set()
    for place, (path, item) in enumerate(items):
        if place in yielded:
            continue
        if isinstance(item, FunctionCall):
            open_calls.add(item.call_id)
        elif isinstance(item, FunctionCallOutput):
            open_calls.discard(item.call_id)
        elif open_calls and _is_from(item, "user"):
            for later in range(place + 1, len(items)):
                result = items[later][1]
                if isinstance(result, FunctionCallOutput) and result.call_id in open_calls:
                    open_calls.discard(result.call_id)
                    yielded.add(later)
                    yield items[later]
            open_calls.clear()
        yield path, item


def _is_from(item: Item, *roles: str) -> bool:
    return isinstance(item, Message) and item.role in roles


def _is_instruction(item: Item) -> bool:
    return _is_from(item, "system", "developer")


class _ItemReader:
    """Adds items to a conversation. Items of an assistant that stand together are one turn with its calls."""

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
            self._assistant()
            self.builder.result(f"{path}.call_id", item.call_id, _texts(f"{path}.output", item.output))
        elif isinstance(item, Message) and item.role == "assistant":
            self._path = self._path or path
            self._texts += _texts(f"{path}.content", item.content)
        elif isinstance(item, Message) and item.role == "user":
            self._assistant()
            self.builder.user(path, self._parts(f"{path}.content", item.content))
        elif isinstance(item, Message):
            self.builder.instructions(_texts(f"{path}.content", item.content))

    def build(self) -> ParsedConversation:
        """Raises `InvalidRequest` where no question is asked."""
        if self._path and not self._calls:
            raise invalid(self._path, LAST_ITEM)
        self._assistant()
        parsed = self.builder.build("input")
        if not parsed.conversation.turns:
            raise invalid("input", LAST_ITEM)
        return parsed

    def _assistant(self) -> None:
        if self._path:
            self.builder.assistant(self._path, self._texts or [""], self._calls)
        self._path, self._texts, self._calls = "", [], []

    def _parts(self, path: str, content: Content) -> list[Part]:
        if isinstance(content, str):
            return [content]
        return [self._part(f"{path}[{place}]", part) for place, part in enumerate(content)]

    def _part(self, path: str, part: WirePart) -> Part:
        if isinstance(part, InputImage):
            if not part.image_url:
                raise invalid(f"{path}.image_url", "send the image itself, as a data URI")
            return self.builder.image(f"{path}.image_url", part.image_url, part.detail)
        if isinstance(part, InputFile):
            return self.builder.file(f"{path}.file_data", part.file_data or "", part.filename)
        if isinstance(part, InputAudioPart):
            return self.builder.audio(f"{path}.input_audio.data", part.input_audio.data, part.input_audio.format)
        return _text(part)


def _texts(path: str, content: Content) -> list[str]:
    if isinstance(content, str):
        return [content]
    for place, part in enumerate(content):
        if isinstance(part, InputImage | InputFile | InputAudioPart):
            raise invalid(f"{path}[{place}]", "only text can stand here", "unsupported_parameter")
    return [_text(part) for part in content]


def _text(part: Any) -> str:
    return str(part.text if isinstance(part, InputText | OutputTextPart) else part.refusal)


PREFIXES = {"message": "msg_", "function_call": "fc_", "function_call_output": "fco_", "reasoning": "rs_"}


def list_item(item: Item) -> dict[str, Any]:
    """The item as OpenAI lists it: with an id and a status, and texts as parts."""
    wire = item.model_dump(exclude_none=True)
    wire["id"] = wire.get("id") or new_id(PREFIXES[item.type])
    if isinstance(item, Reasoning):
        return {**wire, "summary": []}
    wire["status"] = "completed"
    if isinstance(item, Message):
        wire["content"] = [_list_part(part, item.role) for part in _as_parts(item.content)]
    return wire


def _as_parts(content: Content) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    return [part.model_dump(exclude_none=True) for part in content]


def _list_part(part: dict[str, Any], role: str) -> dict[str, Any]:
    if part["type"] == "input_image":
        return {"detail": "auto", **part}
    if part["type"] in ("input_text", "output_text"):
        if role == "assistant":
            return {"type": "output_text", "text": part["text"], "annotations": [], "logprobs": []}
        return {"type": "input_text", "text": part["text"]}
    return part
