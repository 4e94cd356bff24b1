"""From a request's messages to the conversation: what Pydantic cannot tell is checked here."""

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..conversation import Audio, Conversation, File, Image, Part, ToolCall, Turn
from ..errors import invalid
from ..hosts.port import Kind
from ..images import ImageRefused, fetch_image, parse_data_uri
from ..wire import MOST_VALUES, TOO_DEEP, has_too_many_values, is_too_deep
from .protocol import (
    AssistantMessage,
    AudioPart,
    DeveloperMessage,
    FilePart,
    FunctionMessage,
    ImagePart,
    RefusalPart,
    RequestMessage,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)

MOST_REMOTE_IMAGES = 10
"""In one request: they are fetched all at once, and each may have 10 MB."""

_DATA_URI = re.compile(r"data:[\w.+-]{1,100}/[\w.+-]{1,100}(?:;[\w.+-]{1,100}=[\w.+-]{1,100}){0,10};base64,")

WirePart = TextPart | RefusalPart | ImagePart | AudioPart | FilePart


@dataclass
class Reading:
    """The conversation, and where in the request each kind stands first that not every Cat takes."""

    conversation: Conversation
    kinds: dict[Kind, str]
    remote_images: dict[str, str] = field(default_factory=dict)
    """Their URLs, and where each stands first."""

    async def fetch_images(self) -> Conversation:
        """The conversation with its remote images in it. Raises `InvalidRequest`."""
        images = await asyncio.gather(*(_fetched(url, path) for url, path in self.remote_images.items()))
        fetched = dict(zip(self.remote_images, images, strict=True))

        def local(part: Part) -> Part:
            if isinstance(part, Image) and part.url in fetched:
                return replace(fetched[part.url], detail=part.detail)
            return part

        turns = (replace(turn, parts=tuple(map(local, turn.parts))) for turn in self.conversation.turns)
        return replace(self.conversation, turns=tuple(turns))


async def _fetched(url: str, path: str) -> Image:
    try:
        return await fetch_image(url)
    except ImageRefused as problem:
        raise invalid(path, str(problem)) from problem


def read(messages: Sequence[RequestMessage], *, remote_images: bool, since_the_question: bool) -> Reading:
    """`remote_images`: whether images may be fetched. `since_the_question`: only the last message of the
    user's, and what came after it, calls and their results. Raises `InvalidRequest`.
    """
    reader = _Reader(remote_images)
    questions = [place for place, message in enumerate(messages) if isinstance(message, UserMessage)]
    first = questions[-1] if since_the_question and questions else 0
    for place, message in enumerate(messages):
        is_instruction = isinstance(message, SystemMessage | DeveloperMessage)
        if place >= first and not (since_the_question and is_instruction):
            reader.read(f"messages[{place}]", message)
    reader.no_open_calls("messages")
    return Reading(
        Conversation(tuple(reader.turns), tuple(reader.instructions)), reader.kinds, reader.remote_images
    )


