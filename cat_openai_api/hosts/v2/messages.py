"""The conversation as messages of Cat 2, whose content reaches the LLM as the client sent it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...domain.conversation import Audio, File, Image, Part, Turn
from ..detect import IS_CAT_2
from ..shared.openai_format import parse_arguments, wire_part

if IS_CAT_2 or TYPE_CHECKING:
    from cat.protocols.model_context.type_wrappers import EmbeddedResource
    from cat.types import AudioContent, ImageContent, Message, TextContent, ToolCall
    from mcp.types import BlobResourceContents
    from pydantic import PrivateAttr
else:
    Message = object

    def PrivateAttr(default: Any) -> Any:
        return default


class ClientMessage(Message):
    """A message of the client's, with the turn that it was made of."""

    _turn: Any = PrivateAttr(None)


def message_of(turn: Turn) -> Any:
    calls = [ToolCall(id=call.id, name=call.name, args=parse_arguments(call.arguments) or {}) for call in turn.calls]
    message = ClientMessage(
        role=turn.role, content=blocks_of(turn.parts), tool_calls=calls, tool_call_id=turn.call_id or None
    )
    message._turn = turn
    return message


def verbatim(convert: Callable[[Any], Awaitable[dict[str, Any]]]) -> Callable[[Any], Awaitable[dict[str, Any]]]:
    """A provider's `convert_message` that restores what Cat 2's messages cannot hold: details of images, files, audio,
    and arguments of calls that are no JSON. A message that a plugin has changed is left as the provider converts it."""

    async def convert_message(message: Any) -> dict[str, Any]:
        wire = await convert(message)
        turn = getattr(message, "_turn", None)
        if turn is None or list(message.content) != blocks_of(turn.parts):
            return wire
        if not all(isinstance(part, str) for part in turn.parts):
            wire["content"] = [wire_part(part) for part in turn.parts]
        arguments = {call.id: call.arguments for call in turn.calls}
        for call in wire.get("tool_calls", ()):
            call["function"]["arguments"] = arguments.get(call["id"], call["function"]["arguments"])
        return wire

    return convert_message


def blocks_of(parts: Sequence[Part]) -> list[Any]:
    return [_block(part) for part in parts]


def _block(part: Part) -> Any:
    if isinstance(part, Image):
        return ImageContent(data=part.base64, mimeType=part.mime_type)
    if isinstance(part, Audio):
        return AudioContent(data=part.data, mimeType=f"audio/{part.format}")
    if isinstance(part, File):
        head, data = part.data.split(",", 1)
        mime_type = head.removeprefix("data:").partition(";")[0]
        resource = BlobResourceContents(uri=f"file:///{quote(part.name, safe='')}", mimeType=mime_type, blob=data)
        return EmbeddedResource(resource=resource)
    return TextContent(text=part)
