"""Building the conversation of a request: checks that Pydantic cannot make are made here.

Each API resource reads its own wire form of messages and adds them to a `ConversationBuilder`. The argument `path`
is always the place in the request's JSON, for the `param` of an error.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..domain.conversation import Audio, Capability, Conversation, File, Image, Part, ToolCall, Turn
from ..errors import invalid
from ..wire.json import MAX_VALUES, TOO_DEEP, has_too_many_values, is_too_deep
from .images import ImageRefused, fetch_image, parse_data_uri

MAX_REMOTE_IMAGES = 10
"""In one request: they are fetched all at once, and each may have 10 MB."""

_DATA_URI = re.compile(r"data:[\w.+-]{1,100}/[\w.+-]{1,100}(?:;[\w.+-]{1,100}=[\w.+-]{1,100}){0,10};base64,")


@dataclass
class ParsedConversation:
    """The conversation, and where in the request each kind stands first that not every Cat takes."""

    conversation: Conversation
    kinds: dict[Capability, str]
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


class ConversationBuilder:
    """Takes a conversation message by message. Its methods raise `InvalidRequest`.

    `fetches`: whether images may be fetched that have an http(s) address.
    """

    def __init__(self, *, fetches: bool) -> None:
        self._fetches = fetches
        self._turns: list[Turn] = []
        self._instructions: list[str] = []
        self._kinds: dict[Capability, str] = {}
        self._remote_images: dict[str, str] = {}
        self._open_calls: dict[str, ToolCall] = {}
        self._arguments: list[str] = []

    def instructions(self, texts: Sequence[str]) -> None:
        self._instructions.extend(texts)

    def user(self, path: str, parts: Sequence[Part]) -> None:
        self._no_open_calls(path)
        self._turns.append(Turn("user", tuple(parts)))

    def assistant(self, path: str, parts: Sequence[Part], calls: Sequence[ToolCall] = ()) -> None:
        self._no_open_calls(path)
        self._open_calls = {call.id: call for call in calls}
        if len(self._open_calls) < len(calls):
            raise invalid(path, "two calls have the same id")
        self._arguments += [call.arguments for call in calls]
        if has_too_many_values(*self._arguments):
            raise invalid(path, f"the arguments of the calls up to here have more than {MAX_VALUES} values")
        if any(is_too_deep(call.arguments) for call in calls):
            raise invalid(path, f"the arguments of a call are {TOO_DEEP}")
        self._turns.append(Turn("assistant", tuple(parts), tuple(calls)))

    def result(self, path: str, call_id: str, parts: Sequence[Part]) -> None:
        if self._open_calls.pop(call_id, None) is None:
            raise invalid(path, "no assistant message before it made this call, or it has its result already")
        self._turns.append(Turn("tool", tuple(parts), call_id=call_id))

    def has_open_calls(self) -> bool:
        """Whether the last message calls what has no result yet."""
        return bool(self._open_calls)

    def open_call(self, name: str) -> str:
        """Id of the call of that function whose result is missing; empty where there is none."""
        return next((call.id for call in self._open_calls.values() if call.name == name), "")

    def image(self, path: str, url: str, detail: str | None) -> Image:
        """`path`: that of the URL."""
        self._kinds.setdefault(Image, path)
        if url.lower().startswith(("http://", "https://")):
            if not self._fetches:
                message = "this Cat fetches no images; send the image itself, as a data URI"
                raise invalid(path, message, "unsupported_parameter")
            self._remote_images.setdefault(url, path)
            if len(self._remote_images) > MAX_REMOTE_IMAGES:
                raise invalid(path, f"at most {MAX_REMOTE_IMAGES} images are fetched; send the others as data URIs")
            return Image(url, detail)
        try:
            return replace(parse_data_uri(url), detail=detail)
        except ImageRefused as problem:
            raise invalid(path, str(problem)) from problem

    def audio(self, path: str, data: str, format: str) -> Audio:
        """`path`: that of the data."""
        self._kinds.setdefault(Audio, path)
        _check_base64(path, data)
        return Audio(data, format)

    def file(self, path: str, data: str, name: str | None) -> File:
        """`path`: that of the data."""
        self._kinds.setdefault(File, path)
        head = _DATA_URI.match(data)
        if not head:
            raise invalid(path, "send a data URI: data:<type>;base64,<data>")
        _check_base64(path, data[head.end() :])
        return File(data, name or "")

    def build(self, path: str) -> ParsedConversation:
        """All that was added. `path`: that of the messages."""
        self._no_open_calls(path)
        conversation = Conversation(tuple(self._turns), tuple(self._instructions))
        return ParsedConversation(conversation, self._kinds, self._remote_images)

    def _no_open_calls(self, path: str) -> None:
        if self._open_calls:
            missing = ", ".join(self._open_calls)[:200]
            raise invalid(path, f"the calls before it have no result; send one for each of: {missing}")


def _check_base64(path: str, data: str) -> None:
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(path, "this is no base64") from None
