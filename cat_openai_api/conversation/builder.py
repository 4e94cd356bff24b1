"""Building the conversation of a request, with the checks that wire models cannot make.

Each API resource adds its wire models to a `ConversationBuilder`. The argument `path` is always the path of a field in
the request, for the `param` of an error.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..domain.conversation import Audio, Capability, Conversation, File, Image, Part, ToolCall, Turn
from ..errors import invalid
from ..wire.json import MAX_VALUES, TOO_DEEPLY_NESTED, has_too_many_values, is_too_deeply_nested
from .images import ImageError, download_image, parse_data_uri

MAX_REMOTE_IMAGES = 10
"""Images with an http(s) URL in one request. They are downloaded concurrently, and each may have 10 MB."""

_DATA_URI = re.compile(r"data:[\w.+-]{1,100}/[\w.+-]{1,100}(?:;[\w.+-]{1,100}=[\w.+-]{1,100}){0,10};base64,")


@dataclass
class ParsedConversation:
    """The conversation of a request, with the paths that are needed for later errors.

    `capabilities`: what the request needs of the LLM, with the path of its first use. `remote_images`: the http(s) URLs
    of images, with the path of the first use of each.
    """

    conversation: Conversation
    capabilities: dict[Capability, str]
    remote_images: dict[str, str] = field(default_factory=dict)

    async def download_images(self) -> Conversation:
        """The conversation with data URIs in place of http(s) URLs. Raises `InvalidRequest`."""
        images = await asyncio.gather(*(_download_image(url, path) for url, path in self.remote_images.items()))
        downloaded = dict(zip(self.remote_images, images, strict=True))

        def with_data(part: Part) -> Part:
            if isinstance(part, Image) and part.url in downloaded:
                return replace(downloaded[part.url], detail=part.detail)
            return part

        turns = (replace(turn, parts=tuple(map(with_data, turn.parts))) for turn in self.conversation.turns)
        return replace(self.conversation, turns=tuple(turns))


async def _download_image(url: str, path: str) -> Image:
    try:
        return await download_image(url)
    except ImageError as error:
        raise invalid(path, str(error)) from error


class ConversationBuilder:
    """Builds a conversation message by message. Its methods raise `InvalidRequest`.

    `allow_remote_images`: whether images may have an http(s) URL.
    """

    def __init__(self, *, allow_remote_images: bool) -> None:
        self._allow_remote_images = allow_remote_images
        self._turns: list[Turn] = []
        self._instructions: list[str] = []
        self._capabilities: dict[Capability, str] = {}
        self._remote_images: dict[str, str] = {}
        self._pending_calls: dict[str, ToolCall] = {}
        self._arguments: list[str] = []

    def add_instructions(self, texts: Sequence[str]) -> None:
        self._instructions.extend(texts)

    def add_user_turn(self, path: str, parts: Sequence[Part], *, sent_digest: str = "") -> None:
        """`sent_digest`: of a stored message, see `Turn`."""
        self._check_no_pending_calls(path)
        self._turns.append(Turn("user", tuple(parts), sent_digest=sent_digest))

    def add_assistant_turn(self, path: str, parts: Sequence[Part], calls: Sequence[ToolCall] = ()) -> None:
        self._check_no_pending_calls(path)
        self._pending_calls = {call.id: call for call in calls}
        if len(self._pending_calls) < len(calls):
            raise invalid(path, "several tool calls have the same id; ids must be unique")
        self._arguments += [call.arguments for call in calls]
        if has_too_many_values(*self._arguments):
            message = f"the arguments of all tool calls up to this message have more than {MAX_VALUES} values"
            raise invalid(path, message)
        if any(is_too_deeply_nested(call.arguments) for call in calls):
            raise invalid(path, f"the arguments of a tool call are {TOO_DEEPLY_NESTED}")
        self._turns.append(Turn("assistant", tuple(parts), tuple(calls)))

    def add_tool_result(self, path: str, call_id: str, parts: Sequence[Part]) -> None:
        if self._pending_calls.pop(call_id, None) is None:
            message = "no assistant message before this result has the tool call, or its result was sent already"
            raise invalid(path, message)
        self._turns.append(Turn("tool", tuple(parts), call_id=call_id))

    def has_pending_calls(self) -> bool:
        """Whether tool calls of the last assistant turn have no result yet."""
        return bool(self._pending_calls)

    def pending_call_id(self, name: str) -> str:
        """Id of the first call of the function `name` that has no result; empty if there is none."""
        return next((call.id for call in self._pending_calls.values() if call.name == name), "")

    def parse_image(self, path: str, url: str, detail: str | None) -> Image:
        """`path`: of the URL."""
        self._capabilities.setdefault(Image, path)
        if url.lower().startswith(("http://", "https://")):
            if not self._allow_remote_images:
                message = "this Cat does not download images; send the image as a data URI"
                raise invalid(path, message, "unsupported_parameter")
            self._remote_images.setdefault(url, path)
            if len(self._remote_images) > MAX_REMOTE_IMAGES:
                message = f"at most {MAX_REMOTE_IMAGES} images are downloaded; send the others as data URIs"
                raise invalid(path, message)
            return Image(url, detail)
        try:
            return replace(parse_data_uri(url), detail=detail)
        except ImageError as error:
            raise invalid(path, str(error)) from error

    def parse_audio(self, path: str, data: str, format: str) -> Audio:
        """`path`: of the data."""
        self._capabilities.setdefault(Audio, path)
        _check_base64(path, data)
        return Audio(data, format)

    def parse_file(self, path: str, data: str, name: str | None) -> File:
        """`path`: of the data."""
        self._capabilities.setdefault(File, path)
        head = _DATA_URI.match(data)
        if not head:
            raise invalid(path, "send a data URI of the form data:<type>;base64,<data>")
        _check_base64(path, data[head.end() :])
        return File(data, name or "")

    def build(self, path: str) -> ParsedConversation:
        """`path`: of the list of messages."""
        self._check_no_pending_calls(path)
        conversation = Conversation(tuple(self._turns), tuple(self._instructions))
        return ParsedConversation(conversation, self._capabilities, self._remote_images)

    def _check_no_pending_calls(self, path: str) -> None:
        if self._pending_calls:
            ids = ", ".join(self._pending_calls)[:200]
            raise invalid(path, f"results of tool calls are missing; before this, send a result for each of: {ids}")


def _check_base64(path: str, data: str) -> None:
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(path, "the data is not valid base64") from None
