"""Replies are as OpenAI publishes them, and the libraries that people use read them.

What is published is told by the types of the official SDK, always, and by OpenAI's OpenAPI document when
`OPENAI_OPENAPI` is the path of one (github.com/openai/openai-openapi). Responses are checked against the document of
Open Responses, too, when `open-responses.json` lies beside it (its `openapi.json`, github.com/openresponses).
"""

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import httpx
import pytest
from asking import chat_body
from host import KEY, WHICH, Cat
from openai import OpenAI, pydantic_function_tool
from openai.types import Completion, CreateEmbeddingResponse, ErrorObject, Model
from openai.types.admin.organization import UsageCompletionsResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseItem, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from upstream import Upstream, script

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"

Json: TypeAlias = dict[str, Any]
Check: TypeAlias = Callable[[str, Any], None]


def has_types(name: str, value: Any) -> None:
    """Nothing is missing, nothing is of another type, and nothing stands there that OpenAI does not publish."""
    if name == "ErrorResponse":
        assert set(value) == {"error"}
        has_only_published_fields(ErrorObject.model_validate_json(json.dumps(value["error"]), strict=True))
    elif name == "ListModelsResponse":
        assert set(value) == {"object", "data"}
        assert value["object"] == "list"
        for model in value["data"]:
            has_types("Model", model)
    elif name == "ResponseItemList":
        assert set(value) == {"object", "data", "first_id", "last_id", "has_more"}
        assert (value["object"], type(value["has_more"])) == ("list", bool)
        assert [value["first_id"], value["last_id"]] == [value["data"][place]["id"] for place in (0, -1)]
        for item in value["data"]:
            has_types("ItemResource", item)
    else:
        has_only_published_fields(adapter_for(name).validate_json(json.dumps(value), strict=True))


SDK_TYPES: Json = {
    "Model": Model,
    "CreateCompletionResponse": Completion,
    "CreateEmbeddingResponse": CreateEmbeddingResponse,
    "CreateChatCompletionResponse": ChatCompletion,
    "CreateChatCompletionStreamResponse": ChatCompletionChunk,
    "Response": Response,
    "ResponseStreamEvent": ResponseStreamEvent,
    "ItemResource": ResponseItem,
    "UsageResponse": UsageCompletionsResponse,
}
"""By the names that the OpenAPI document gives them."""


@cache
def adapter_for(name: str) -> TypeAdapter[Any]:
    """The adapter of one of `SDK_TYPES`. To make that of all events takes some tenths of a second."""
    return TypeAdapter(SDK_TYPES[name])


MORE_PUBLISHED: dict[str, set[str]] = {
    # The OpenAPI document requires it, the SDK's type has not got it.
    "ResponseFunctionCallArgumentsDoneEvent": {"name"},
    # OpenAI sends the first: in the examples of its reference, and wherever a response is on record. Open Responses
    # requires the others.
    "Response": {"store", "frequency_penalty", "presence_penalty"},
    # OpenAI's form has no field for them.
    "DataResultOrganizationUsageCompletionsResult": {"output_reasoning_tokens"},
}


def has_only_published_fields(value: Any) -> None:
    if isinstance(value, BaseModel):
        name = type(value).__name__
        assert {*(value.model_extra or {})} <= MORE_PUBLISHED.get(name, set()), f"{name}: {value.model_extra}"
        value = {**dict(value), **(value.model_extra or {})}
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        has_only_published_fields(item)


class Document:
    """OpenAI's OpenAPI document, its schemas as JSON Schema."""

    def __init__(self, path: Path) -> None:
        self._validators: dict[str, Any] = {}
        text = path.read_text("utf-8")
        if path.suffix == ".json":
            loaded = json.loads(text)
        else:
            yaml = pytest.importorskip("yaml")
            loaded = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self._components = as_json_schema(loaded["components"])

    def has(self, name: str, value: Any) -> None:
        if name == "ResponseStreamEvent" and "response" in value:
            value = {**value, "response": without_nulls(value["response"])}
        if name == "Response":
            value = without_nulls(value)
        self.validate(name, value)

    def validate(self, name: str, value: Any) -> None:
        if name not in self._validators:
            schema = {"$ref": f"#/components/schemas/{name}", "components": self._components}
            self._validators[name] = pytest.importorskip("jsonschema").Draft202012Validator(schema)
        problems = [f"{error.json_path}: {error.message}" for error in self._validators[name].iter_errors(value)]
        assert not problems, f"{name}: {problems} in {value}"


def without_nulls(response: Json) -> Json:
    """Without the null fields for which OpenAI's document has no word, and which OpenAI sends all the same: the usage
    before the end, and the description of a format."""
    format = response["text"]["format"]
    if format.get("description", "") is None:
        format = {name: value for name, value in format.items() if name != "description"}
    response = {**response, "text": {**response["text"], "format": format}}
    return {name: value for name, value in response.items() if name != "usage" or value is not None}


class OpenResponses(Document):
    """The document of Open Responses. It says more about responses than OpenAI's, and nothing about anything else."""

    def has(self, name: str, value: Any) -> None:
        if name == "ResponseStreamEvent":
            value = {**value, "response": without_schema(value["response"])} if "response" in value else value
            self.validate(self._event_name(value["type"]), value)
        elif name == "Response":
            self.validate("ResponseResource", without_schema(value))
        elif name == "ResponseItemList":
            for item in value["data"]:
                self.validate("ItemField", item)
        elif name == "CompactResource":
            self.validate(name, value)
        else:
            has_types(name, value)

    def _event_name(self, type: str) -> str:
        names = (
            name
            for name, schema in self._components["schemas"].items()
            if name.endswith("StreamingEvent") and schema["properties"]["type"]["enum"] == [type]
        )
        return next(names)


def without_schema(response: Json) -> Json:
    """The document allows no JSON schema in the format but null, which the types of OpenAI's SDK do not."""
    format = response["text"]["format"]
    if format["type"] == "json_schema":
        assert isinstance(format["schema"], dict)
        format = {**format, "schema": None}
    return {**response, "text": {**response["text"], "format": format}}


