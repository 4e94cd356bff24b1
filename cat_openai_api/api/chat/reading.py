"""Reading the wire models of a chat completion request into domain objects."""

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
    FunctionMessage,
    ImagePart,
    NamedFunction,
    NamedToolChoice,
    RequestMessage,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)

WirePart = TextPart | RefusalPart | ImagePart | AudioPart | FilePart


def read_messages(
    messages: Sequence[RequestMessage], *, allow_remote_images: bool, last_user_message_only: bool
) -> ParsedConversation:
    """The conversation of `messages`. Raises `InvalidRequest`.

    `last_user_message_only`: whether to leave out all messages before the user's last one, and instructions. What
    follows it are tool calls and their results.
    """
    builder = ConversationBuilder(allow_remote_images=allow_remote_images)
    user_indexes = [index for index, message in enumerate(messages) if isinstance(message, UserMessage)]
    first = user_indexes[-1] if last_user_message_only and user_indexes else 0
    is_instruction = False
    for index, message in enumerate(messages):
        is_instruction = isinstance(message, SystemMessage | DeveloperMessage)
        if index >= first and not (last_user_message_only and is_instruction):
            _read_message(builder, index, message)
    return builder.build("messages", ends_with_instructions=is_instruction)


def read_functions(body: ChatCompletionRequest) -> Functions | None:
    """The functions that the LLM may call, in the form of `tools`; None if there are none. Raises `InvalidRequest`."""
    if body.tools and body.functions:
        raise invalid("functions", "send tools or functions, not both")
    tools = [tool.model_dump(exclude_unset=True) for tool in body.tools or []]
    tools += [
        {"type": "function", "function": function.model_dump(exclude_unset=True)} for function in body.functions or []
    ]
    tools_by_name = {tool["function"]["name"]: {"type": "function", **tool} for tool in tools}
    choice, allowed_names = _read_choice(body, tools_by_name)
    if not tools_by_name:
        return None
    if allowed_names:
        tools_by_name = {name: tools_by_name[name] for name in allowed_names}
    return Functions(tools_by_name, choice, False if body.functions else body.parallel_tool_calls)


def _read_choice(body: ChatCompletionRequest, tools: Mapping[str, object]) -> tuple[CallChoice, list[str]]:
    """The choice, and the names of the tools that it allows; an empty list allows all."""
    if isinstance(body.tool_choice, AllowedToolsChoice):
        allowed = body.tool_choice.allowed_tools
        names = [tool.function.name for tool in allowed.tools]
        for index, name in enumerate(names):
            check_function_name(name, tools, f"tool_choice.allowed_tools.tools[{index}].function.name")
        return allowed.mode, names
    if isinstance(body.tool_choice, NamedToolChoice):
        name = check_function_name(body.tool_choice.function.name, tools, "tool_choice.function.name")
    elif isinstance(body.function_call, NamedFunction):
        name = check_function_name(body.function_call.name, tools, "function_call.name")
    elif body.tool_choice == "required" and not tools:
        raise invalid("tool_choice", "the request has no tools; send tools or leave it out")
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


def _read_message(builder: ConversationBuilder, index: int, message: RequestMessage) -> None:
    path = f"messages[{index}]"
    if isinstance(message, ToolMessage):
        builder.add_tool_result(f"{path}.tool_call_id", message.tool_call_id, _texts(message.content))
    elif isinstance(message, FunctionMessage):
        if not builder.has_pending_calls():
            # Some clients send the result without the call.
            builder.add_assistant_turn(path, [""], [ToolCall(f"call_{index}_{message.name}", message.name, "{}")])
        builder.add_tool_result(f"{path}.name", builder.pending_call_id(message.name), [message.content or ""])
    elif isinstance(message, UserMessage):
        builder.add_user_turn(path, _read_parts(builder, f"{path}.content", message.content))
    elif isinstance(message, AssistantMessage):
        parts = _read_parts(builder, f"{path}.content", message.content or message.refusal or "")
        builder.add_assistant_turn(path, parts, _read_calls(index, message))
    else:
        builder.add_instructions(_texts(message.content))


def _read_calls(index: int, message: AssistantMessage) -> list[ToolCall]:
    calls = [ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []]
    if message.function_call:
        if calls:
            raise invalid(f"messages[{index}].function_call", "send tool_calls or function_call, not both")
        name, arguments = message.function_call.name, message.function_call.arguments
        calls = [ToolCall(f"call_{index}_{name}", name, arguments)]
    return calls


def _read_parts(builder: ConversationBuilder, path: str, content: str | Sequence[WirePart]) -> list[Part]:
    if isinstance(content, str):
        return [content]
    return [_read_part(builder, f"{path}[{index}]", part) for index, part in enumerate(content)]


def _read_part(builder: ConversationBuilder, path: str, part: WirePart) -> Part:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, RefusalPart):
        return part.refusal
    if isinstance(part, ImagePart):
        return builder.parse_image(f"{path}.image_url.url", part.image_url.url, part.image_url.detail)
    if isinstance(part, AudioPart):
        return builder.parse_audio(f"{path}.input_audio.data", part.input_audio.data, part.input_audio.format)
    return builder.parse_file(f"{path}.file.file_data", part.file.file_data, part.file.filename)


def _texts(content: str | Sequence[TextPart]) -> list[str]:
    return [content] if isinstance(content, str) else [part.text for part in content]
