"""Serving responses: parsing a request, and rendering the reply."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...conversation.sealing import Seal
from ...domain.people import Person
from ...domain.usage import Usage
from ...errors import ApiError, StorageFailed, invalid
from ...generation.generation import Generation
from ...generation.renderer import Renderer
from ...generation.request import GenerationRequest, new_id, resolve_capable_model
from ...hosts.port import RunCancelled
from ...runtime import runtime
from ...wire.json import JsonObject
from .compaction import CompactionEncoder, compaction_request
from .events import ResponseEventEncoder
from .input import COMPACTION, EarlierItems, load_input
from .protocol import (
    IncompleteDetails,
    ItemStatus,
    ResponseError,
    ResponseObject,
    ResponseRequest,
    ResponseStatus,
    wire_tool,
)
from .reading import input_as_read, read_format, read_items, read_tools
from .usage import wire_usage

if TYPE_CHECKING:
    from ....settings import Settings

INCOMPLETE_REASONS: Mapping[str | None, Literal["max_output_tokens", "content_filter"]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}
"""By the finish reason of the reply."""

REPEATED_NUMBERS = {"temperature", "top_p", "presence_penalty", "frequency_penalty"}

CANCEL_TIMEOUT = 5.0
"""Seconds that a cancel request waits for the response to end, which also depends on how fast its client reads."""


@dataclass(frozen=True)
class ParsedResponseRequest:
    """A validated request.

    `input`: the items of the request, in the form of `/input_items`. `earlier`: those before it, of the responses that
    it continues. `compaction`: the seal of the compaction that is the response; None for a response that is the Cat's
    reply.
    """

    body: ResponseRequest
    person: Person
    generation_request: GenerationRequest
    input: list[JsonObject]
    earlier: EarlierItems
    compaction: Seal | None = None


async def parse_request(
    body: ResponseRequest,
    person: Person,
    settings: "Settings",
    caller: Person | None = None,
    earlier: EarlierItems | None = None,
) -> ParsedResponseRequest:
    """`caller`, `earlier`: see `load_input`. Raises `InvalidRequest`, `ModelNotFound` or `StorageFailed`."""
    if body.background and body.store is False:
        raise invalid("background", "a response in the background must be stored; leave out store: false")
    conversation = await load_input(body, person, caller, earlier)
    # Of a response in the background the output so far is shown.
    stream = bool(body.stream or body.background)
    if conversation.ends_with_trigger:
        seal = await runtime.sealing.seal(person, COMPACTION)
        generation_request = await compaction_request(body, conversation, settings, stream=stream)
        listed = conversation.listed()
        return ParsedResponseRequest(body, person, generation_request, listed, conversation.stored, seal)
    uses_stored_conversation = settings.history == "cat"
    items = conversation.items()
    tools = read_tools(body, [item for _, item in items])
    parsed = read_items(
        items,
        body.instructions,
        tools,
        allow_remote_images=settings.fetch_remote_images,
        last_user_message_only=uses_stored_conversation,
    )
    format = read_format(body)
    model = await resolve_capable_model(
        body.model,
        settings,
        parsed,
        tools.functions,
        format,
        functions_path="tools",
        schema_path="text.format.schema",
    )
    generation_request = GenerationRequest(
        id=new_id("resp_"),
        requested_model=body.model,
        model=model,
        parsed=parsed,
        stream=stream,
        tools=tools,
        format=format,
        sampling=body.sampling(),
        max_tokens=(body.max_output_tokens,),
        uses_stored_conversation=uses_stored_conversation,
        remember=body.store is not False,
    )
    return ParsedResponseRequest(body, person, generation_request, conversation.listed(), conversation.stored)


class ResponseDraft:
    """A response before its generation has begun."""

    def __init__(self, parsed: ParsedResponseRequest) -> None:
        self.response = _initial_response(parsed.body, parsed.generation_request)
        self.encoder = (
            CompactionEncoder(parsed.compaction)
            if parsed.compaction
            else ResponseEventEncoder(parsed.generation_request.tools)
        )

    def queue(self) -> bytes:
        """Set the status of a response in the background. Returns the encoded events."""
        self.response.status = "queued"
        created = self.encoder.encode_event("response.created", response=self.response.wire())
        return created + self.encoder.encode_event("response.queued", response=self.response.wire())

    def fail(self, error: ApiError) -> bytes:
        """End the response. Returns the encoded event."""
        self.response.status = "failed"
        self.response.error = ResponseError(message=error.reply.error.message)
        self.response.store = self.response.background
        return self.encoder.encode_event("response.failed", response=self.response.wire())

    def cancel(self) -> bytes:
        """End the response. Returns the encoded event."""
        self.response.status = "cancelled"
        return self.encoder.encode_event("response.incomplete", response=self.response.wire())


class ResponseRenderer(Renderer):
    """Renders one generation as a response. It can be retrieved and cancelled by its id until it has ended.

    `draft`: the response as it has begun; None for a new one. `final_items`: the items of the input and of the output
    when it has ended, from which other responses continue; None where none may. `final_digests`: of the input, see
    `StoredResponse`.
    """

    def __init__(
        self, generations: Sequence[Generation], parsed: ParsedResponseRequest, draft: "ResponseDraft | None" = None
    ) -> None:
        super().__init__(generations)
        (self.generation,) = generations
        self.person = parsed.person
        self.reply = self.generation.reply
        draft = draft or ResponseDraft(parsed)
        self.response = draft.response
        self._input = parsed.input
        self._compacts = parsed.compaction is not None
        self._encoder = draft.encoder
        self.final_items: list[JsonObject] | None = None
        self.final_digests: Mapping[str, str] = {}
        self._ended = asyncio.Event()
        if not self.response.background:
            runtime.active_responses.add(self.response.id, self)

    async def render(self) -> ResponseObject:
        try:
            await self.reply.wait_for_end()
        except RunCancelled:
            self._set_cancelled()
        for delta in self.generation.complete_deltas():
            self._encoder.encode_delta(delta)
        await self._finish()
        return self.response

    async def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        first_events = self._encode_first_events()
        if live and not self.reply.has_first_delta():
            yield first_events
            first_events = b""
        try:
            async for deltas in self.generation.deltas(live=live):
                # If the first deltas are available already, they are sent together with the first events.
                yield first_events + b"".join(map(self._encoder.encode_delta, deltas))
                first_events = b""
        except RunCancelled:
            self._set_cancelled()
        item_events = await self._finish()
        last = "completed" if self.response.status == "completed" else "incomplete"
        last_event = self._encoder.encode_event(f"response.{last}", response=self.response.wire())
        yield first_events + item_events + last_event

    def error_events(self, error: ApiError) -> bytes:
        self.response.status = "failed"
        self.response.error = ResponseError(message=error.reply.error.message)
        self.response.output = self._encoder.snapshot("incomplete")
        self.response.store = self.response.background
        return self._encoder.encode_event("response.failed", response=self.response.wire())

    def snapshot(self) -> JsonObject:
        """See `ActiveResponse.snapshot`."""
        if self.response.status == "in_progress":
            self.response.output = self._encoder.snapshot()
        return self.response.wire()

    async def cancel(self) -> JsonObject:
        """See `ActiveResponse.cancel`."""
        self.generation.request.cancellation.cancel()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._ended.wait(), CANCEL_TIMEOUT)
        if self.response.status == "in_progress":
            self.response.output = self._encoder.snapshot("incomplete")
            self.response.status = "cancelled"
        return self.response.wire()

    def _set_cancelled(self) -> None:
        self.response.status = "cancelled"
        self.generation.record.is_cancelled = True

    async def aclose(self) -> None:
        try:
            await super().aclose()
        finally:
            runtime.active_responses.remove(self.response.id)
            self._ended.set()

    def _encode_first_events(self) -> bytes:
        if self.response.status == "queued":
            self.response.status = "in_progress"
            return self._encoder.encode_event("response.in_progress", response=self.response.wire())
        response = self.response.wire()
        created = self._encoder.encode_event("response.created", response=response)
        return created + self._encoder.encode_event("response.in_progress", response=response)

    async def _finish(self) -> bytes:
        """Complete the response object and store it. Returns the encoded events that finish its items."""
        reason = INCOMPLETE_REASONS.get(self.reply.finish_reason)
        is_incomplete = reason or self.response.status == "cancelled"
        item_status: ItemStatus = "incomplete" if is_incomplete else "completed"
        status: ResponseStatus = "cancelled" if self.response.status == "cancelled" else item_status
        events = self._encoder.finish(item_status)
        self.response.status = status
        self.response.completed_at = int(time.time()) if status == "completed" else None
        self.response.output = self._encoder.output
        self.response.incomplete_details = IncompleteDetails(reason=reason) if reason else None
        self.response.usage = wire_usage(await self.usage())
        final = _with_final_text(self.response.wire(), self.reply.final_text())
        # A compaction is made of a transcript of the items, which itself is none of them.
        input, self.final_digests = (self._input, {}) if self._compacts else input_as_read(self._input, self.generation)
        if self.generation.questions.are_read:
            self.final_items = [*input, *final["output"]]
        if self.response.store:
            self.response.store = await self._save(final, input)
        return events

    async def _save(self, response: JsonObject, input: list[JsonObject]) -> bool:
        """Whether the response is stored now. One in the background is stored since its beginning."""
        if not self.response.background:
            return self.final_items is not None and await runtime.responses.save(
                self.person, response, input, self.final_digests
            )
        with suppress(StorageFailed):  # the error is in the log already
            # What plugins may still have changed is not for other responses.
            known = input if self.final_items is not None else []
            await runtime.background_store.finish(self.person, response, known, self.final_digests)
        return True


async def unanswered_response(parsed: ParsedResponseRequest) -> bytes:
    """The events of a response without output, for which nothing runs (`generate: false`, OpenAI docs, "WebSocket
    mode"). It is stored as any other, so that responses can continue it."""
    draft = ResponseDraft(parsed)
    response, encoder = draft.response, draft.encoder
    wire = response.wire()
    events = encoder.encode_event("response.created", response=wire)
    events += encoder.encode_event("response.in_progress", response=wire)
    response.status = "completed"
    response.usage = wire_usage(Usage(0, 0, 0))
    if response.store:
        response.store = await runtime.responses.save(parsed.person, response.wire(), parsed.input, {})
    return events + encoder.encode_event("response.completed", response=response.wire())


def _initial_response(body: ResponseRequest, request: GenerationRequest) -> ResponseObject:
    """The response object without output, with the parameters that it repeats from the request.

    Numbers that are null in the request get OpenAI's defaults, which are those of `ResponseObject`.
    """
    numbers = body.model_dump(include=REPEATED_NUMBERS, exclude_none=True)
    choice = body.tool_choice or "auto"
    return ResponseObject(
        id=request.id,
        created_at=int(time.time()),
        background=bool(body.background),
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        model=body.model,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id,
        prompt_cache_key=body.prompt_cache_key,
        prompt_cache_retention=body.prompt_cache_retention,
        reasoning=body.reasoning_wire(),
        store=body.store is not False,
        text=body.text_wire(),
        tool_choice=choice if isinstance(choice, str) else choice.model_dump(exclude_none=True),
        tools=[wire_tool(tool) for tool in body.tools or []],
        truncation=body.truncation or "disabled",
        user=body.user,
        safety_identifier=body.safety_identifier,
        metadata=body.metadata or {},
        **numbers,
    )


def _with_final_text(response: JsonObject, text: str) -> JsonObject:
    """The response with the final text in its last message, where the stream has sent something else: responses that
    continue it go by the final text."""
    output: list[JsonObject] = response["output"]
    sent = [part for item in output if item["type"] == "message" for part in item["content"] if "text" in part]
    if not sent or "".join(part["text"] for part in sent) == text:
        return response
    items: list[JsonObject] = []
    for item in output:
        if item["type"] != "message":
            items.append(item)
            continue
        parts = [{**part, "text": text} if part is sent[-1] else part for part in item["content"]]
        if content := [part for part in parts if not any(part is each for each in sent)]:
            items.append({**item, "content": content})
    return {**response, "output": items}