def as_json_schema(node: Any) -> Any:
    """OpenAPI's word for "or null" in those of JSON Schema; here and there even the document of 3.1 has it."""
    if isinstance(node, list):
        return [as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {name: as_json_schema(item) for name, item in node.items() if name != "nullable"}
    return {"anyOf": [schema, {"type": "null"}]} if node.get("nullable") is True else schema


@pytest.fixture(scope="session")
def document() -> Document:
    path = os.environ.get("OPENAI_OPENAPI")
    if not path:
        pytest.skip("OPENAI_OPENAPI names no file")
    return Document(Path(path))


@pytest.fixture(scope="session")
def open_responses() -> OpenResponses:
    path = Path(os.environ.get("OPENAI_OPENAPI", ".")).parent / "open-responses.json"
    if not path.is_file():
        pytest.skip("no open-responses.json beside the file that OPENAI_OPENAPI names")
    return OpenResponses(path)


@pytest.fixture(params=["the SDK's types", "the OpenAPI document"])
def check(request: pytest.FixtureRequest) -> Check:
    """`check(name, value)`: the value is what OpenAI publishes under the name."""
    if request.param == "the SDK's types":
        return has_types
    has: Check = request.getfixturevalue("document").has
    return has


@pytest.fixture(params=["the SDK's types", "the OpenAPI document", "Open Responses"])
def check_response(request: pytest.FixtureRequest) -> Check:
    """The same for what belongs to responses, which Open Responses publishes as well."""
    if request.param == "the SDK's types":
        return has_types
    fixture = "document" if request.param == "the OpenAPI document" else "open_responses"
    has: Check = request.getfixturevalue(fixture).has
    return has


def function(name: str, **properties: str) -> Json:
    fields = {field: {"type": kind} for field, kind in properties.items()}
    return {
        "name": name,
        "parameters": {
            "type": "object",
            "properties": fields,
            "required": [*fields],
            "additionalProperties": False,
        },
    }


def tool(name: str, **properties: str) -> Json:
    return {"type": "function", "function": function(name, **properties)}


TIME, WEATHER = tool("get_time", city="string"), tool("get_weather", city="string")
CALLS = [
    {"name": "get_time", "arguments": {"city": "Rome"}},
    {"name": "get_weather", "arguments": {"city": "Oslo"}},
]
SCHEMA = {"name": "cat", "strict": True, "schema": function("", legs="integer")["parameters"]}
REPORTED = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2, "accepted_prediction_tokens": 0},
}


@dataclass(frozen=True)
class Case:
    """`says`: the script of the LLM. `fields`: the rest of the request."""

    says: Json
    fields: Json
    finish_reason: str

    def body(self, **fields: Any) -> Json:
        question = {"role": "user", "content": script(**self.says)}
        return {"model": "cheshire-cat", "messages": [question], **self.fields, **fields}


