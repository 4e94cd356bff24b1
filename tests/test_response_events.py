"""The order of the events of a response.

Read off the streams of api.openai.com that the tests of Pydantic AI and of Vercel's AI SDK have on record (the
cassettes of `test_openai_responses`, the fixtures of `@ai-sdk/openai`): the response opens, then each item is told
whole before the next one begins, and so is each of its parts; the last event has all of it again.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import httpx
import pytest
from bridge.cat_openai_api.api.responses.events import ResponseEventEncoder
from bridge.cat_openai_api.domain.events import CallDelta, Delta, Refusal, Step, Text
from bridge.cat_openai_api.generation.tools import ClientTools
from hypothesis import given
from hypothesis import strategies as st
from upstream import script

Json: TypeAlias = dict[str, Any]

LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
CALLS = [{"name": "look", "arguments": {"at": place}} for place in ("roses", "hedgehogs")]
SAID: dict[str, Json] = {
    "text": {"input": script(say=["It is ", "tea time."])},
    "nothing": {"input": script(say="")},
    "cut": {"input": script(say=["one ", "two ", "three"]), "max_output_tokens": 2},
    "text and calls": {"input": script(say=["Well, ", "wait."], tool_calls=CALLS), "tools": [LOOK]},
    "text and a refusal": {"input": script(say=["Hm. "], refusal=["I had ", "rather not."])},
}


def events_of(body: bytes) -> list[Json]:
    data = [line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in data]


@pytest.mark.parametrize("enable_streaming", [True, False])
@pytest.mark.parametrize("name", SAID)
def test_a_stream_is_told_as_openai_tells_it(
    http: httpx.Client, settings: Callable[..., None], name: str, enable_streaming: bool
) -> None:
    settings(enable_streaming=enable_streaming)
    body = {"model": "cheshire-cat", "stream": True, **SAID[name]}
    told = events_of(http.post("/v1/responses", json=body).content)
    assert [event["sequence_number"] for event in told] == [*range(len(told))]
    opening, last = told[:2], told[-1]
    assert [event["type"] for event in opening] == ["response.created", "response.in_progress"]
    for event in opening:
        response = event["response"]
        assert (response["status"], response["output"], response["usage"]) == ("in_progress", [], None)
    assert last["type"] == f"response.{last['response']['status']}"
    assert_is_told(told[2:-1], last["response"]["output"])


ARGUMENTS = ['{"a', 't": ', "1", "}"]

blocks = st.lists(
    st.builds(Text, st.sampled_from(["a", " ", "🐱", '"', "\\"]))
    | st.builds(Refusal, st.just("no"))
    | st.builds(Step, st.just("rings"))
    | st.permutations([0, 1, 2] * len(ARGUMENTS)),
    max_size=8,
)
"""What an LLM says; a list: which of three calls each piece of arguments is for."""


def deltas_of(blocks: Sequence[Any]) -> Iterator[Delta]:
    calls = 0
    for block in blocks:
        if not isinstance(block, list):
            yield block
            continue
        left = {call: iter(ARGUMENTS) for call in block}
        places: dict[int, int] = {}
        for call in block:
            is_new = call not in places
            place = places.setdefault(call, calls + len(places))
            yield CallDelta(place, f"call_{place}" * is_new, "look" * is_new, next(left[call]))
        calls += len(places)


@given(blocks)
def test_whatever_comes_one_item_is_told_after_the_other(blocks: list[Any]) -> None:
    """An LLM may go back and forth between its calls: they are told one by one all the same."""
    encoder = ResponseEventEncoder(ClientTools())
    deltas = [*deltas_of(blocks)]
    told = events_of(b"".join([*map(encoder.encode_delta, deltas), encoder.finish("completed")]))
    items = [item.wire() for item in encoder.output]
    assert_is_told(told, items)
    parts = [part for item in items for part in item.get("content", [])]
    for kind, field, name in ((Text, "text", "output_text"), (Refusal, "refusal", "refusal")):
        said = "".join(delta.delta for delta in deltas if isinstance(delta, kind))
        assert "".join(part[field] for part in parts if part["type"] == name) == said
    calls = [item for item in items if item["type"] == "function_call"]
    assert [call["call_id"] for call in calls] == [f"call_{place}" for place in range(len(calls))]
    assert {call["arguments"] for call in calls} <= {"".join(ARGUMENTS)}
    assert len(calls) == 3 * sum(isinstance(block, list) for block in blocks)


def test_a_call_is_told_while_its_arguments_come() -> None:
    encoder = ResponseEventEncoder(ClientTools())
    told = [events_of(encoder.encode_delta(delta)) for delta in deltas_of([[0] * len(ARGUMENTS)])]
    assert [event["delta"] for events in told for event in events[-1:]] == ARGUMENTS


def test_a_call_without_arguments_holds_none_up() -> None:
    encoder = ResponseEventEncoder(ClientTools())
    deltas = [CallDelta(0, "call_0", "look", ""), CallDelta(1, "call_1", "look", ""), Text("Well.")]
    told = events_of(b"".join(map(encoder.encode_delta, deltas)))
    assert [event["item"]["type"] for event in told if event["type"] == "response.output_item.done"] == [
        "function_call",
        "function_call",
    ]
    assert told[-1]["delta"] == "Well."


def assert_is_told(told: Sequence[Json], items: Sequence[Json]) -> None:
    """The events, from the first to the last, add up to the items."""
    rest = iter(told)
    for place, item in enumerate(items):
        assert_is(next(rest), "response.output_item.added", {"output_index": place}, item=empty(item))
        where = {"item_id": item["id"], "output_index": place}
        if item["type"] == "function_call":
            assert_grows(rest, "function_call_arguments", where, arguments=item["arguments"])
        for index, part in enumerate(item.get("content", [])):
            field = "text" if part["type"] == "output_text" else "refusal"
            there = {**where, "content_index": index}
            assert_is(next(rest), "response.content_part.added", there, part={**part, field: ""})
            assert_grows(rest, part["type"], there, **{field: part[field]})
            assert_is(next(rest), "response.content_part.done", there, part=part)
        for index, part in enumerate(item.get("summary", [])):
            there = {**where, "summary_index": index}
            assert_is(next(rest), "response.reasoning_summary_part.added", there, part={**part, "text": ""})
            assert_grows(rest, "reasoning_summary_text", there, text=part["text"])
            assert_is(next(rest), "response.reasoning_summary_part.done", there, part=part)
        assert_is(next(rest), "response.output_item.done", {"output_index": place}, item=item)
    assert next(rest, None) is None


def empty(item: Json) -> Json:
    """As it is when it begins."""
    growing = {"message": "content", "function_call": "arguments", "reasoning": "summary"}[item["type"]]
    status = {} if item["type"] == "reasoning" else {"status": "in_progress"}
    return {**item, **status, growing: type(item[growing])()}


def assert_is(event: Json, type: str, where: Json, **fields: Any) -> None:
    wanted = {"type": type, **where, **fields}
    assert {name: event.get(name) for name in wanted} == wanted


def assert_grows(rest: Iterator[Json], kind: str, where: Json, **whole: str) -> None:
    """Deltas, and then the whole of them."""
    pieces = []
    while (event := next(rest))["type"] == f"response.{kind}.delta":
        assert {name: event[name] for name in where} == where
        pieces.append(event["delta"])
    assert_is(event, f"response.{kind}.done", where, **whole)
    assert ["".join(pieces)] == [*whole.values()]
