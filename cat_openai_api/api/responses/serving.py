"""Serving responses: parsing a request, and rendering the reply."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter

from ...conversation.response_store import StoredItem
from ...domain.people import Person
from ...domain.usage import Usage
from ...errors import ApiError, StorageFailed, invalid
from ...generation.generation import Generation
from ...generation.renderer import Renderer
from ...generation.request import GenerationRequest, new_id, resolve_capable_model
from ...hosts.port import RunCancelled
from ...runtime import runtime
from ...wire.json import JsonObject
from ...wire.off_loop import off_loop
from .events import ResponseEventEncoder
from .protocol import (
    FunctionCall,
    FunctionCallOutput,
    IncompleteDetails,
    InputItem,
    InputTokensDetails,
    Item,
    ItemReference,
    ItemStatus,
    Message,
    OutputTokensDetails,
    ResponseError,
    ResponseObject,
    ResponseRequest,
    ResponseStatus,
    ResponseUsage,
)
from .reading import LocatedItem, input_as_read, list_item, read_format, read_functions, read_items

if TYPE_CHECKING:
    from ....settings import Settings

_item_list: TypeAdapter[list[Item]] = TypeAdapter(list[InputItem])

INCOMPLETE_REASONS: Mapping[str | None, Literal["max_output_tokens", "content_filter"]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}
"""By the finish reason of the reply."""

CANNOT_CONTINUE = {
    "queued": "has not begun yet; wait until it has ended",
    "in_progress": "is still in progress; wait until it has ended",
    "failed": "has failed",
}
"""What is wrong with the responses that no other can continue, by their status. Only those in the background are stored
before they are completed."""

CANCEL_TIMEOUT = 5.0
"""Seconds that a cancel request waits for the response to end, which also depends on how fast its client reads."""


@dataclass(frozen=True)
class EarlierItems:
    """The items of the conversation that a request continues. `digests`: see `StoredResponse`. `size`: of the items as
    JSON, in bytes."""

    items: Sequence[JsonObject] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    size: int = 0


@dataclass(frozen=True)
class ParsedResponseRequest:
    """A validated request.

    `input`: the items of the request, in the form of `/input_items`. `earlier`: those before it, of the responses that
    it continues.
    """

    body: ResponseRequest
    person: Person
    generation_request: GenerationRequest
    input: list[JsonObject]
    earlier: EarlierItems


async def parse_request(
    body: ResponseRequest, person: Person, settings: "Settings", earlier: EarlierItems | None = None
) -> ParsedResponseRequest:
    """Validate what Pydantic cannot.

    `earlier`: the items up to `previous_response_id` where they are known; None to load them from the storage.

    Raises `InvalidRequest`, `ModelNotFound` or `StorageFailed`.
    """
    if body.background and body.store is False:
        raise invalid("background", "a response in the background must be stored; leave out store: false")
    sent: Sequence[Item] = [Message(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    uses_stored_conversation = settings.history == "cat"
    earlier = earlier or await _load_earlier_items(body.previous_response_id, person)
    earlier_items = await off_loop(earlier.size, lambda: _read_stored_items([*earlier.items], earlier.digests))
    items = await _resolve_references(sent, person)
    parsed = read_items(
        [*_locate_earlier(earlier_items), *((f"input[{index}]", item) for index, item in enumerate(items))],
        body.instructions,
        allow_remote_images=settings.fetch_remote_images,
        last_user_message_only=uses_stored_conversation,
    )
    functions, format = read_functions(body), read_format(body)
    model = await resolve_capable_model(
        body.model,
        settings,
        parsed,
        functions,
        format,
        functions_path="tools",
        schema_path="text.format.schema",
    )
    generation_request = GenerationRequest(
        id=new_id("resp_"),
        requested_model=body.model,
        model=model,
        parsed=parsed,
        # Of a response in the background the output so far is shown.
        stream=bool(body.stream or body.background),
        functions=functions,
        format=format,
        sampling=body.sampling(),
        max_tokens=(body.max_output_tokens,),
        uses_stored_conversation=uses_stored_conversation,
        remember=body.store is not False,
    )
    return ParsedResponseRequest(body, person, generation_request, [list_item(item) for item in items], earlier)


async def _load_earlier_items(response_id: str | None, person: Person) -> EarlierItems:
    """The items of all stored responses up to that one, its own included."""
    if response_id is None:
        return EarlierItems()
    chain = await runtime.responses.load_chain(person, response_id)
    if not chain:
        message = f"the response '{response_id[:100]}' does not exist or is no longer stored"
        raise invalid("previous_response_id", message, "previous_response_not_found")
    if (status := chain[-1].response["status"]) in CANNOT_CONTINUE:
        raise invalid("previous_response_id", f"the response '{response_id[:100]}' {CANNOT_CONTINUE[status]}")
    items = [item for response in chain for item in response.items]
    digests = {id: digest for response in chain for id, digest in response.digests.items()}
    return EarlierItems(items, digests, sum(each.size for each in chain))


def _locate_earlier(items: Sequence[Item]) -> list[LocatedItem]:
    return [("previous_response_id", item) for item in _without_orphaned_results(items)]


def _read_stored_items(stored: list[JsonObject], digests: Mapping[str, str]) -> list[Item]:
    """`digests`: see `StoredResponse`."""
    items = _item_list.validate_python(stored)
    for item in items:
        if isinstance(item, Message) and item.id:
            item.set_sent_digest(digests.get(item.id, ""))
    return items


def _without_orphaned_results(items: Sequence[Item]) -> Iterator[Item]:
    """Without results whose calls are missing: the first responses of a long chain may no longer be stored."""
    call_ids = set()
    for item in items:
        if isinstance(item, FunctionCall):
            call_ids.add(item.call_id)
        if not isinstance(item, FunctionCallOutput) or item.call_id in call_ids:
            yield item


async def _resolve_references(items: Sequence[Item], person: Person) -> list[Item]:
    """The items of the input, with stored items in the place of references to them."""
    ids = [item.id for item in items if isinstance(item, ItemReference)]
    stored = await runtime.responses.find_items(person, ids) if ids else {}
    return [_resolve_reference(f"input[{index}].id", item, stored) for index, item in enumerate(items)]


def _resolve_reference(path: str, item: Item, stored: Mapping[str, StoredItem]) -> Item:
    if not isinstance(item, ItemReference):
        return item
    if item.id not in stored:
        raise invalid(path, f"the item '{item.id[:100]}' does not exist or is no longer stored")
    value, digest = stored[item.id]
    return _read_stored_items([value], {item.id: digest} if digest else {})[0]


class ResponseDraft:
    """A response before its generation has begun."""

    def __init__(self, parsed: ParsedResponseRequest) -> None:
        self.response = _initial_response(parsed.body, parsed.generation_request)
        self.encoder = ResponseEventEncoder()

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
        self.response.output = self._encoder.output
        self.response.incomplete_details = IncompleteDetails(reason=reason) if reason else None
        self.response.usage = _wire_usage(await self.usage())
        final = _with_final_text(self.response.wire(), self.reply.final_text())
        input, self.final_digests = input_as_read(self._input, self.generation)
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
    response.usage = _wire_usage(Usage(0, 0, 0))
    if response.store:
        response.store = await runtime.responses.save(parsed.person, response.wire(), parsed.input, {})
    return events + encoder.encode_event("response.completed", response=response.wire())


def _initial_response(body: ResponseRequest, request: GenerationRequest) -> ResponseObject:
    """The response object without output, with the parameters that it repeats from the request."""
    choice = body.tool_choice or "auto"
    return ResponseObject(
        id=request.id,
        created_at=int(time.time()),
        background=bool(body.background),
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        model=body.model,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id,
        reasoning={"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
        service_tier="default" if body.service_tier else None,
        store=body.store is not False,
        temperature=body.temperature,
        text={"format": body.format_wire()},
        tool_choice=choice if isinstance(choice, str) else choice.model_dump(),
        tools=[tool.model_dump() for tool in body.tools or []],
        top_p=body.top_p,
        truncation=body.truncation or "disabled",
        user=body.user,
        safety_identifier=body.safety_identifier,
        metadata=body.metadata or {},
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


def _wire_usage(usage: Usage) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=usage.prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=usage.cached or 0),
        output_tokens=usage.completion,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=usage.reasoning or 0),
        total_tokens=usage.total,
    )