CASES = {
    "text": Case({"say": ["It is ", "tea time."]}, {}, "stop"),
    "empty": Case({"say": ""}, {}, "stop"),
    "length": Case({"say": ["one ", "two ", "three ", "four ", "five"]}, {"max_completion_tokens": 2}, "length"),
    "length of the LLM": Case({"say": ["one ", "two"], "finish_reason": "length"}, {}, "length"),
    "stop": Case({"say": ["one ", "two ", "three"]}, {"stop": ["two"]}, "stop"),
    "content filter": Case({"say": ["one "], "finish_reason": "content_filter"}, {}, "content_filter"),
    "usage of the LLM": Case({"say": ["one ", "two"], "reported_usage": REPORTED}, {}, "stop"),
    "no fingerprint": Case({"say": ["one ", "two"], "system_fingerprint": None}, {}, "stop"),
    "no usage": Case({"say": ["one ", "two"], "usage": False}, {}, "stop"),
    "call": Case({"tool_calls": CALLS[:1]}, {"tools": [TIME]}, "tool_calls"),
    "two calls": Case({"tool_calls": CALLS}, {"tools": [TIME, WEATHER]}, "tool_calls"),
    "text and a call": Case({"say": ["Well, ", "wait."], "tool_calls": CALLS[:1]}, {"tools": [TIME]}, "tool_calls"),
    "legacy call": Case({"tool_calls": CALLS[:1]}, {"functions": [TIME["function"]]}, "function_call"),
    "tools without a call": Case({"say": ["Who ", "knows?"]}, {"tools": [TIME, WEATHER]}, "stop"),
    "JSON object": Case({"say": ['{"legs"', ": 4}"]}, {"response_format": {"type": "json_object"}}, "stop"),
    "JSON schema": Case(
        {"say": ['{"legs"', ": 4}"]}, {"response_format": {"type": "json_schema", "json_schema": SCHEMA}}, "stop"
    ),
    "refusal": Case({"refusal": ["I had ", "rather not."]}, {}, "stop"),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_a_reply_is_as_published(http: httpx.Client, check: Check, case: Case) -> None:
    reply = http.post(CHAT, json=case.body())
    assert reply.status_code == 200, reply.text
    check("CreateChatCompletionResponse", reply.json())
    (choice,) = reply.json()["choices"]
    assert choice["finish_reason"] == case.finish_reason


def events(reply: httpx.Response) -> Iterator[Json]:
    """The data of a stream's events, which end with [DONE]."""
    lines = [line for line in reply.text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "data: [DONE]"
    return (json.loads(line.removeprefix("data: ")) for line in lines)


@pytest.mark.parametrize("with_usage", [False, True])
def test_each_chunk_is_as_published(http: httpx.Client, check: Check, case: Case, with_usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if with_usage else {}
    reply = http.post(CHAT, json=case.body(stream=True, **options))
    assert reply.status_code == 200, reply.text
    chunks = [*events(reply)]
    for chunk in chunks:
        check("CreateChatCompletionStreamResponse", chunk)

    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    if with_usage:
        last = chunks.pop()
        assert last["choices"] == []
        assert last["usage"]["total_tokens"] >= 0
        assert all(chunk["usage"] is None for chunk in chunks)
    else:
        assert not any(chunk.get("usage") for chunk in chunks)
    assert all(len(chunk["choices"]) == 1 for chunk in chunks)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert not any("role" in chunk["choices"][0]["delta"] for chunk in chunks[1:])
    *earlier, ended = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert (ended, {*earlier}) == (case.finish_reason, {None})
    assert chunks[-1]["choices"][0]["delta"] == {}


def test_a_stream_adds_up_to_the_reply(client: OpenAI, http: httpx.Client, case: Case) -> None:
    whole = http.post(CHAT, json=case.body()).json()["choices"][0]
    chunks = [*events(http.post(CHAT, json=case.body(stream=True)))]
    added: Json = {"role": "assistant", "content": "", "refusal": ""}
    calls: dict[int, Json] = {}
    for delta in (chunk["choices"][0]["delta"] for chunk in chunks):
        for name in ("content", "refusal"):
            added[name] += delta.get(name) or ""
        for piece in delta.get("tool_calls", []):
            call = calls.setdefault(piece["index"], {"function": {"name": "", "arguments": ""}})
            call["type"] = piece.get("type", call.get("type"))
            for name, value in piece["function"].items():
                call["function"][name] += value
        for name, value in (delta.get("function_call") or {}).items():
            added.setdefault("function_call", {"name": "", "arguments": ""})[name] += value

    message = whole["message"]
    assert added["content"] == (message["content"] or "")
    assert added["refusal"] == (message["refusal"] or "")
    assert added.get("function_call") == message.get("function_call")
    without_ids = [{name: call[name] for name in ("type", "function")} for call in message.get("tool_calls") or []]
    assert [calls[index] for index in sorted(calls)] == without_ids


def test_a_message_with_nothing_but_calls_has_no_content(http: httpx.Client) -> None:
    message = http.post(CHAT, json=CASES["two calls"].body()).json()["choices"][0]["message"]
    assert message["content"] is None
    assert len({call["id"] for call in message["tool_calls"]}) == 2
    legacy = http.post(CHAT, json=CASES["legacy call"].body()).json()["choices"][0]["message"]
    assert legacy["content"] is None
    assert "tool_calls" not in legacy


def test_a_refusal_is_no_content(http: httpx.Client) -> None:
    message = http.post(CHAT, json=CASES["refusal"].body()).json()["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "I had rather not.")


OF_COMPLETIONS = ("text", "empty", "length of the LLM", "content filter", "usage of the LLM", "no usage", "refusal")


@pytest.mark.parametrize("name", OF_COMPLETIONS)
def test_a_completion_is_as_published(http: httpx.Client, check: Check, name: str) -> None:
    body = {"model": "cheshire-cat", "prompt": [script(**CASES[name].says), "hi"]}
    completion = http.post("/v1/completions", json=body).json()
    check("CreateCompletionResponse", completion)
    assert [choice["finish_reason"] for choice in completion["choices"]] == [CASES[name].finish_reason, "stop"]


@pytest.mark.parametrize("name", OF_COMPLETIONS)
def test_each_chunk_of_a_completion_is_as_published(http: httpx.Client, check: Check, name: str) -> None:
    """Only `finish_reason` has no null in what is published; in the chunks that OpenAI sends it has."""
    body = {"model": "cheshire-cat", "prompt": [script(**CASES[name].says), "hi"], "stream": True}
    chunks = [*events(http.post("/v1/completions", json={**body, "stream_options": {"include_usage": True}}))]
    usage = chunks.pop()
    check("CreateCompletionResponse", usage)
    assert usage["choices"] == []
    ends = []
    for chunk in chunks:
        assert chunk.pop("usage") is None
        (choice,) = chunk["choices"]
        if choice["finish_reason"] is None:
            choice["finish_reason"] = "stop"
        else:
            ends.append((choice["index"], choice["finish_reason"], choice["text"]))
        check("CreateCompletionResponse", chunk)
    assert ends == [(0, CASES[name].finish_reason, ""), (1, "stop", "")]


def test_embeddings_are_as_published(http: httpx.Client, check: Check) -> None:
    body = {"model": "cheshire-cat-embedder", "input": ["one", "two"], "encoding_format": "float"}
    check("CreateEmbeddingResponse", http.post("/v1/embeddings", json=body).json())


ERRORS: dict[str, tuple[int, Json]] = {
    "no JSON": (400, {"content": b"{"}),
    "no messages": (400, {"json": {"model": "cheshire-cat", "messages": []}}),
    "a wrong type": (400, {"json": {"model": "cheshire-cat", "messages": [{"role": "user", "content": 1}]}}),
    "a result of no call": (
        400,
        {"json": {"model": "cheshire-cat", "messages": [{"role": "tool", "tool_call_id": "1", "content": "5"}]}},
    ),
    "a tool that is not there": (400, {"json": CASES["call"].body(tool_choice={**WEATHER, "type": "function"})}),
    "several completions": (400, {"json": CASES["text"].body(n=2)}),
    "no key": (401, {"json": CASES["text"].body(), "headers": {"Authorization": "Bearer nobody"}}),
    "no model": (404, {"json": CASES["text"].body(model="dodo")}),
    "the LLM fails": (502, {"json": Case({"fail_status": 500}, {}, "").body()}),
}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_is_as_published(http: httpx.Client, check: Check, error: str) -> None:
    status, request = ERRORS[error]
    reply = http.post(CHAT, **request)
    assert reply.status_code == status, reply.text
    check("ErrorResponse", reply.json())


def test_an_error_in_mid_stream_is_as_published(http: httpx.Client, check: Check) -> None:
    case = Case({"say": ["one ", "two "], "error_after": 1}, {}, "")
    *chunks, error = events(http.post(CHAT, json=case.body(stream=True)))
    for chunk in chunks:
        check("CreateChatCompletionStreamResponse", chunk)
    check("ErrorResponse", error)


@pytest.mark.parametrize("kind", ["completions", "embeddings"])
def test_usage_is_as_published(http: httpx.Client, check: Check, somebody: str, kind: str) -> None:
    http.post("/v1/chat/completions", json=chat_body(script("hi", say="ok"), user=somebody)).raise_for_status()
    embedded = {"model": "cheshire-cat-embedder", "input": "hi", "user": somebody}
    http.post("/v1/embeddings", json=embedded).raise_for_status()
    fields = ["project_id", "user_id", "api_key_id", "model"]
    query = {"start_time": int(time.time()) - 24 * 60 * 60, "user_ids": somebody, "group_by": fields}
    page = http.get(f"/v1/organization/usage/{kind}", params=query).raise_for_status().json()
    assert [len(bucket["results"]) for bucket in page["data"]] == [0, 1]
    check("UsageResponse", page)


def test_models_are_as_published(http: httpx.Client, check: Check) -> None:
    models = http.get("/v1/models").json()
    check("ListModelsResponse", models)
    for model in models["data"]:
        check("Model", http.get(f"/v1/models/{model['id']}").json())
    unknown = http.get("/v1/models/dodo")
    assert unknown.status_code == 404
    check("ErrorResponse", unknown.json())


@dataclass(frozen=True)
class ResponseCase:
    """`says`, `fields`: as in `Case`. `output`: the types of the items, those of a message's parts with it."""

    says: Json
    fields: Json
    output: list[str]
    status: str = "completed"

    def body(self, **fields: Any) -> Json:
        return {"model": "cheshire-cat", "input": script(**self.says), **self.fields, **fields}


TEXT = "message output_text"
TIME_TOOL, WEATHER_TOOL = ({"type": "function", **one["function"]} for one in (TIME, WEATHER))
SCHEMA_FORMAT = {"type": "json_schema", **SCHEMA}
PICTURE = "data:image/png;base64,iVBORw0KGgo="
ITEMS: list[Json] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}]},
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"role": "assistant", "content": [{"type": "output_text", "text": "Well.", "annotations": []}]},
    {"type": "function_call", "call_id": "call_1", "name": "get_time", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "five"}]},
    {"role": "user", "content": script(say="Ah.")},
]
EVERYTHING: Json = {
    "instructions": "Be kind.",
    "max_output_tokens": 50,
    "temperature": 0.5,
    "top_p": 0.9,
    "presence_penalty": 0.1,
    "frequency_penalty": -0.1,
    "max_tool_calls": 3,
    "prompt_cache_key": "key",
    "prompt_cache_retention": "in-memory",
    "top_logprobs": 0,
    "metadata": {"colour": "red"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "truncation": "auto",
    "user": "alice",
    "safety_identifier": "alice",
    "service_tier": "auto",
    "parallel_tool_calls": False,
    "store": False,
    "tools": [TIME_TOOL, {"type": "function", "name": "bare"}],
    "tool_choice": {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "get_time"}],
    },
    "text": {"format": {"type": "text"}, "verbosity": "low"},
    "include": ["reasoning.encrypted_content"],
}

