"""`/v1/responses` as a WebSocket (Open Responses, "WebSocket Transport"; OpenAI docs, "WebSocket mode")."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from ...domain.people import Person
from ...errors import ApiError, InvalidRequest, invalid
from ...http.respond import open_renderer, start_reply
from ...http.websocket import MessageHandler, Turn, error_event
from ...runtime import runtime
from ...wire.json import JsonObject, encode
from ...wire.off_loop import off_loop
from .input import EarlierItems
from .protocol import ResponseRequest
from .serving import ParsedResponseRequest, ResponseRenderer, parse_request, unanswered_response

MAX_REMEMBERED = 16 * 1024 * 1024
"""Bytes of JSON of one conversation. A longer one is not remembered, and continues from stored responses alone."""

MAX_STREAMS = 8
"""Values of `stream_id` of one connection."""

STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")


@dataclass(frozen=True)
class RememberedResponse:
    """A response with the conversation up to its end. `items`: a JSON array. `digests`: see `StoredResponse`."""

    person: str
    response_id: str
    items: bytes
    digests: Mapping[str, str]


class ConnectionMemory:
    """The last response of a connection, or of each `stream_id` that it uses: the next turn can continue it, also where
    it is not stored."""

    def __init__(self) -> None:
        self._last: dict[str | None, RememberedResponse] = {}

    async def find(self, person: Person, response_id: str) -> EarlierItems | None:
        for last in self._last.values():
            if last.response_id == response_id and last.person == person.key:
                items = await off_loop(len(last.items), partial(json.loads, last.items))
                return EarlierItems(items, last.digests, len(last.items))
        return None

    async def keep(
        self,
        stream_id: str | None,
        parsed: ParsedResponseRequest,
        items: Sequence[JsonObject],
        digests: Mapping[str, str],
    ) -> None:
        """Keep the conversation in place of the last one of the stream. `items`: of the request and its response."""
        encoded = await asyncio.to_thread(encode, [*parsed.earlier.items, *items])
        self._drop(stream_id)
        if len(encoded) <= MAX_REMEMBERED and runtime.connections.remember(len(encoded)):
            all_digests = {**parsed.earlier.digests, **digests}
            response_id = parsed.generation_request.id
            self._last[stream_id] = RememberedResponse(parsed.person.key, response_id, encoded, all_digests)

    def forget(self, response_id: str) -> None:
        for stream_id in [each for each, last in self._last.items() if last.response_id == response_id]:
            self._drop(stream_id)

    def clear(self) -> None:
        for stream_id in [*self._last]:
            self._drop(stream_id)

    def _drop(self, stream_id: str | None) -> None:
        if dropped := self._last.pop(stream_id, None):
            runtime.connections.forget(len(dropped.items))


class ResponsesHandler(MessageHandler):
    """Answers `response.create` with the events of the stream that the same HTTP request gets."""

    def __init__(self) -> None:
        self._memory = ConnectionMemory()
        self._streams: set[str] = set()
        self._stream_id: str | None = None
        self._previous_id: str | None = None
        self._renderer: ResponseRenderer | None = None

    def begin(self) -> None:
        self._stream_id, self._previous_id, self._renderer = None, None, None

    async def answer(self, message: Any, turn: Turn) -> None:
        if not isinstance(message, dict):
            raise InvalidRequest("The message must be a JSON object.")
        if message.get("type") == "response.processed":
            return  # of Codex, which tells that it has read a response; nobody answers it
        self._previous_id = _previous_id(message)
        self._stream_id = self._check_stream_id(message.get("stream_id"))
        body = _parse_message(message)
        person = turn.end_user(body.user or body.safety_identifier)
        earlier = await self._earlier_items(body, person)
        parsed = await parse_request(body, person, turn.settings, turn.caller.person, earlier)
        if message.get("generate") is False:
            await self._answer_without_output(parsed, turn)
        else:
            await self._generate(parsed, turn)

    def error_frames(self, error: ApiError) -> list[bytes]:
        """An error before the first event is an event of its own. A turn that failed forgets what it continued."""
        if self._previous_id is not None:
            self._memory.forget(self._previous_id)
        if self._renderer is not None:
            return self._frames(self._renderer.error_events(error))
        event = error_event(error)
        return [encode({**event, "stream_id": self._stream_id} if self._stream_id else event)]

    def close(self) -> None:
        self._memory.clear()

    async def _earlier_items(self, body: ResponseRequest, person: Person) -> EarlierItems | None:
        """The remembered conversation that the turn continues; None where stored responses may have it.

        Raises `InvalidRequest` for a turn that is not to be stored and whose conversation is not remembered.
        """
        if body.previous_response_id is None:
            return None
        remembered = await self._memory.find(person, body.previous_response_id)
        if remembered is None and body.store is False:
            message = f"this connection does not remember the response '{body.previous_response_id[:100]}'"
            raise invalid("previous_response_id", message, "previous_response_not_found")
        return remembered

    async def _generate(self, parsed: ParsedResponseRequest, turn: Turn) -> None:
        request = parsed.generation_request
        turn.record.model = request.model
        async with AsyncExitStack() as stack:
            stack.callback(await turn.admit(parsed.person))
            create_renderer = partial(ResponseRenderer, parsed=parsed)
            opening = open_renderer(stack, [request], parsed.person, turn, create_renderer)
            renderer = await turn.attend(opening)
            await turn.attend(start_reply(renderer))
            self._renderer = renderer
            turn.record.status = 200
            await turn.attend(self._send_events(renderer, turn))
        if renderer.final_items is not None:
            await self._memory.keep(self._stream_id, parsed, renderer.final_items, renderer.final_digests)

    async def _answer_without_output(self, parsed: ParsedResponseRequest, turn: Turn) -> None:
        """Answer a turn with `generate: false`: what later turns continue is checked, and nothing runs."""
        turn.record.model = parsed.generation_request.model
        release = await turn.admit(parsed.person)
        release()
        turn.record.is_cancelled = True
        await turn.attend(self._send_frames(await unanswered_response(parsed), turn))
        await self._memory.keep(self._stream_id, parsed, parsed.input, {})

    async def _send_events(self, renderer: ResponseRenderer, turn: Turn) -> None:
        async with aclosing(renderer.events(live=turn.settings.enable_streaming)) as events:
            async for joined in events:
                await self._send_frames(joined, turn)

    async def _send_frames(self, events: bytes, turn: Turn) -> None:
        for frame in self._frames(events):
            await turn.send(frame)

    def _frames(self, events: bytes) -> list[bytes]:
        """The data of server-sent events as messages. This runs for every token."""
        frames = [event.partition(b"\ndata: ")[2] for event in events.split(b"\n\n") if event]
        if self._stream_id is None:
            return frames
        suffix = b',"stream_id":%b}' % encode(self._stream_id)
        return [frame[:-1] + suffix for frame in frames]

    def _check_stream_id(self, stream_id: Any) -> str | None:
        """Raises `InvalidRequest`."""
        if stream_id is None:
            return None
        if not isinstance(stream_id, str) or not STREAM_ID.fullmatch(stream_id):
            raise invalid("stream_id", "send 1 to 256 letters, digits, dots, hyphens and underscores")
        if stream_id not in self._streams and len(self._streams) >= MAX_STREAMS:
            message = f"a connection has at most {MAX_STREAMS} streams"
            raise invalid("stream_id", message, "websocket_stream_limit_reached")
        self._streams.add(stream_id)
        return stream_id


def _previous_id(message: JsonObject) -> str | None:
    previous_id = message.get("previous_response_id")
    return previous_id if isinstance(previous_id, str) else None


def _parse_message(message: JsonObject) -> ResponseRequest:
    """Raises `InvalidRequest` or `RequestValidationError`."""
    type = message.get("type")
    if type is None:
        raise InvalidRequest("Missing required parameter: 'type'.", param="type", code="missing_required_parameter")
    if type != "response.create":
        raise invalid("type", "send messages of the type 'response.create'")
    if message.get("background"):
        raise invalid("background", "it is not supported over a WebSocket; use HTTP", "unsupported_parameter")
    # A reply over a WebSocket is always streamed.
    body = {**message, "stream": True, "stream_options": None, "background": None}
    try:
        return ResponseRequest.model_validate(body)
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        ) from error
