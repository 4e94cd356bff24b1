"""Generated requests around each limit: the response is 200, or a 400 in OpenAI's form.

`GENERATED_CASES` is the number of requests for each test, by default 1000.
"""

import base64
import json
import os
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upstream import script

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()

odd = st.sampled_from([None, True, False, 0, -1, 1.5, "", "auto", [], {}, [{}], {"type": "function"}, "\ud800", "\0"])
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
                "schema": st.sampled_from([{}, {"type": "object"}, {"type": 7}, {"$ref": "#"}, {"pattern": "("}]) | odd,
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
    "logit_bias": st.dictionaries(st.sampled_from(["1", "50256", "x"]), st.sampled_from([-100, 100, 101]), max_size=2),
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

CASES = int(os.environ.get("GENERATED_CASES", "1000"))
PLAYED = settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SAID = {"role": "user", "content": script(say=["{", "}"])}


CODES = {
    "invalid_json",
    "invalid_value",
    "missing_required_parameter",
    "previous_response_not_found",
    "unsupported_parameter",
}


def check(
    http: httpx.Client, body: dict[str, Any], path: str = "/v1/chat/completions", kind: str = "chat.completion"
) -> None:
    reply = http.post(path, content=json.dumps(body))
    if reply.status_code == 200:
        is_stream = reply.headers["content-type"].startswith("text/event-stream")
        assert is_stream or reply.json()["object"] == kind
        assert '"error":{' not in reply.text
        return
    assert reply.status_code == 400, (reply.status_code, reply.text)
    error = reply.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] in CODES
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
def test_bodies_of_any_json(http: httpx.Client, body: dict[str, Any]) -> None:
    check(http, body)


tokens = st.lists(st.integers(-1, 100_300) | odd, max_size=3)
texts = st.text(max_size=5) | tokens | st.lists(st.text(max_size=5) | tokens | odd, max_size=3) | odd
OF_COMPLETIONS = {
    **{name: anything_goes[name] for name in ("temperature", "max_tokens", "stop", "n", "user", "stream_options")},
    "best_of": st.sampled_from([0, 1, 2]) | odd,
    "echo": odd,
    "logprobs": odd,
    "suffix": odd,
    "stream": odd,
}


@PLAYED
@given(prompt=texts | st.just(SAID["content"]), fields=st.fixed_dictionaries({}, optional=OF_COMPLETIONS))
def test_completions_of_any_json(http: httpx.Client, prompt: Any, fields: dict[str, Any]) -> None:
    body = {"model": "cheshire-cat", "prompt": prompt, **fields}
    check(http, body, "/v1/completions", "text_completion")


OF_EMBEDDINGS = {
    "encoding_format": st.sampled_from(["float", "base64", "int8"]) | odd,
    "dimensions": st.sampled_from([0, 1, 2**31, 10**30]) | odd,
    "user": anything_goes["user"],
}


@PLAYED
@given(input=texts, fields=st.fixed_dictionaries({}, optional=OF_EMBEDDINGS))
def test_embeddings_of_any_json(http: httpx.Client, input: Any, fields: dict[str, Any]) -> None:
    check(http, {"model": "cheshire-cat-embedder", "input": input, **fields}, "/v1/embeddings", "list")


OFTEN_TAKEN = settings(PLAYED, max_examples=CASES * 3 // 10)
"""For requests of which a good part is answered by the whole pipeline."""

chosen = st.sampled_from(["look", "nope"]).map(lambda name: {"type": "function", "name": name})
OF_RESPONSES: dict[str, st.SearchStrategy[Any]] = {
    **{name: FIELDS[name] for name in ("temperature", "top_p", "user", "service_tier", "store", "metadata")},
    "instructions": st.text(max_size=5),
    "max_output_tokens": FIELDS["max_tokens"],
    "parallel_tool_calls": st.booleans(),
    "reasoning": st.fixed_dictionaries({"effort": FIELDS["reasoning_effort"]}),
    "text": formats.map(lambda format: {"format": {**format, **format.get("json_schema", {})}}),
    "tools": st.lists(functions.map(lambda function: {"type": "function", **function}), max_size=2),
    "tool_choice": st.sampled_from(["none", "auto", "required", "always"])
    | chosen
    | st.lists(chosen, max_size=2).map(lambda some: {"type": "allowed_tools", "mode": "auto", "tools": some}),
    "truncation": st.sampled_from(["auto", "disabled", "always"]),
    "previous_response_id": st.sampled_from(["", "resp_0", "\0"]),
    "include": st.lists(st.sampled_from(["reasoning.encrypted_content", "message.output_text.logprobs"]), max_size=2),
    "background": st.booleans(),
    "stream": st.booleans(),
}
few_of_responses = st.sets(st.sampled_from([*OF_RESPONSES]), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: OF_RESPONSES[name] for name in sorted(names)})
)

content_of_items = (
    st.text(max_size=5)
    | st.lists(
        st.sampled_from(
            [
                {"type": "input_text", "text": "Hello"},
                {"type": "output_text", "text": "Hello", "annotations": []},
                {"type": "refusal", "refusal": "No."},
                {"type": "input_image", "image_url": PNG, "detail": "auto"},
            ]
        ),
        min_size=1,
        max_size=3,
    )
    | odd
)
one_item = st.fixed_dictionaries(
    {"role": st.sampled_from(["developer", "user", "assistant"]), "content": content_of_items},
    optional={"type": st.just("message"), "id": st.just("msg_1"), "phase": st.just("commentary")},
) | st.sampled_from([{"type": "reasoning", "id": "rs_1", "summary": []}, {"id": "msg_0"}, {"type": "dance"}, None])
CALLS = [{"type": "function_call", "call_id": f"call_{n}", "name": "look", "arguments": "{"} for n in range(2)]
RESULTS = [{"type": "function_call_output", "call_id": f"call_{n}", "output": "roses"} for n in range(2)]
some_items = st.lists(one_item, max_size=2) | st.permutations([*CALLS, *RESULTS]) | st.just([CALLS[0], RESULTS[0]])


@OFTEN_TAKEN
@given(fields=few_of_responses)
def test_values_of_responses_at_their_boundaries(http: httpx.Client, fields: dict[str, Any]) -> None:
    check(http, {"model": "cheshire-cat", "input": [SAID], **fields}, "/v1/responses", "response")


@PLAYED
@given(body=st.dictionaries(st.sampled_from(["input", "conversation", *OF_RESPONSES]), json_values, max_size=4))
def test_responses_to_any_json(http: httpx.Client, body: dict[str, Any]) -> None:
    check(http, {"model": "cheshire-cat", "input": [SAID], **body}, "/v1/responses", "response")


@OFTEN_TAKEN
@given(earlier=st.lists(some_items, max_size=3), last=st.sampled_from([[SAID], [SAID], []]), stream=st.booleans())
def test_items_in_any_order(http: httpx.Client, earlier: list[Any], last: list[Any], stream: bool) -> None:
    body = {
        "model": "cheshire-cat",
        "input": [item for some in [*earlier, last] for item in some],
        "stream": stream,
    }
    check(http, {**body, "user": "generated"}, "/v1/responses", "response")