class _Reader:
    def __init__(self, may_fetch: bool) -> None:
        self.turns: list[Turn] = []
        self.instructions: list[str] = []
        self.kinds: dict[Kind, str] = {}
        self.remote_images: dict[str, str] = {}
        self._may_fetch = may_fetch
        self._open_calls: dict[str, ToolCall] = {}
        self._is_legacy = False
        self._arguments: list[str] = []

    def read(self, path: str, message: RequestMessage) -> None:
        if isinstance(message, ToolMessage):
            self._result(f"{path}.tool_call_id", message.tool_call_id, _texts(message.content))
        elif isinstance(message, FunctionMessage):
            called = {call.name: call.id for call in self._open_calls.values()} if self._is_legacy else {}
            self._result(f"{path}.name", called.get(message.name, ""), [message.content or ""])
        elif isinstance(message, UserMessage):
            self.no_open_calls(path)
            self.turns.append(Turn("user", tuple(self._parts(f"{path}.content", message.content))))
        elif isinstance(message, AssistantMessage):
            self.no_open_calls(path)
            parts = self._parts(f"{path}.content", message.content or message.refusal or "")
            self.turns.append(Turn("assistant", tuple(parts), self._calls(path, message)))
        else:
            self.instructions.extend(_texts(message.content))

    def no_open_calls(self, path: str) -> None:
        if self._open_calls:
            missing = ", ".join(self._open_calls)[:200]
            raise invalid(path, f"the calls before it have no result; send a tool message for each of: {missing}")

    def _result(self, path: str, call_id: str, texts: list[str]) -> None:
        if self._open_calls.pop(call_id, None) is None:
            raise invalid(path, "no assistant message before it made this call, or it has its result already")
        self.turns.append(Turn("tool", tuple(texts), call_id=call_id))

    def _calls(self, path: str, message: AssistantMessage) -> tuple[ToolCall, ...]:
        calls = [
            ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []
        ]
        if message.function_call:
            if calls:
                raise invalid(f"{path}.function_call", "send tool_calls or function_call, not both")
            name, arguments = message.function_call.name, message.function_call.arguments
            calls = [ToolCall(f"call_{len(self.turns)}_{name}", name, arguments)]
        self._is_legacy = bool(message.function_call)
        self._open_calls = {call.id: call for call in calls}
        if len(self._open_calls) < len(calls):
            raise invalid(f"{path}.tool_calls", "two calls have the same id")
        self._arguments += [call.arguments for call in calls]
        if has_too_many_values(*self._arguments):
            raise invalid(path, f"the arguments of the calls up to here have more than {MOST_VALUES} values")
        if any(is_too_deep(call.arguments) for call in calls):
            raise invalid(path, f"the arguments of a call are {TOO_DEEP}")
        return tuple(calls)

    def _parts(self, path: str, content: str | Sequence[WirePart]) -> list[Part]:
        if isinstance(content, str):
            return [content]
        return [self._part(f"{path}[{place}]", part) for place, part in enumerate(content)]

    def _part(self, path: str, part: WirePart) -> Part:
        if isinstance(part, TextPart):
            return part.text
        if isinstance(part, RefusalPart):
            return part.refusal
        if isinstance(part, ImagePart):
            self.kinds.setdefault(Image, path)
            return replace(self._image(f"{path}.image_url.url", part.image_url.url), detail=part.image_url.detail)
        if isinstance(part, AudioPart):
            self.kinds.setdefault(Audio, path)
            _check_base64(f"{path}.input_audio.data", part.input_audio.data)
            return Audio(part.input_audio.data, part.input_audio.format)
        self.kinds.setdefault(File, path)
        data = _DATA_URI.match(part.file.file_data)
        if not data:
            raise invalid(f"{path}.file.file_data", "send a data URI: data:<type>;base64,<data>")
        _check_base64(f"{path}.file.file_data", part.file.file_data[data.end() :])
        return File(part.file.file_data, part.file.filename or "")

    def _image(self, path: str, url: str) -> Image:
        if url.lower().startswith(("http://", "https://")):
            if not self._may_fetch:
                message = "this Cat fetches no images; send the image itself, as a data URI"
                raise invalid(path, message, "unsupported_parameter")
            self.remote_images.setdefault(url, path)
            if len(self.remote_images) > MOST_REMOTE_IMAGES:
                raise invalid(
                    path, f"at most {MOST_REMOTE_IMAGES} images are fetched; send the others as data URIs"
                )
            return Image(url)
        try:
            return parse_data_uri(url)
        except ImageRefused as problem:
            raise invalid(path, str(problem)) from problem


def _texts(content: str | Sequence[TextPart]) -> list[str]:
    return [content] if isinstance(content, str) else [part.text for part in content]


def _check_base64(path: str, data: str) -> None:
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(path, "this is no base64") from None
