"""A response, from the validated request to the events of its reply; and those that are kept."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter

from ...conversation.response_store import Stored, all_of, chain, keep, remove
from ...domain.people import Person
from ...domain.usage import Usage
from ...errors import ApiError, ResponseNotFound, invalid
from ...generation.generation import Generation
from ...generation.renderer import Renderer
from ...generation.request import GenerationRequest, model_for, new_id
from ...hosts.port import RunCancelled
from .events import ResponseEventEncoder
from .protocol import (
    DeletedResponse,
    FunctionCall,
    FunctionCallOutput,
    IncompleteDetails,
    InputItem,
    InputItemList,
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
from .reading import Placed, listed, read

if TYPE_CHECKING:
    from ....settings import Settings

_items: TypeAdapter[list[Item]] = TypeAdapter(list[InputItem])

REASONS: Mapping[str | None, Literal["max_output_tokens", "content_filter"]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}


CANCEL_TIMEOUT = 5.0
"""How long a cancelled response waits for its client to take what it was sent."""


class ParsedResponseRequest:
    """What a request for a response comes to: the question, and the items that it adds to what was said before."""

    def __init__(
        self, body: ResponseRequest, person: Person, question: GenerationRequest, input: list[Item]
    ) -> None:
        self.body = body
        self.person = person
        self.question = question
        self.input = [listed(item) for item in input]


async def parse_request(body: ResponseRequest, person: Person, settings: "Settings") -> ParsedResponseRequest:
    """Raises `InvalidRequest` or `ModelNotFound`."""
    given: Sequence[Item] = (
        [Message(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    )
    is_stored = settings.history == "cat"
    refers = body.previous_response_id or any(isinstance(item, ItemReference) for item in given)
    kept = await all_of(person) if refers else {}
    before = _before(body.previous_response_id, kept)
    items = [_resolved(f"input[{place}]", item, kept) for place, item in enumerate(given)]
    reading = read(
        [*before, *((f"input[{place}]", item) for place, item in enumerate(items))],
        body.instructions,
        fetches_images=settings.fetch_remote_images,
        since_the_question=is_stored,
    )
    functions, format = body.client_functions(), body.json_format()
    model = await model_for(
        body.model, settings, reading, functions, format, functions_at="tools", schema_at="text.format.schema"
    )
    question = GenerationRequest(
        id=new_id("resp_"),
        requested_model=body.model,
        model=model,
        reading=reading,
        stream=bool(body.stream),
        functions=functions,
        format=format,
        sampling=body.sampling(),
        max_tokens=(body.max_output_tokens,),
        is_stored=is_stored,
        remember=body.store is not False,
    )
    return ParsedResponseRequest(body, person, question, items)


def _before(previous: str | None, kept: Mapping[str, Stored]) -> list[Placed]:
    """What was said up to a response, that included."""
    if previous is None:
        return []
    if previous not in kept:
        message = f"there is no response with the id '{previous[:100]}', or it is no longer kept"
        raise invalid("previous_response_id", message, "previous_response_not_found")
    said = _items.validate_python([item for stored in chain(kept, previous) for item in stored.items])
    return [("previous_response_id", item) for item in _with_their_calls(said)]


def _with_their_calls(items: Sequence[Item]) -> Iterator[Item]:
    """All but results of calls that are no longer kept: of a long chain only the end is."""
    called = set()
    for item in items:
        if isinstance(item, FunctionCall):
            called.add(item.call_id)
        if not isinstance(item, FunctionCallOutput) or item.call_id in called:
            yield item


def _resolved(path: str, item: Item, kept: Mapping[str, Stored]) -> Item:
    """The item itself, where it is a reference to one."""
    if not isinstance(item, ItemReference):
        return item
    for stored in kept.values():
        for known in stored.items:
            if known["id"] == item.id:
                return _items.validate_python([known])[0]
    raise invalid(f"{path}.id", f"there is no item with the id '{item.id[:100]}', or it is no longer kept")


class Response(Renderer):
    """A response under way. It is known by its id until it has ended."""

    def __init__(self, generation: Generation, inquiry: ParsedResponseRequest) -> None:
        super().__init__(generation)
        self.person = inquiry.person
        self.reply = generation.reply
        self.ended = asyncio.Event()
        self._input = inquiry.input
        self._growth = ResponseEventEncoder()
        self.response = _object(inquiry.body, generation.question)
        _under_way[self.response.id] = self

    async def whole(self) -> ResponseObject:
        try:
            async for deltas in self.generation.deltas(live=True):
                for delta in deltas:
                    self._growth.take(delta)
        except RunCancelled:
            self._was_cancelled()
        await self._finish()
        return self.response

    async def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        opening = self._opening()
        if live and not self.reply.has_begun():
            yield opening
            opening = b""
        try:
            async for deltas in self.generation.deltas(live=live):
                # One write for the opening and the first words, where those are there already.
                yield opening + b"".join(map(self._growth.take, deltas))
                opening = b""
        except RunCancelled:
            self._was_cancelled()
        rest = await self._finish()
        status = self.response.status
        last = "completed" if status == "completed" else "incomplete"
        yield opening + rest + self._growth.event(f"response.{last}", response=self.response.wire())

    def failed(self, error: ApiError) -> bytes:
        self.response.status = "failed"
        self.response.error = ResponseError(message=error.reply.error.message)
        self.response.output = self._growth.so_far("incomplete")
        self.response.store = False
        return self._growth.event("response.failed", response=self.response.wire())

    def so_far(self) -> ResponseObject:
        if self.response.status == "in_progress":
            self.response.output = self._growth.so_far()
        return self.response

    async def cancel(self) -> ResponseObject:
        """End it, as if it had come to its end with what it has."""
        self.generation.question.cancellation.cancel()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.ended.wait(), CANCEL_TIMEOUT)
        if self.response.status == "in_progress":
            self.response.output = self._growth.so_far("incomplete")
            self.response.status = "cancelled"
        return self.response

    def _was_cancelled(self) -> None:
        self.response.status = "cancelled"
        self.generation.record.is_cancelled = True

    async def aclose(self) -> None:
        try:
            await super().aclose()
        finally:
            _under_way.pop(self.response.id, None)
            self.ended.set()

    def _opening(self) -> bytes:
        response = self.response.wire()
        return self._growth.event("response.created", response=response) + self._growth.event(
            "response.in_progress", response=response
        )

    async def _finish(self) -> bytes:
        """The end of all items; with it the response is whole, and kept."""
        reason = REASONS.get(self.reply.finish_reason)
        is_cut = reason or self.response.status == "cancelled"
        item_status: ItemStatus = "incomplete" if is_cut else "completed"
        status: ResponseStatus = "cancelled" if self.response.status == "cancelled" else item_status
        told = self._growth.end(item_status)
        self.response.status = status
        self.response.output = self._growth.output
        self.response.incomplete_details = IncompleteDetails(reason=reason) if reason else None
        self.response.usage = _wire_usage(await self.generation.usage())
        if self.response.store:
            self.response.store = await keep(self.person, self.response.wire(), self._input)
        return told


_under_way: dict[str, Response] = {}


def _object(body: ResponseRequest, question: GenerationRequest) -> ResponseObject:
    """The response before anything was said, with what it repeats of the request."""
    choice: Any = body.tool_choice or "auto"
    return ResponseObject(
        id=question.id,
        created_at=int(time.time()),
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


def _wire_usage(usage: Usage) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=usage.prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=usage.cached or 0),
        output_tokens=usage.completion,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=usage.reasoning or 0),
        total_tokens=usage.total,
    )


def _running(person: Person, response_id: str) -> Response | None:
    response = _under_way.get(response_id)
    return response if response and response.person.key == person.key else None


async def _stored(person: Person, response_id: str) -> Stored:
    stored = (await all_of(person)).get(response_id)
    if stored is None:
        raise ResponseNotFound(response_id)
    return stored


async def retrieved(person: Person, response_id: str) -> Mapping[str, Any]:
    """Raises `ResponseNotFound`."""
    running = _running(person, response_id)
    return running.so_far().wire() if running else (await _stored(person, response_id)).response


async def deleted(person: Person, response_id: str) -> DeletedResponse:
    """Raises `ResponseNotFound`."""
    await _stored(person, response_id)
    await remove(person, response_id)
    return DeletedResponse(id=response_id)


async def cancelled(person: Person, response_id: str) -> Mapping[str, Any]:
    """Raises `InvalidRequest` for a response that has come to another end, and `ResponseNotFound`."""
    running = _running(person, response_id)
    if running is None:
        stored = (await _stored(person, response_id)).response
        if stored["status"] == "cancelled":
            return stored
        raise invalid("response_id", f"this response has ended already: it is {stored['status']}")
    return (await running.cancel()).wire()


async def input_items(
    person: Person, response_id: str, *, limit: int, order: Literal["asc", "desc"], after: str | None
) -> InputItemList:
    """All that the response answers, what was said before it included. Raises `ResponseNotFound`."""
    kept = await all_of(person)
    if response_id not in kept:
        raise ResponseNotFound(response_id)
    *earlier, last = chain(kept, response_id)
    items = [item for stored in earlier for item in stored.items] + last.input
    if order == "desc":
        items.reverse()
    ids = [item["id"] for item in items]
    if after is not None:
        if after not in ids:
            raise invalid("after", f"there is no item with the id '{after[:100]}'")
        items = items[ids.index(after) + 1 :]
    page = items[:limit]
    return InputItemList(
        data=page,
        first_id=page[0]["id"] if page else None,
        last_id=page[-1]["id"] if page else None,
        has_more=len(items) > limit,
    )
