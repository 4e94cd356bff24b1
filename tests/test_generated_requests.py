"""A thousand requests around each boundary: an answer, or a 400 of OpenAI's form, and never anything else."""

import base64
import json
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upstream import script

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()

odd = st.sampled_from(
    [None, True, False, 0, -1, 1.5, "", "auto", [], {}, [{}], {"type": "function"}, "\ud800", "\0"]
)
json_values = st.recursive(
    odd | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)

# What a field may be, at its boundaries and just past them.
functions = st.fixed_dictionaries(
    {"name": st.sampled_from(["look", "a-b_C9", "a b", "", "x" * 64, "x" * 65])},
    optional={
        "description": st.text(max_size=5) | odd,
        "parameters": st.sampled_from([{}, {"type": "object", "properties": {"a": {"type": "string"}}}]) | odd,
        "strict": st.booleans() | odd,
    },
)
named = st.fixed_dictionaries(
    {"type": st.just("function"), "function": st.fixed_dictionaries({"name": st.sampled_from(["look", "nope"])})}
)
tools = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["function", "function", "web_search"]), "function": functions}),
    max_size=2,
)
formats = st.sampled_from([{"type": "text"}, {"type": "json_object"}, {"type": "xml"}]) | st.fixed_dictionaries(
    {
        "type": st.just("json_schema"),
        "json_schema": st.fixed_dictionaries(
            {"name": st.sampled_from(["cat", "a b", ""])},
            optional={
                "schema": st.sampled_from([{}, {"type": "object"}, {"type": 7}, {"$ref": "#"}, {"pattern": "("}])
                | odd,
                "strict": st.booleans() | odd,
            },
        ),
    }
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.sampled_from([0, 2, -0.001, 2.001, 1e308, 10**400]) | st.floats(-1, 3),
    "top_p": st.sampled_from([0, 1, -0.001, 1.001]),
    "presence_penalty": st.sampled_from([-2, 2, -2.01, 2.01]),
    "frequency_penalty": st.sampled_from([-2, 2, -2.01, 2.01]),
    "seed": st.sampled_from([0, -1, 2**63 - 1, 2**63, 10**30, 1.5]),
    "logit_bias": st.dictionaries(
        st.sampled_from(["1", "50256", "x"]), st.sampled_from([-100, 100, 101]), max_size=2
    ),
    "reasoning_effort": st.sampled_from(["none", "minimal", "low", "high", "extreme"]),
    "max_tokens": st.sampled_from([-2, -1, 0, 1, 2, 32000, 10**30]),
    "max_completion_tokens": st.sampled_from([-2, -1, 0, 1, 2, 32000, 10**30]),
    "stop": st.lists(st.sampled_from(["", " ", "a", "🐱"]), max_size=5) | st.text(max_size=2),
    "n": st.sampled_from([0, 1, 2]),
    "logprobs": st.booleans(),
    "top_logprobs": st.sampled_from([0, 1]),
    "user": st.text(max_size=5) | st.sampled_from(["u" * 512, "u" * 513]),
    "stream_options": st.sampled_from([{}, {"include_usage": True}, {"include_usage": "yes"}]),
    "modalities": st.sampled_from([["text"], ["text", "audio"], []]),
    "service_tier": st.sampled_from(["auto", "default", "gold"]),
    "response_format": formats,
    "tools": tools,
    "functions": st.lists(functions, max_size=2),
    "tool_choice": st.sampled_from(["none", "auto", "required", "always"]) | named,
    "function_call": st.sampled_from(["none", "auto", "required"]) | st.just({"name": "look"}),
    "parallel_tool_calls": st.booleans(),
    "store": st.booleans(),
    "metadata": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
}
anything_goes = {name: strategy | odd for name, strategy in FIELDS.items()}

parts = st.sampled_from(
    [
        {"type": "text", "text": "Hello"},
        {"type": "text"},
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/"}},
        {"type": "file", "file": {}},
        {"type": "dance"},
    ]
)
content = st.text(max_size=5) | st.lists(parts, max_size=3) | odd
called = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from(["call_1", "call_2", ""]), "type": st.just("function")},
        optional={"function": st.fixed_dictionaries({"name": st.just("look"), "arguments": st.text(max_size=3)})},
    ),
    max_size=2,
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "cat"])},
        optional={
            "content": content,
            "tool_calls": called,
            "tool_call_id": st.sampled_from(["call_1", "call_2"]),
            "name": st.just("look"),
        },
    ),
    max_size=4,
)

PLAYED = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SAID = {"role": "user", "content": script(say=["{", "}"])}


def check(http: httpx.Client, body: dict[str, Any]) -> None:
    reply = http.post("/v1/chat/completions", content=json.dumps(body))
    if reply.status_code == 200:
        is_stream = reply.headers["content-type"].startswith("text/event-stream")
        assert is_stream or reply.json()["object"] == "chat.completion"
        assert '"error"' not in reply.text
        return
    assert reply.status_code == 400, (reply.status_code, reply.text)
    error = reply.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] in {"invalid_value", "missing_required_parameter", "unsupported_parameter", "invalid_json"}
    assert reply.headers["x-request-id"]


@PLAYED
@given(fields=st.fixed_dictionaries({}, optional=FIELDS), stream=st.booleans())
def test_values_at_their_boundaries(http: httpx.Client, fields: dict[str, Any], stream: bool) -> None:
    check(http, {"model": "cheshire-cat", "messages": [SAID], "stream": stream, **fields})


@PLAYED
@given(fields=st.fixed_dictionaries({}, optional=anything_goes), stream=odd)
def test_values_of_other_types(http: httpx.Client, fields: dict[str, Any], stream: Any) -> None:
    check(http, {"model": "cheshire-cat", "messages": [SAID], "stream": stream, **fields})


@PLAYED
@given(earlier=messages, last=st.sampled_from([[SAID], []]))
def test_conversations_in_any_order(http: httpx.Client, earlier: list[Any], last: list[Any]) -> None:
    check(http, {"model": "cheshire-cat", "messages": [*earlier, *last]})


@PLAYED
@given(body=st.dictionaries(st.sampled_from(["model", "messages", *FIELDS]), json_values, max_size=4))
def test_bodies_of_anything(http: httpx.Client, body: dict[str, Any]) -> None:
    check(http, body)
