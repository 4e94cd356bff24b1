"""Replies in JSON: the format reaches the LLM, and the reply is validated."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI
from upstream import Upstream, script, text_of

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"$ref": "#/$defs/age"}},
    "required": ["name", "age"],
    "additionalProperties": False,
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}
CAT: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "cat", "strict": True, "schema": SCHEMA}}
OBJECT = {"type": "json_object"}

FITS = ['{"name"', ': "Tom 🐱", ', ' "age": 3}\n']


def body(format: Any, say: list[str], stream: bool = False, **more: Any) -> dict[str, Any]:
    message = {"role": "user", "content": script("A cat.", say=say, **more.pop("script", {}))}
    return {
        "model": "cheshire-cat",
        "messages": [message],
        "response_format": format,
        "stream": stream,
        **more,
    }


def events(reply: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in reply.text.split("\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("format", [OBJECT, CAT], ids=["object", "schema"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_format_reaches_the_llm_and_a_valid_reply_is_unchanged(
    http: httpx.Client, upstream: Upstream, tag: str, format: Any, stream: bool
) -> None:
    reply = http.post("/v1/chat/completions", json=body(format, FITS, stream, script={"tag": tag}))
    assert reply.status_code == 200
    if stream:
        chunks = [event["choices"][0] for event in events(reply)]
        texts = [chunk["delta"]["content"] for chunk in chunks if chunk["delta"].get("content")]
        assert texts == ["".join(FITS)], "held until it was checked"
        assert chunks[-1]["finish_reason"] == "stop"
    else:
        assert reply.json()["choices"][0]["message"]["content"] == "".join(FITS)
    (record,) = upstream.wait(tag)
    assert record["body"]["response_format"] == format


@pytest.mark.parametrize(
    ("format", "say"),
    [
        (OBJECT, ["Sure, here it is."]),
        (OBJECT, ["[1, 2]"]),
        (OBJECT, ['{"a": NaN}']),
        (OBJECT, ["```json\n", "{}", "\n```"]),
        (OBJECT, []),
        (CAT, ['{"name": "Tom"', ', "age": -1}']),
        (CAT, ['{"name": "tom", "age": 1}']),
        (CAT, ['{"name": "Tom", "age": 1, "sex": "m"}']),
        (CAT, ['{"name": "Tom", "age"']),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_reply_that_does_not_fit_is_an_error(http: httpx.Client, format: Any, say: list[str], stream: bool) -> None:
    reply = http.post("/v1/chat/completions", json=body(format, say, stream))
    assert reply.status_code == 502
    error = reply.json()["error"]
    assert error["code"] == "invalid_model_output"
    assert "Tom" not in reply.text


def test_an_invalid_reply_is_an_error_event_if_the_stream_has_begun(http: httpx.Client) -> None:
    """The stream has begun, but has no text of the reply."""
    reply = http.post(
        "/v1/chat/completions", json=body(OBJECT, ["Sure", "ly."], stream=True, script={"first_delay": 5.5})
    )
    assert reply.status_code == 200
    *chunks, last = events(reply)
    assert last["error"]["code"] == "invalid_model_output"
    assert not any(choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_reply_cut_by_the_limit_has_the_finish_reason_length(http: httpx.Client, stream: bool) -> None:
    """Its finish reason tells the client not to read it as JSON (OpenAI's guide, "JSON mode")."""
    reply = http.post("/v1/chat/completions", json=body(CAT, FITS, stream, max_tokens=2))
    assert reply.status_code == 200
    choice = events(reply)[-1]["choices"][0] if stream else reply.json()["choices"][0]
    assert choice["finish_reason"] == "length"


def test_a_reply_with_calls_is_not_validated(http: httpx.Client) -> None:
    tool = {"type": "function", "function": {"name": "look"}}
    called = {"tool_calls": [{"name": "look", "arguments": "{}", "id": "call_1"}]}
    reply = http.post("/v1/chat/completions", json=body(CAT, ["Wait."], tools=[tool], script=called))
    choice = reply.json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Wait."


def test_the_prompt_requests_json_if_no_message_does(http: httpx.Client, upstream: Upstream, tag: str) -> None:
    http.post("/v1/chat/completions", json=body(OBJECT, ["{}"], script={"tag": tag})).raise_for_status()
    (record,) = upstream.wait(tag)
    assert "JSON" in text_of(record["body"]["messages"][0])


@pytest.mark.parametrize("format", [OBJECT, CAT], ids=["object", "schema"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_format_is_in_the_prompt_if_the_llm_refuses_the_field(
    http: httpx.Client, upstream: Upstream, tag: str, format: Any, stream: bool
) -> None:
    script = {"tag": tag, "reject": ["response_format"]}
    reply = http.post("/v1/chat/completions", json=body(format, FITS, stream, script=script))
    assert reply.status_code == 200, reply.text
    refused, asked = upstream.wait(tag, count=2)
    assert refused["body"]["response_format"] == format
    assert "response_format" not in asked["body"]
    texts = "".join(text_of(message) for message in asked["body"]["messages"])
    assert "JSON" in texts
    assert ('"pattern"' in texts) is (format is CAT)


def test_the_format_text_is_not_validated(client: OpenAI, upstream: Upstream, tag: str) -> None:
    completion = client.chat.completions.create(
        model="cheshire-cat",
        messages=[{"role": "user", "content": script(tag=tag, say="Plain.")}],
        response_format={"type": "text"},
    )
    assert completion.choices[0].message.content == "Plain."


@pytest.mark.parametrize(
    ("format", "param"),
    [
        ({"type": "xml"}, "response_format.type"),
        ({}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, "response_format.json_schema.name"),
        ({"type": "json_schema", "json_schema": {"name": "a b"}}, "response_format.json_schema.name"),
    ],
)
def test_an_invalid_format_is_refused(http: httpx.Client, format: Any, param: str) -> None:
    reply = http.post("/v1/chat/completions", json=body(format, ["{}"]))
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


NESTED: dict[str, Any] = {}
for _ in range(40):
    NESTED = {"properties": {"a": NESTED}}
DOUBLING = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"$ref": f"#/$defs/d{i + 1}"}]} for i in range(40)}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "cat"},
        NESTED,
        {"$ref": "#"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "http://127.0.0.1:1/schema"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"pattern": "("},
        {"patternProperties": {"(a+)+$": {}}},
        {"$ref": "#/$defs/d0", "$defs": {**DOUBLING, "d40": {"type": "string"}}},
        {"properties": {f"p{i}": {"type": "string"} for i in range(20_001)}},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)
def test_a_schema_that_cannot_be_checked_is_refused(http: httpx.Client, schema: Any) -> None:
    format = {"type": "json_schema", "json_schema": {"name": "odd", "schema": schema}}
    reply = http.post("/v1/chat/completions", json=body(format, ["{}"]))
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == ("response_format.json_schema.schema", "invalid_value")


def test_a_catastrophic_pattern_is_stopped(http: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"a": {"pattern": "^(a|aa)+$"}}}
    format = {"type": "json_schema", "json_schema": {"name": "odd", "schema": schema}}
    reply = http.post("/v1/chat/completions", json=body(format, [json.dumps({"a": "a" * 5000 + "b"})]))
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "invalid_model_output"
