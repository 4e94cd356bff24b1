"""From a request's messages to the conversation."""

from collections.abc import Sequence

from ...conversation.builder import ConversationBuilder, ParsedConversation
from ...domain.conversation import Part, ToolCall
from ...errors import invalid
from ...wire.parameters import RefusalPart
from .protocol import (
    AssistantMessage,
    AudioPart,
    DeveloperMessage,
    FilePart,
    FunctionMessage,
    ImagePart,
    RequestMessage,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)

WirePart = TextPart | RefusalPart | ImagePart | AudioPart | FilePart


def read(
    messages: Sequence[RequestMessage], *, fetches_images: bool, since_the_question: bool
) -> ParsedConversation:
    """`since_the_question`: only the last message of the user's, and what came after it, calls and their results.

    Raises `InvalidRequest`.
    """
    builder = ConversationBuilder(fetches=fetches_images)
    questions = [place for place, message in enumerate(messages) if isinstance(message, UserMessage)]
    first = questions[-1] if since_the_question and questions else 0
    for place, message in enumerate(messages):
        is_instruction = isinstance(message, SystemMessage | DeveloperMessage)
        if place >= first and not (since_the_question and is_instruction):
            _read_message(builder, place, message)
    return builder.read("messages")


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
