"""Serving stored and active responses: retrieving, deleting and cancelling them, and listing their input."""

from collections.abc import Mapping
from typing import Any, Literal

from ...conversation.background_store import UNFINISHED
from ...conversation.response_store import StoredResponse
from ...domain.people import Person
from ...errors import ResponseNotFound, invalid
from ...runtime import runtime
from .background import cancel_elsewhere
from .protocol import DeletedResponse, InputItemList, ResponseObject
from .serving import CANCEL_TIMEOUT


async def _load(person: Person, response_id: str) -> StoredResponse:
    """Raises `ResponseNotFound`."""
    stored = await runtime.responses.load(person, response_id)
    if stored is None:
        raise ResponseNotFound(response_id)
    return stored


async def retrieve(person: Person, response_id: str) -> Mapping[str, Any]:
    """The response object. Raises `ResponseNotFound`."""
    if run := runtime.background_runs.get(person, response_id):
        return run.snapshot()
    active = runtime.active_responses.get(person, response_id)
    if active:
        return active.snapshot()
    return await _with_progress(person, _with_all_fields((await _load(person, response_id)).response))


def _with_all_fields(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored response as a new one would be: earlier versions stored fewer fields, and null for numbers."""
    default = ResponseObject(id=stored["id"], created_at=stored["created_at"], model=stored["model"]).wire()
    if stored["status"] == "completed":
        default["completed_at"] = stored["created_at"]
    known = {name: value for name, value in stored.items() if value is not None or default.get(name) is None}
    format = {"description": None, "strict": False} if known["text"]["format"]["type"] == "json_schema" else {}
    text = {**known["text"], "format": {**format, **known["text"]["format"]}}
    return {**default, **known, "text": text}


async def _with_progress(person: Person, response: Mapping[str, Any]) -> Mapping[str, Any]:
    """A response that another Cat generates has the output that was stored last."""
    if response["status"] not in UNFINISHED:
        return response
    output = await runtime.background_store.load_progress(person, response["id"])
    return response if output is None else {**response, "status": "in_progress", "output": output}


async def delete(person: Person, response_id: str) -> DeletedResponse:
    """A response that is still generated ends. Raises `ResponseNotFound`."""
    stored = await _load(person, response_id)
    if not await runtime.responses.delete(person, response_id):
        raise ResponseNotFound(response_id)
    if stored.response.get("background"):
        if run := runtime.background_runs.get(person, response_id):
            run.is_deleted = True
            run.cancel()
        else:
            await runtime.background_store.request_cancel(response_id)
        await runtime.background_store.delete_events(person, response_id)
    return DeletedResponse(id=response_id)


async def cancel(person: Person, response_id: str) -> Mapping[str, Any]:
    """Cancel an active response and return its object.

    Raises `ResponseNotFound`, and `InvalidRequest` for a response that has ended without being cancelled.
    """
    run = runtime.background_runs.get(person, response_id)
    if run and run.snapshot()["status"] in UNFINISHED:
        run.cancel()
        await run.wait_for_end(CANCEL_TIMEOUT)
        response = run.snapshot()
        return {**response, "status": "cancelled"} if response["status"] in UNFINISHED else response
    active = runtime.active_responses.get(person, response_id)
    if active is None:
        # Also one in the background that has ended and is about to be forgotten: it is stored.
        stored = (await _load(person, response_id)).response
        if stored["status"] in UNFINISHED:
            return await cancel_elsewhere(person, stored)
        if stored["status"] == "cancelled":
            return _with_all_fields(stored)
        raise invalid("response_id", f"only an active response can be cancelled; this one is {stored['status']}")
    return await active.cancel()


async def list_input(
    person: Person, response_id: str, *, limit: int, order: Literal["asc", "desc"], after: str | None
) -> InputItemList:
    """The items of the responses before it and of its own input.

    Raises `ResponseNotFound`, and `InvalidRequest` for an unknown `after`.
    """
    chain = await runtime.responses.load_chain(person, response_id)
    if not chain:
        raise ResponseNotFound(response_id)
    *earlier, last = chain
    items = [item for response in earlier for item in response.items] + last.input
    if order == "desc":
        items.reverse()
    ids = [item["id"] for item in items]
    if after is not None:
        if after not in ids:
            raise invalid("after", f"the input of the response has no item with the id '{after[:100]}'")
        items = items[ids.index(after) + 1 :]
    page = items[:limit]
    return InputItemList(
        data=page,
        first_id=page[0]["id"] if page else None,
        last_id=page[-1]["id"] if page else None,
        has_more=len(items) > limit,
    )
