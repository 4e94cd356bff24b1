"""From the wire models of a request to what the generation works with."""

from collections.abc import Mapping, Sequence

from ...conversation.builder import ConversationBuilder, ParsedConversation
from ...domain.conversation import CallChoice, Functions, JsonFormat, Part, ToolCall
from ...errors import invalid
from ...wire.parameters import JsonObjectFormat, RefusalPart, TextFormat, check_function_name
from .protocol import (
    AllowedToolsChoice,
    AssistantMessage,
    AudioPart,
    ChatCompletionRequest,
    DeveloperMessage,
    FilePart,
    FunctionChoice,
    FunctionMessage,
    ImagePart,
    NamedTool,
    RequestMessage,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)

WirePart = TextPart | RefusalPart | ImagePart | AudioPart | FilePart


def read_messages(
    messages: Sequence[RequestMessage], *, fetches_images: bool, last_question_only: bool
) -> ParsedConversation:
    """The conversation that `messages` are.

    `last_question_only`: of all messages only the user's last one and those after it, which are calls and their
    results. Raises `InvalidRequest`.
    """
    builder = ConversationBuilder(fetches=fetches_images)
    questions = [place for place, message in enumerate(messages) if isinstance(message, UserMessage)]
    first = questions[-1] if last_question_only and questions else 0
    for place, message in enumerate(messages):
        is_instruction = isinstance(message, SystemMessage | DeveloperMessage)
        if place >= first and not (last_question_only and is_instruction):
            _read_message(builder, place, message)
    return builder.build("messages")


def read_functions(body: ChatCompletionRequest) -> Functions | None:
    """The functions that the LLM may call, in the newer form; None where the client offers none.

    Raises `InvalidRequest`.
    """
    if body.tools and body.functions:
        raise invalid("functions", "send tools or functions, not both")
    tools = [tool.model_dump(exclude_unset=True) for tool in body.tools or []]
    tools += [
        {"type": "function", "function": function.model_dump(exclude_unset=True)} for function in body.functions or []
    ]
    offered = {tool["function"]["name"]: {"type": "function", **tool} for tool in tools}
    choice, allowed = _read_choice(body, offered)
    if not offered:
        return None
    if allowed:
        offered = {name: offered[name] for name in allowed}
    return Functions(offered, choice, False if body.functions else body.parallel_tool_calls)


def _read_choice(body: ChatCompletionRequest, offered: Mapping[str, object]) -> tuple[CallChoice, list[str]]:
    """How to choose, and the names to choose among where those are not all that are offered."""
    if isinstance(body.tool_choice, AllowedToolsChoice):
        allowed = body.tool_choice.allowed_tools
        names = [tool.function.name for tool in allowed.tools]
        for place, name in enumerate(names):
            check_function_name(name, offered, f"tool_choice.allowed_tools.tools[{place}].function.name")
        return allowed.mode, names
    if isinstance(body.tool_choice, NamedTool):
        name = check_function_name(body.tool_choice.function.name, offered, "tool_choice.function.name")
    elif isinstance(body.function_call, FunctionChoice):
        name = check_function_name(body.function_call.name, offered, "function_call.name")
    elif body.tool_choice == "required" and not offered:
        raise invalid("tool_choice", "there are no tools to choose from")
    else:
        return body.tool_choice or body.function_call, []
    return {"type": "function", "function": {"name": name}}, []


def read_format(body: ChatCompletionRequest) -> JsonFormat | None:
    """The JSON format of the reply; None for plain text."""
    format = body.response_format
    if format is None or isinstance(format, TextFormat):
        return None
    wire = format.model_dump(by_alias=True, exclude_unset=True)
    return JsonFormat(wire) if isinstance(format, JsonObjectFormat) else JsonFormat(wire, format.json_schema.schema_)


def _read_message(builder: ConversationBuilder, place: int, message: RequestMessage) -> None:
    path = f"messages[{place}]"
    if isinstance(message, ToolMessage):
        builder.result(f"{path}.tool_call_id", message.tool_call_id, _texts(message.content))
    elif isinstance(message, FunctionMessage):
        if not builder.has_open_calls():
            # Some clients send the result alone.
            builder.assistant(path, [""], [ToolCall(f"call_{place}_{message.name}", message.name, "{}")])
        builder.result(f"{path}.name", builder.open_call(message.name), [message.content or ""])
    elif isinstance(message, UserMessage):
        builder.user(path, _parts(builder, f"{path}.content", message.content))
    elif isinstance(message, AssistantMessage):
        parts = _parts(builder, f"{path}.content", message.content or message.refusal or "")
        builder.assistant(path, parts, _calls(place, message))
    else:
        builder.instructions(_texts(message.content))


def _calls(place: int, message: AssistantMessage) -> list[ToolCall]:
    calls = [ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []]
    if message.function_call:
        if calls:
            raise invalid(f"messages[{place}].function_call", "send tool_calls or function_call, not both")
        name, arguments = message.function_call.name, message.function_call.arguments
        calls = [ToolCall(f"call_{place}_{name}", name, arguments)]
    return calls


def _parts(builder: ConversationBuilder, path: str, content: str | Sequence[WirePart]) -> list[Part]:
    if isinstance(content, str):
        return [content]
    return [_part(builder, f"{path}[{place}]", part) for place, part in enumerate(content)]


def _part(builder: ConversationBuilder, path: str, part: WirePart) -> Part:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, RefusalPart):
        return part.refusal
    if isinstance(part, ImagePart):
        return builder.image(f"{path}.image_url.url", part.image_url.url, part.image_url.detail)
    if isinstance(part, AudioPart):
        return builder.audio(f"{path}.input_audio.data", part.input_audio.data, part.input_audio.format)
    return builder.file(f"{path}.file.file_data", part.file.file_data, part.file.filename)


def _texts(content: str | Sequence[TextPart]) -> list[str]:
    return [content] if isinstance(content, str) else [part.text for part in content]
