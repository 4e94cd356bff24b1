"""Reading the wire models of a chat completion request into domain objects."""

from collections.abc import Sequence

from ...conversation.builder import ConversationBuilder, ParsedConversation
from ...domain.conversation import JsonFormat, Part, ToolCall
from ...errors import invalid
from ...generation.tools import (
    NO_ALLOWED_TOOL,
    ClientTool,
    ClientTools,
    OfferedTools,
    ToolDefinition,
    ToolsBuilder,
    custom_function,
    encode_call,
    function_choice,
)
from ...wire.models import set_fields
from ...wire.parameters import JsonObjectFormat, OtherTool, RefusalPart, TextFormat
from .protocol import (
    AllowedToolsChoice,
    AssistantMessage,
    AudioPart,
    ChatCompletionRequest,
    CustomChoice,
    CustomDefinition,
    CustomTool,
    DeveloperMessage,
    FilePart,
    FunctionChoice,
    FunctionDefinition,
    FunctionMessage,
    FunctionTool,
    GrammarFormat,
    ImagePart,
    MessageCall,
    MessageToolCall,
    RequestMessage,
    SystemMessage,
    TextPart,
    ToolMessage,
    ToolName,
    UserMessage,
)

WirePart = TextPart | RefusalPart | ImagePart | AudioPart | FilePart


def read_messages(
    messages: Sequence[RequestMessage],
    tools: ClientTools,
    *,
    allow_remote_images: bool,
    last_user_message_only: bool,
) -> ParsedConversation:
    """The conversation of `messages`, with calls of `tools` as the LLM made them. Raises `InvalidRequest`.

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
            _read_message(builder, index, message, tools)
    return builder.build("messages", ends_with_instructions=is_instruction)


def read_tools(body: ChatCompletionRequest) -> ClientTools:
    """The tools of the request, as its `tool_choice` allows them. Raises `InvalidRequest`."""
    if body.tools and body.functions:
        raise invalid("functions", "send tools or functions, not both")
    builder = ToolsBuilder("tools" if body.tools else "functions")
    for tool in body.tools or []:
        if isinstance(tool, FunctionTool):
            builder.add(_function(tool.function))
        elif isinstance(tool, CustomTool):
            builder.add(_custom_tool(tool.custom))
        else:
            builder.leave_out(tool.sent_type)
    for function in body.functions or []:
        builder.add(_function(function))
    offered = builder.build()
    parallel = False if body.functions else body.parallel_tool_calls
    if isinstance(body.tool_choice, AllowedToolsChoice):
        allowed = body.tool_choice.allowed_tools
        path = "tool_choice.allowed_tools.tools"
        named = [(f"{path}[{index}]", tool) for index, tool in enumerate(allowed.tools)]
        names = [_find(offered, place, tool) for place, tool in named if not isinstance(tool, OtherTool)]
        if not names:
            raise invalid(path, NO_ALLOWED_TOOL, "unsupported_parameter")
        return offered.choose(allowed.mode, parallel, names)
    if isinstance(body.tool_choice, FunctionChoice | CustomChoice):
        return offered.choose(function_choice(_find(offered, "tool_choice", body.tool_choice)), parallel)
    if isinstance(body.function_call, ToolName):
        name = offered.find("function_call.name", "function", body.function_call.name)
        return offered.choose(function_choice(name), parallel)
    if body.tool_choice == "required":
        offered.require_any("tool_choice")
    return offered.choose(body.tool_choice or body.function_call, parallel)


def _function(definition: FunctionDefinition) -> ToolDefinition:
    return ToolDefinition(ClientTool("function", definition.name), set_fields(definition))


def _custom_tool(definition: CustomDefinition) -> ToolDefinition:
    format = definition.format
    grammar = format.grammar if isinstance(format, GrammarFormat) else None
    return ToolDefinition(ClientTool("custom", definition.name), custom_function(definition.description, grammar))


def _find(offered: OfferedTools, path: str, choice: FunctionChoice | CustomChoice) -> str:
    if isinstance(choice, FunctionChoice):
        return offered.find(f"{path}.function.name", "function", choice.function.name)
    return offered.find(f"{path}.custom.name", "custom", choice.custom.name)


def read_format(body: ChatCompletionRequest) -> JsonFormat | None:
    """The JSON format of the reply; None for plain text."""
    format = body.response_format
    if format is None or isinstance(format, TextFormat):
        return None
    wire = format.model_dump(by_alias=True, exclude_unset=True)
    return JsonFormat(wire) if isinstance(format, JsonObjectFormat) else JsonFormat(wire, format.json_schema.schema_)


def _read_message(builder: ConversationBuilder, index: int, message: RequestMessage, tools: ClientTools) -> None:
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
        builder.add_assistant_turn(path, parts, _read_calls(index, message, tools))
    else:
        builder.add_instructions(_texts(message.content))


def _read_calls(index: int, message: AssistantMessage, tools: ClientTools) -> list[ToolCall]:
    calls = [_read_call(call, tools) for call in message.tool_calls or []]
    if message.function_call:
        if calls:
            raise invalid(f"messages[{index}].function_call", "send tool_calls or function_call, not both")
        name, arguments = message.function_call.name, message.function_call.arguments
        calls = [ToolCall(f"call_{index}_{name}", name, arguments)]
    return calls


def _read_call(call: MessageCall, tools: ClientTools) -> ToolCall:
    if isinstance(call, MessageToolCall):
        return ToolCall(call.id, call.function.name, call.function.arguments)
    return encode_call(call.id, ClientTool("custom", call.custom.name), call.custom.input, tools)


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