PATCH_TOOL: Json = {"type": "custom", "name": "patch", "description": "Changes files."}
NAMESPACE: Json = {
    "type": "namespace",
    "name": "files",
    "description": "All about files.",
    "tools": [
        {**PATCH_TOOL, "format": {"type": "grammar", "syntax": "regex", "definition": ".*"}},
        {**TIME_TOOL, "defer_loading": True},
    ],
}
ALLOWED: list[Json] = [{"type": "custom", "name": "patch"}, {"type": "namespace", "name": "files"}]
RESPONSE_CASES = {
    "text": ResponseCase({"say": ["It is ", "tea time."]}, {}, [TEXT]),
    "empty": ResponseCase({"say": ""}, {}, [TEXT]),
    "cut": ResponseCase({"say": ["one ", "two ", "three"]}, {"max_output_tokens": 2}, [TEXT], "incomplete"),
    "content filter": ResponseCase({"say": ["one "], "finish_reason": "content_filter"}, {}, [TEXT], "incomplete"),
    "usage of the LLM": ResponseCase({"say": ["one ", "two"], "reported_usage": REPORTED}, {}, [TEXT]),
    "no usage": ResponseCase({"say": ["one ", "two"], "usage": False}, {}, [TEXT]),
    "call": ResponseCase({"tool_calls": CALLS[:1]}, {"tools": [TIME_TOOL]}, ["function_call"]),
    "text and two calls": ResponseCase(
        {"say": ["Well, ", "wait."], "tool_calls": CALLS},
        {"tools": [TIME_TOOL, WEATHER_TOOL], "tool_choice": "required"},
        [TEXT, "function_call", "function_call"],
    ),
    "a named function": ResponseCase(
        {"tool_calls": CALLS[1:]},
        {"tools": [TIME_TOOL, WEATHER_TOOL], "tool_choice": {"type": "function", "name": "get_weather"}},
        ["function_call"],
    ),
    "JSON object": ResponseCase({"say": ['{"legs"', ": 4}"]}, {"text": {"format": {"type": "json_object"}}}, [TEXT]),
    "JSON schema": ResponseCase({"say": ['{"legs"', ": 4}"]}, {"text": {"format": SCHEMA_FORMAT}}, [TEXT]),
    "refusal": ResponseCase({"refusal": ["I had ", "rather not."]}, {}, ["message refusal"]),
    "text and a refusal": ResponseCase({"say": "Hm. ", "refusal": "No."}, {}, ["message output_text refusal"]),
    "everything": ResponseCase({"say": ["It is ", "tea time."]}, EVERYTHING, [TEXT]),
    "items": ResponseCase({}, {"input": ITEMS}, [TEXT]),
}


@pytest.fixture(params=RESPONSE_CASES)
def response_case(request: pytest.FixtureRequest) -> ResponseCase:
    return RESPONSE_CASES[request.param]


def kinds_of(output: list[Json]) -> list[str]:
    return [" ".join([item["type"], *(part["type"] for part in item.get("content", []))]) for item in output]


def response_events(reply: httpx.Response) -> list[Json]:
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines]


def test_a_response_is_as_published(http: httpx.Client, check_response: Check, response_case: ResponseCase) -> None:
    reply = http.post(RESPONSES, json=response_case.body())
    assert reply.status_code == 200, reply.text
    made = reply.json()
    check_response("Response", made)
    assert (kinds_of(made["output"]), made["status"]) == (response_case.output, response_case.status)
    if made["store"]:
        check_response("Response", http.get(f"{RESPONSES}/{made['id']}", params={"user": made.get("user")}).json())


def test_each_event_is_as_published(http: httpx.Client, check_response: Check, response_case: ResponseCase) -> None:
    reply = http.post(RESPONSES, json=response_case.body(stream=True))
    assert reply.status_code == 200, reply.text
    told = response_events(reply)
    for event in told:
        check_response("ResponseStreamEvent", event)
    last = told[-1]
    assert last["type"] == f"response.{response_case.status}"
    assert (kinds_of(last["response"]["output"]), last["response"]["status"]) == (
        response_case.output,
        response_case.status,
    )


OTHER_TOOLS = {
    "custom calls": ResponseCase(
        {"tool_calls": [{"name": "patch", "arguments": {"input": "x y"}}, {"name": "files__patch", "arguments": "x"}]},
        {"tools": [PATCH_TOOL, NAMESPACE], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": ALLOWED}},
        ["custom_tool_call", "custom_tool_call"],
    ),
    "a call in a namespace": ResponseCase(
        {"tool_calls": [{"name": "files__get_time", "arguments": "{}"}]},
        {"tools": [TIME_TOOL, NAMESPACE], "tool_choice": {"type": "custom", "name": "patch"}},
        ["function_call"],
    ),
    "a search for tools": ResponseCase(
        {"tool_calls": [{"name": "tool_search", "arguments": {"query": "files"}}]},
        {"tools": [{"type": "tool_search", "execution": "client", "description": "Finds.", "parameters": {}}]},
        ["tool_search_call"],
    ),
    "tools that are left out": ResponseCase({"say": "ok"}, {"tools": [{"type": "web_search"}, TIME_TOOL]}, [TEXT]),
}
"""Open Responses has functions only, and the SDK's types lack the status of a custom call, which OpenAI sends."""


@pytest.mark.parametrize("name", OTHER_TOOLS)
def test_calls_of_other_tools_are_as_published(http: httpx.Client, document: Document, name: str) -> None:
    case = OTHER_TOOLS[name]
    made = http.post(RESPONSES, json=case.body()).json()
    document.has("Response", made)
    document.has("Response", http.get(f"{RESPONSES}/{made['id']}").json())
    told = response_events(http.post(RESPONSES, json=case.body(stream=True)))
    for event in told:
        document.has("ResponseStreamEvent", event)
    for response in (made, told[-1]["response"]):
        assert (kinds_of(response["output"]), response["status"]) == (case.output, case.status)


def test_custom_calls_in_chat_are_as_published(http: httpx.Client, document: Document) -> None:
    tools = [{"type": "custom", "custom": {"name": "patch"}}, TIME, {"type": "web_search"}]
    calls = [{"name": "patch", "arguments": {"input": "x y"}}, *CALLS[:1]]
    body = Case({"tool_calls": calls}, {"tools": tools}, "tool_calls").body()
    completion = http.post(CHAT, json=body).json()
    document.has("CreateChatCompletionResponse", completion)
    assert [call["type"] for call in completion["choices"][0]["message"]["tool_calls"]] == ["custom", "function"]


def test_items_of_other_tools_are_listed_as_published(http: httpx.Client, document: Document) -> None:
    shell = {"type": "shell_call", "call_id": "call_1", "action": {"commands": ["ls"], "timeout_ms": None}}
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "x"},
    }
    code = {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "status": "completed",
        "container_id": "cntr_1",
        "code": None,
        "outputs": None,
    }
    custom = {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "x"}
    patched = {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"}
    items = [search, code, custom, patched, {"role": "user", "content": script(say="Ah.")}]
    made = http.post(RESPONSES, json={"model": "cheshire-cat", "input": [*items, shell]}).json()
    assert made["status"] == "completed"
    made = http.post(RESPONSES, json={"model": "cheshire-cat", "input": items}).json()
    listed = http.get(f"{RESPONSES}/{made['id']}/input_items").json()
    document.has("ResponseItemList", listed)
    assert len(listed["data"]) == len(items)


def test_events_that_tell_of_steps_are_as_published(
    http: httpx.Client, check_response: Check, settings: Callable[..., None]
) -> None:
    settings(show_steps=True)
    told = response_events(http.post(RESPONSES, json={**asking_the_cats_own_tool(), "stream": True}))
    for event in told:
        check_response("ResponseStreamEvent", event)
    assert {event["type"] for event in told} >= {"response.reasoning_summary_text.delta"}
    check_response("Response", http.post(RESPONSES, json=asking_the_cats_own_tool()).json())


def asking_the_cats_own_tool() -> Json:
    if WHICH == "2":
        turns = [{"tool_calls": [{"name": "clock", "arguments": {}}]}, {"say": "Tea time."}]
        return {"model": "cheshire-cat:alice", "input": script(turns=turns)}
    used = '{"action": "bell", "action_input": "loud"}'
    return {"model": "cheshire-cat", "input": script("[procedures] ring the bell in wonderland", say=used)}


def test_a_failed_response_is_as_published(http: httpx.Client, check_response: Check) -> None:
    body = {"model": "cheshire-cat", "input": script(say=["one ", "two"], break_after=1), "stream": True}
    told = response_events(http.post(RESPONSES, json=body))
    for event in told:
        check_response("ResponseStreamEvent", event)
    last = told[-1]
    assert last["type"] == "response.failed"
    assert (last["response"]["status"], last["response"]["store"]) == ("failed", False)
    (message,) = last["response"]["output"]
    assert (message["status"], message["content"][0]["text"]) == ("incomplete", "one ")


def test_what_a_response_answers_is_listed_as_published(http: httpx.Client, check_response: Check) -> None:
    made = http.post(RESPONSES, json=RESPONSE_CASES["items"].body()).json()
    listed = http.get(f"{RESPONSES}/{made['id']}/input_items", params={"order": "asc"}).json()
    check_response("ResponseItemList", listed)
    assert kinds_of(listed["data"]) == [
        "message input_text",
        "message input_image",
        "reasoning",
        "message output_text",
        "function_call",
        "function_call_output",
        "message input_text",
    ]


def test_the_phase_of_a_message_is_given_back(http: httpx.Client) -> None:
    items = [
        {"role": "assistant", "content": "Let me see.", "phase": "commentary"},
        {"role": "assistant", "content": "Four.", "phase": "final_answer"},
        {"role": "user", "content": "Sure?", "phase": "final_answer"},
    ]
    made = http.post(RESPONSES, json={"model": "cheshire-cat", "input": items}).json()
    listed = http.get(f"{RESPONSES}/{made['id']}/input_items", params={"order": "asc"}).json()["data"]
    assert [item.get("phase") for item in listed] == ["commentary", "final_answer", None]


def test_what_says_that_a_response_is_deleted(http: httpx.Client) -> None:
    """OpenAI's reference shows it; its document has no schema of it, and the SDK does not read it."""
    made = http.post(RESPONSES, json=RESPONSE_CASES["text"].body()).json()
    reply = http.delete(f"{RESPONSES}/{made['id']}")
    assert reply.json() == {"id": made["id"], "object": "response", "deleted": True}


def test_events_of_a_compaction_are_as_published(http: httpx.Client, check_response: Check) -> None:
    items = [{"role": "user", "content": "We launch on Tuesday."}, {"type": "compaction_trigger"}]
    told = response_events(http.post(RESPONSES, json={"model": "cheshire-cat", "input": items, "stream": True}))
    for event in told:
        check_response("ResponseStreamEvent", event)
    last = told[-1]["response"]
    assert kinds_of(last["output"]) == ["compaction"]
    check_response("Response", http.get(f"{RESPONSES}/{last['id']}").json())


@pytest.mark.parametrize("published", ["document", "open_responses"])
def test_a_compaction_is_as_published(http: httpx.Client, request: pytest.FixtureRequest, published: str) -> None:
    """The SDK's type has no user's messages, which OpenAI's document has in its example."""
    items = [{"role": "user", "content": "We launch on Tuesday."}, {"role": "assistant", "content": "Noted."}]
    compacted = http.post(f"{RESPONSES}/compact", json={"model": "cheshire-cat", "input": items}).json()
    request.getfixturevalue(published).has("CompactResource", compacted)
    assert kinds_of(compacted["output"]) == ["message input_text", "compaction"]


def test_a_count_of_tokens_is_as_published(http: httpx.Client, document: Document) -> None:
    counted = http.post(f"{RESPONSES}/input_tokens", json={"model": "cheshire-cat", "input": "Hello!"}).json()
    document.has("TokenCountsResource", counted)


def test_a_cancelled_response_is_as_published(http: httpx.Client, check_response: Check) -> None:
    body = {"model": "cheshire-cat", "input": script(say=["tick "], repeat=100, delay=0.05), "stream": True}
    events = []
    with http.stream("POST", RESPONSES, json=body) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: ")))
                if events[-1]["type"] == "response.output_text.delta" and len(events) < 8:
                    response_id = events[0]["response"]["id"]
                    check_response("Response", http.get(f"{RESPONSES}/{response_id}").json())
                    check_response("Response", http.post(f"{RESPONSES}/{response_id}/cancel").json())
    for event in events:
        check_response("ResponseStreamEvent", event)
    assert events[-1]["response"]["status"] == "cancelled"
    check_response("Response", http.get(f"{RESPONSES}/{events[0]['response']['id']}").json())


def test_a_response_repeats_the_parameters(http: httpx.Client) -> None:
    made = http.post(RESPONSES, json={"model": "cheshire-cat", "input": "x", **EVERYTHING}).json()
    repeated = {name: value for name, value in EVERYTHING.items() if name not in NOT_REPEATED}
    assert {name: made[name] for name in repeated} == {
        **repeated,
        "service_tier": "default",
        "prompt_cache_retention": "in_memory",
        "tools": [{"description": None, "parameters": None, "strict": None, **tool} for tool in EVERYTHING["tools"]],
    }
    bare = http.post(RESPONSES, json={"model": "cheshire-cat", "input": "x"}).json()
    assert {name: bare[name] for name in DEFAULTS} == DEFAULTS


def test_a_response_of_an_earlier_version_is_as_published(http: httpx.Client, cat: Cat, check_response: Check) -> None:
    """It was stored without some of the fields, and with null for numbers."""
    body = RESPONSE_CASES["JSON schema"].body()
    made = http.post(RESPONSES, json=body).json()
    stored_then = {name: value for name, value in made.items() if name not in NEW_FIELDS}
    stored_then |= {"temperature": None, "top_p": None, "text": {"format": SCHEMA_FORMAT}}
    file = "data/core/core.db" if WHICH == "2" else "cat/data/openai_api.db"
    with closing(sqlite3.connect(cat.home / file)) as database, database:
        query = "SELECT value FROM openai_api_rows WHERE collection = 'responses' AND key = ?"
        ((value,),) = database.execute(query, [made["id"]]).fetchall()
        changed = json.dumps({**json.loads(value), "response": stored_then})
        database.execute("UPDATE openai_api_rows SET value = ? WHERE key = ?", [changed, made["id"]])
    read = http.get(f"{RESPONSES}/{made['id']}").json()
    check_response("Response", read)
    assert {**read, "completed_at": made["completed_at"]} == made
    assert read["completed_at"] == made["created_at"]


NEW_FIELDS = {
    "completed_at",
    "frequency_penalty",
    "max_tool_calls",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "top_logprobs",
}
NOT_REPEATED = {"include"}
DEFAULTS = {
    "background": False,
    "error": None,
    "frequency_penalty": 0,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1,
    "truncation": "disabled",
}


RESPONSE_ERRORS: dict[str, tuple[int, str, str, Json]] = {
    "no JSON": (400, "POST", "", {"content": b"{"}),
    "no input": (400, "POST", "", {"json": {"model": "cheshire-cat"}}),
    "a built-in tool demanded": (400, "POST", "", {"json": {"input": "x", "tool_choice": {"type": "web_search"}}}),
    "an unknown one before it": (400, "POST", "", {"json": {"input": "x", "previous_response_id": "resp_0"}}),
    "no key": (401, "POST", "", {"json": {"input": "x"}, "headers": {"Authorization": "Bearer nobody"}}),
    "no model": (404, "POST", "", {"json": {"input": "x", "model": "dodo"}}),
    "the LLM fails": (502, "POST", "", {"json": {"input": script(fail_status=500)}}),
    "not kept": (404, "GET", "/resp_0", {}),
    "nothing to delete": (404, "DELETE", "/resp_0", {}),
    "nothing to cancel": (404, "POST", "/resp_0/cancel", {}),
    "no items": (404, "GET", "/resp_0/input_items", {}),
}


@pytest.mark.parametrize("error", RESPONSE_ERRORS)
def test_an_error_of_responses_is_as_published(http: httpx.Client, check: Check, error: str) -> None:
    status, method, path, request = RESPONSE_ERRORS[error]
    if "json" in request:
        request = {**request, "json": {"model": "cheshire-cat", **request["json"]}}
    reply = http.request(method, RESPONSES + path, **request)
    assert reply.status_code == status, reply.text
    check("ErrorResponse", reply.json())


# What the official SDK does beyond sending a request.


class Animal(BaseModel):
    name: str
    legs: int
    kind: Literal["bird", "cat"]


class GetWeather(BaseModel):
    """The weather in a city."""

    city: str
    days: int


ABOUT_DINAH = "Tell of 'Dinah', a cat with 4 legs."
DINAH = Animal(name="Dinah", legs=4, kind="cat")
OSLO = "What will GetWeather say of 'Oslo' for 3 days?"


def asked(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_parse_gives_a_model(client: OpenAI) -> None:
    completion = client.chat.completions.parse(
        model="cheshire-cat", messages=asked(ABOUT_DINAH), response_format=Animal
    )
    assert completion.choices[0].message.parsed == DINAH


def test_parse_gives_the_arguments_of_calls(client: OpenAI) -> None:
    completion = client.chat.completions.parse(
        model="cheshire-cat", messages=asked(OSLO), tools=[pydantic_function_tool(GetWeather)]
    )
    (call,) = completion.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == GetWeather(city="Oslo", days=3)


def test_parse_under_its_older_name(client: OpenAI) -> None:
    older = getattr(getattr(client.beta, "chat", None), "completions", None)
    if older is None:
        pytest.skip("this SDK has no client.beta.chat.completions")
    completion = older.parse(model="cheshire-cat", messages=asked(ABOUT_DINAH), response_format=Animal)
    assert completion.choices[0].message.parsed == DINAH


def test_stream_tells_of_the_text_and_its_end(client: OpenAI) -> None:
    text = script(say=["It is ", "tea time."])
    with client.chat.completions.stream(
        model="cheshire-cat", messages=asked(text), stream_options={"include_usage": True}
    ) as stream:
        told = [*stream]
        final = stream.get_final_completion()
    assert "".join(event.delta for event in told if event.type == "content.delta") == "It is tea time."
    (done,) = [event for event in told if event.type == "content.done"]
    assert done.content == "It is tea time."
    assert final.choices[0].message.content == "It is tea time."
    assert final.usage is not None
    assert final.usage.total_tokens == final.usage.prompt_tokens + final.usage.completion_tokens


def test_stream_parses_on_the_way(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="cheshire-cat", messages=asked(ABOUT_DINAH), response_format=Animal
    ) as stream:
        told = [*stream]
        final = stream.get_final_completion()
    assert any(event.type == "content.delta" and event.parsed for event in told)
    assert final.choices[0].message.parsed == DINAH


def test_stream_tells_of_calls(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="cheshire-cat", messages=asked(OSLO), tools=[pydantic_function_tool(GetWeather)]
    ) as stream:
        told = [*stream]
        final = stream.get_final_completion()
    pieces = [event for event in told if event.type == "tool_calls.function.arguments.delta"]
    (done,) = [event for event in told if event.type == "tool_calls.function.arguments.done"]
    assert "".join(event.arguments_delta for event in pieces) == done.arguments
    assert done.parsed_arguments == GetWeather(city="Oslo", days=3)
    (call,) = final.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == done.parsed_arguments
    assert final.choices[0].finish_reason == "tool_calls"


def test_stream_tells_of_a_refusal(client: OpenAI) -> None:
    text = script(refusal=["I had ", "rather not."])
    with client.chat.completions.stream(model="cheshire-cat", messages=asked(text), response_format=Animal) as stream:
        told = [*stream]
        final = stream.get_final_completion()
    assert "".join(event.delta for event in told if event.type == "refusal.delta") == "I had rather not."
    assert final.choices[0].message.refusal == "I had rather not."
    assert final.choices[0].message.parsed is None


FUNCTIONS: dict[str, Callable[[str], str]] = {
    "get_time": lambda city: f"{city}: five o'clock",
    "get_weather": lambda city: f"{city}: rain",
}
TWO_QUESTIONS = "Ask get_time for 'Rome' and get_weather for 'Oslo'."
BOTH_RESULTS = "Rome: five o'clock\nOslo: rain"


def run_tools(ask: Callable[[list[Any]], Any], text: str) -> tuple[list[str], str]:
    """Ask until the reply is a text; the names of the functions called on the way, and the text."""
    messages, called = asked(text), []
    while calls := (message := ask(messages)).tool_calls:
        messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        for call in calls:
            called.append(call.function.name)
            result = FUNCTIONS[call.function.name](**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return called, message.content


@pytest.mark.parametrize("parallel", [None, True, False])
def test_a_loop_that_runs_two_functions(client: OpenAI, parallel: bool | None) -> None:
    asked_in_parallel = {} if parallel is None else {"parallel_tool_calls": parallel}

    def ask(messages: list[Any]) -> Any:
        completion = client.chat.completions.create(
            model="cheshire-cat", messages=messages, tools=[TIME, WEATHER], **asked_in_parallel
        )
        calls = completion.choices[0].message.tool_calls or []
        assert len(calls) <= (1 if parallel is False else 2)
        return completion.choices[0].message

    assert run_tools(ask, TWO_QUESTIONS) == (["get_time", "get_weather"], BOTH_RESULTS)


def test_the_same_loop_with_streams(client: OpenAI) -> None:
    def ask(messages: list[Any]) -> Any:
        with client.chat.completions.stream(model="cheshire-cat", messages=messages, tools=[TIME, WEATHER]) as stream:
            return stream.get_final_completion().choices[0].message

    assert run_tools(ask, TWO_QUESTIONS) == (["get_time", "get_weather"], BOTH_RESULTS)


ONLY_WEATHER = [{"type": "function", "function": {"name": "get_weather"}}]


@pytest.mark.parametrize(
    ("choice", "text", "called"),
    [
        (None, TWO_QUESTIONS, ["get_time", "get_weather"]),
        (None, "Good morning!", []),
        ("auto", TWO_QUESTIONS, ["get_time", "get_weather"]),
        ("auto", "Good morning!", []),
        ("none", TWO_QUESTIONS, []),
        ("required", "Good morning!", ["get_time"]),
        (ONLY_WEATHER[0], "Good morning!", ["get_weather"]),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": ONLY_WEATHER}},
            TWO_QUESTIONS,
            ["get_weather"],
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": ONLY_WEATHER}},
            "Hello!",
            ["get_weather"],
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_tool_choice_means_what_openai_says(
    client: OpenAI, choice: Any, text: str, called: list[str], stream: bool
) -> None:
    choices = {} if choice is None else {"tool_choice": choice}
    request: Json = {"model": "cheshire-cat", "messages": asked(text), "tools": [TIME, WEATHER], **choices}
    if stream:
        with client.chat.completions.stream(**request) as streamed:
            completion: Any = streamed.get_final_completion()
    else:
        completion = client.chat.completions.create(**request)
    message = completion.choices[0].message
    assert [call.function.name for call in message.tool_calls or []] == called
    assert (message.content or "") == ("" if called else text)


# What people build with.


def test_a_pydantic_ai_agent_calls_its_tool_and_gives_a_model(cat: Cat) -> None:
    ai = pytest.importorskip("pydantic_ai")
    models = pytest.importorskip("pydantic_ai.models.openai")
    providers = pytest.importorskip("pydantic_ai.providers.openai")
    called: list[str] = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        called.append(city)
        return FUNCTIONS["get_weather"](city)

    model = models.OpenAIChatModel(
        "cheshire-cat", provider=providers.OpenAIProvider(base_url=cat.base_url, api_key=KEY)
    )
    text = "Ask get_weather for 'Oslo'."

    async def ask(**options: Any) -> Any:
        agent = ai.Agent(model, tools=[get_weather], instructions="Be brief.", **options)
        return (await agent.run(text)).output

    async def ask_streaming() -> str:
        agent = ai.Agent(model, tools=[get_weather])
        async with agent.run_stream(text) as result:
            return "".join([piece async for piece in result.stream_text(delta=True)])

    async def ask_in_each_way() -> tuple[Any, ...]:
        # One event loop for all: the library shares its HTTP client.
        return (
            await ask(),
            await ask_streaming(),
            await ask(output_type=Animal),
            await ask(output_type=ai.NativeOutput(Animal)),
        )

    told, streamed, by_function, by_schema = asyncio.run(ask_in_each_way())
    assert told == streamed == "Oslo: rain"
    assert isinstance(by_function, Animal)
    assert isinstance(by_schema, Animal)
    assert called == ["Oslo"] * 4


@pytest.mark.parametrize("streaming", [False, True])
def test_a_langchain_loop_and_structured_output(cat: Cat, streaming: bool) -> None:
    langchain = pytest.importorskip("langchain_openai")
    langchain_messages = pytest.importorskip("langchain_core.messages")
    model = langchain.ChatOpenAI(
        model="cheshire-cat", base_url=cat.base_url, api_key=KEY, max_retries=0, streaming=streaming
    )
    with_tools = model.bind_tools([TIME, WEATHER])
    messages: list[Any] = [langchain_messages.HumanMessage(TWO_QUESTIONS)]
    messages.append(with_tools.invoke(messages))
    assert [call["name"] for call in messages[-1].tool_calls] == ["get_time", "get_weather"]
    messages += [
        langchain_messages.ToolMessage(FUNCTIONS[call["name"]](**call["args"]), tool_call_id=call["id"])
        for call in messages[-1].tool_calls
    ]
    assert with_tools.invoke(messages).content == BOTH_RESULTS

    for method in ("json_schema", "function_calling"):
        structured = model.with_structured_output(Animal, method=method)
        assert structured.invoke(ABOUT_DINAH) == DINAH
    as_json = model.with_structured_output(None, method="json_mode")
    assert as_json.invoke("JSON with 'name' in it") == {"name": "name"}


# That an LLM takes the request at its word is what the tests above count on.


@pytest.mark.parametrize("case", [name for name in CASES if name != "legacy call"], indirect=True)
def test_the_tests_own_llm_is_as_published(upstream: Upstream, check: Check, case: Case) -> None:
    with httpx.Client(base_url=upstream.base_url, timeout=30) as llm:
        check("CreateChatCompletionResponse", llm.post("/chat/completions", json=case.body()).json())
        streamed = llm.post("/chat/completions", json=case.body(stream=True, stream_options={"include_usage": True}))
    for chunk in events(streamed):
        check("CreateChatCompletionStreamResponse", chunk)
