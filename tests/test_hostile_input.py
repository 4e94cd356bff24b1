"""Malicious requests: each is answered quickly, and its content does not leak into logs, headers or prompts."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from host import KEY, WHICH, Cat
from upstream import Upstream, script

CHAT = "/v1/chat/completions"
MESSAGE = "/message"
RESPONSES = "/v1/responses"
MEBI = 1024 * 1024

USER = {"role": "user", "content": "hi"}
START = '{"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}], '


def chat(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "cheshire-cat", "messages": [*messages] or [USER], **fields}


def calling(name: str = "look", arguments: str = "{}", id: str = "call_1") -> dict[str, Any]:
    call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def result(text: str = "seen", id: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": text}


def function(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def nested(levels: int) -> str:
    return '{"a":' * levels + "0" + "}" * levels


def schema(**keywords: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": keywords}}


def items(*items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "cheshire-cat", "input": [*items] or [USER], "store": False, **fields}


def call(name: str = "look", arguments: str = "{}", id: str = "call_1") -> dict[str, Any]:
    return {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}


def namespace(name: str, tools: int) -> dict[str, Any]:
    inner = [{"type": "function", "name": f"f{number}"} for number in range(tools)]
    return {"type": "namespace", "name": name, "description": "", "tools": inner}


def output(text: str = "seen", id: str = "call_1") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id, "output": text}


def refused(reply: httpx.Response, param: str | None, code: str = "invalid_value") -> dict[str, Any]:
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert len(reply.content) < 2000
    return error


TEXT = {"type": "text", "text": "a"}

LIMITS: dict[str, tuple[Callable[[int], dict[str, Any]], int, str]] = {
    "messages": (lambda n: chat(*[USER] * n), 2048, "messages"),
    "parts": (lambda n: chat({"role": "user", "content": [TEXT] * n}), 2048, "messages"),
    "parts of all": (lambda n: chat(*[{"role": "user", "content": [TEXT] * n}] * 2), 1024, "messages"),
    "tools": (lambda n: chat(tools=[function(f"f{i}") for i in range(n)]), 128, "tools"),
    "functions": (lambda n: chat(functions=[{"name": f"f{i}"} for i in range(n)]), 128, "functions"),
    "logit_bias": (lambda n: chat(logit_bias={str(i): 0 for i in range(n)}), 1024, "logit_bias"),
    "stops": (lambda n: chat(stop=["x"] * n), 4, "stop"),
    "a stop": (lambda n: chat(stop=["x" * n]), 1000, "stop[0]"),
    "user": (lambda n: chat(user="x" * n), 512, "user"),
    "tool's name": (lambda n: chat(tools=[function("x" * n)]), 64, "tools[0].function.name"),
    "call's name": (
        lambda n: chat(USER, calling("x" * n), result()),
        512,
        "messages[1].tool_calls[0].function.name",
    ),
    "call's id": (
        lambda n: chat(USER, calling(id="x" * n), result(id="x" * n)),
        512,
        "messages[1].tool_calls[0].id",
    ),
    "arguments' depth": (lambda n: chat(USER, calling(arguments=nested(n)), result()), 99, "messages[1]"),
    "pattern": (
        lambda n: chat(response_format=schema(properties={"a": {"pattern": "x" * n}})),
        1000,
        "response_format.json_schema.schema",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_values_over_a_size_limit_are_refused_with_their_path(http: httpx.Client, name: str) -> None:
    body, limit, param = LIMITS[name]
    refused(http.post(CHAT, json=body(limit + 1)), param)
    assert http.post(CHAT, json=body(limit), timeout=60).status_code == 200


INPUT_TEXT = {"type": "input_text", "text": "a"}

LIMITS_OF_RESPONSES: dict[str, tuple[Callable[[int], dict[str, Any]], int, str]] = {
    "items": (lambda n: items(*[USER] * n), 2048, "input"),
    "parts of all": (lambda n: items(*[{"role": "user", "content": [INPUT_TEXT] * n}] * 2), 1024, "input"),
    "parts of results": (lambda n: items(USER, call(), {**output(), "output": [INPUT_TEXT] * n}), 2048, "input"),
    "tools": (lambda n: items(tools=[{"type": "function", "name": f"f{i}"} for i in range(n)]), 128, "tools"),
    "metadata": (lambda n: items(metadata={str(i): "x" for i in range(n)}), 16, "metadata"),
    "a value of it": (lambda n: items(metadata={"a": "x" * n}), 512, "metadata.a"),
    "user": (lambda n: items(user="x" * n), 512, "user"),
    "tool's name": (lambda n: items(tools=[{"type": "function", "name": "x" * n}]), 128, "tools[0].name"),
    "tools of a namespace": (
        lambda n: items(tools=[namespace("a", n)]),
        512,
        "tools[0].tools",
    ),
    "functions": (lambda n: items(tools=[namespace("a", 500), namespace("b", n - 500)]), 512, "tools"),
    "call's name": (lambda n: items(USER, call("x" * n), output()), 512, "input[1].name"),
    "call's id": (lambda n: items(USER, call(id="x" * n), output(id="x" * n)), 512, "input[1].call_id"),
    "an item's id": (lambda n: items({**USER, "id": "x" * n}), 512, "input[0].id"),
    "arguments' depth": (lambda n: items(USER, call(arguments=nested(n)), output()), 99, "input[1]"),
}


@pytest.mark.parametrize("name", LIMITS_OF_RESPONSES)
def test_items_of_responses_over_a_size_limit_are_refused_with_their_path(http: httpx.Client, name: str) -> None:
    body, limit, param = LIMITS_OF_RESPONSES[name]
    refused(http.post(RESPONSES, json=body(limit + 1)), param)
    assert http.post(RESPONSES, json=body(limit), timeout=60).status_code == 200


@pytest.mark.parametrize("keyword", ["$ref", "pattern"])
@pytest.mark.parametrize("value", ["#/" + "a/" * 100_000, "(" * 900 + ")" * 900, "(" * 900, "a|" * 500_000])
def test_a_schema_that_cannot_be_read_in_time_is_refused(http: httpx.Client, keyword: str, value: str) -> None:
    body = chat(response_format=schema(type="object", properties={"a": {keyword: value}}))
    reply = http.post(CHAT, json=body)
    if keyword == "$ref" or len(value) > 1000 or reply.status_code != 200:
        refused(reply, "response_format.json_schema.schema")


BOMBS = {
    "brackets": lambda: "[" * 31 * MEBI,
    "lists": lambda: START + '"x": [' + "[]," * 10 * MEBI + "0]}",
    "keys": lambda: "{" + ",".join(f'"{i:x}":0' for i in range(2 * MEBI)) + "}",
    "messages of numbers": lambda: '{"model": "cheshire-cat", "messages": [' + "0," * 15 * MEBI + "0]}",
    "messages of objects": lambda: '{"model": "cheshire-cat", "messages": [' + "{}," * 10 * MEBI + "{}]}",
    "parts": lambda: json.dumps(chat({"role": "user", "content": [{}] * 60_000})),
    "biases": lambda: json.dumps(chat(logit_bias={f"x{i}": 0 for i in range(95_000)})),
    "a number": lambda: START + '"seed": 1' + "0" * 30 * MEBI + "}",
    "numbers": lambda: START + '"x": [' + ",".join(["9" * 4299] * 7000) + "]}",
    "a model": lambda: json.dumps({**chat(), "model": "x" * 30 * MEBI}),
    "a role": lambda: json.dumps(chat({"role": "x" * 30 * MEBI, "content": "hi"})),
    "a key": lambda: json.dumps(chat(logit_bias={"x" * 20 * MEBI: 0})),
    "a data URI": lambda: json.dumps(
        chat({"role": "user", "content": [{"type": "file", "file": {"file_data": "data:a/b" + ";a=b" * 7 * MEBI}}]})
    ),
    "arguments": lambda: json.dumps(chat(USER, calling(arguments="[" + "[]," * 8 * MEBI + "0]"), result())),
    "patterns": lambda: json.dumps(chat(response_format=schema(properties={"a": {"pattern": "a|" * 5 * MEBI}}))),
    "references": lambda: json.dumps(chat(response_format=schema(allOf=[{"$ref": "#/allOf/0"}] * 9000))),
}

BOMBS_OF_RESPONSES = {
    "an input": lambda: json.dumps({"model": "cheshire-cat", "input": ["x" * 1000] * 30_000}),
    "items of numbers": lambda: '{"model": "cheshire-cat", "input": [' + "0," * 15 * MEBI + "0]}",
    "items of nothing": lambda: '{"model": "cheshire-cat", "input": [' + "{}," * 90_000 + "{}]}",
    "parts of items": lambda: json.dumps(items({"role": "user", "content": [{}] * 60_000})),
    "items of many types": lambda: json.dumps(items(*[{"type": "x" * 10_000}] * 2048)),
    "references to items": lambda: json.dumps(items(*[{"id": f"msg_{i}"} for i in range(2048)])),
    "calls without results": lambda: json.dumps(items(*[call(id=f"{i}") for i in range(2048)])),
    "metadata": lambda: json.dumps(items(metadata={f"x{i}": 0 for i in range(90_000)})),
    "an id": lambda: json.dumps(items(previous_response_id="x" * 30 * MEBI)),
    "a choice": lambda: json.dumps(
        items(tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [{}] * 90_000})
    ),
}

LONGEST_WAIT = 3.0
"""Seconds, on a machine that is busy with other tests; some of these bombs have taken minutes."""


@pytest.mark.parametrize(
    ("path", "name"), [*((CHAT, name) for name in BOMBS), *((RESPONSES, name) for name in BOMBS_OF_RESPONSES)]
)
def test_expensive_json_is_refused_without_delaying_other_requests(
    cat: Cat, http: httpx.Client, path: str, name: str
) -> None:
    bomb = {**BOMBS, **BOMBS_OF_RESPONSES}[name]().encode()
    replies: list[httpx.Response] = []
    sending = threading.Thread(target=lambda: replies.append(http.post(path, content=bomb, timeout=60)))
    waits = []
    with httpx.Client(base_url=f"{cat.url}/custom", timeout=60) as other:
        sending.start()
        while sending.is_alive():
            began = time.monotonic()
            assert other.get("/health").status_code == 200
            waits.append(time.monotonic() - began)
            sending.join(0.02)
    assert replies[0].status_code == 400, replies[0].text[:1000]
    assert len(replies[0].content) < 2000
    assert max(waits) < LONGEST_WAIT


@pytest.mark.parametrize(
    "value", ["1e400", "-1e400", "1" + "0" * 5000, "1." + "1" * 5000, "NaN", "[" * 150 + "]" * 150, nested(150)]
)
@pytest.mark.parametrize(
    "body",
    [
        START + '"temperature": %s}',
        START + '"nobody_knows_this": %s}',
        START + '"tools": [{"type": "function", "function": {"name": "a", "parameters": {"default": %s}}}]}',
    ],
)
def test_json_that_other_parsers_reject_is_refused(http: httpx.Client, body: str, value: str) -> None:
    refused(http.post(CHAT, content=body.replace("%s", value)), None, "invalid_json")


def test_json_syntax_within_strings_is_not_counted_as_values(http: httpx.Client) -> None:
    text = script(say="ok") + '\n{[",\\"' * 100_000
    reply = http.post(CHAT, json=chat({"role": "user", "content": text}, USER | {"content": script(say="ok")}))
    assert reply.status_code == 200, reply.text
    arguments = json.dumps({"file": ",[{" * 100_000})
    reply = http.post(CHAT, json=chat(USER, calling(arguments=arguments), result(script(say="ok"))))
    assert reply.status_code == 200, reply.text


def test_the_last_of_two_equal_keys_is_used(http: httpx.Client) -> None:
    refused(http.post(CHAT, content=START + '"n": 1, "n": 2}'), "n", "unsupported_parameter")
    assert http.post(CHAT, content=START + '"n": 2, "n": 1}').status_code == 200


PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "model": lambda text: {**chat(), "model": text},
    "system": lambda text: chat({"role": "system", "content": text}, USER),
    "user": lambda text: chat({"role": "user", "content": text}),
    "part": lambda text: chat({"role": "user", "content": [{"type": "text", "text": text}]}),
    "assistant": lambda text: chat(USER, {"role": "assistant", "content": text}, USER),
    "result": lambda text: chat(USER, calling(), result(text)),
    "call's id": lambda text: chat(USER, calling(id=text), result(id=text)),
    "call's name": lambda text: chat(USER, calling(name=text), result()),
    "arguments": lambda text: chat(USER, calling(arguments=text), result()),
    "tool's name": lambda text: chat(tools=[function(text)]),
    "tool's description": lambda text: chat(tools=[function("a", description=text)]),
    "tool's schema": lambda text: chat(tools=[function("a", parameters={"type": "object", "title": text})]),
    "stop": lambda text: chat(stop=text),
    "end user": lambda text: chat(user=text),
    "image": lambda text: chat({"role": "user", "content": [{"type": "image_url", "image_url": {"url": text}}]}),
    "file's name": lambda text: chat(
        {
            "role": "user",
            "content": [{"type": "file", "file": {"filename": text, "file_data": "data:text/plain;base64,aGk="}}],
        }
    ),
    "unknown": lambda text: chat(metadata={text: text}),
}

ODD = {
    "NUL": "\0",
    "controls": "\x07\x1b[31m\x7f\x85\u2028\u202e",
    "template": "{x} {{y}} {0.__class__} {% raw %} ${z} %s %(a)s {",
    "path": "../../../../etc/passwd",
    "no letters": "\ufffe\U0010ffff",
}


@pytest.mark.parametrize("history", ["client", "cat"])
@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
@pytest.mark.parametrize("place", PLACES)
def test_odd_characters_are_accepted_or_refused(
    http: httpx.Client, settings: Callable[..., None], place: str, text: str, history: str
) -> None:
    settings(history=history)
    body = PLACES[place](text)
    for fields in ({}, {"stream": True}):
        reply = http.post(CHAT, json={"user": "odd", **body, **fields})
        assert reply.status_code in (200, 400, 404), reply.text
        assert '"error"' not in reply.text or reply.status_code != 200


@pytest.mark.parametrize("place", PLACES)
def test_half_a_surrogate_pair_is_refused(http: httpx.Client, place: str) -> None:
    reply = http.post(CHAT, content=json.dumps(PLACES[place]("a\ud83d")))
    refused(reply, None, "invalid_json")


PLACES_OF_RESPONSES: dict[str, Callable[[str], dict[str, Any]]] = {
    "model": lambda text: {**items(), "model": text},
    "input": lambda text: {**items(), "input": text},
    "instructions": lambda text: items(instructions=text),
    "part": lambda text: items({"role": "user", "content": [{"type": "input_text", "text": text}]}),
    "said": lambda text: items(USER, {"role": "assistant", "content": text}, USER),
    "result": lambda text: items(USER, call(), output(text)),
    "call's id": lambda text: items(USER, call(id=text), output(id=text)),
    "call's name": lambda text: items(USER, call(name=text), output()),
    "arguments": lambda text: items(USER, call(arguments=text), output()),
    "tool's description": lambda text: items(tools=[{"type": "function", "name": "a", "description": text}]),
    "metadata": lambda text: items(metadata={text: text}),
    "an item's id": lambda text: items({**USER, "id": text}),
    "a reference": lambda text: items({"id": text}, USER),
    "a type": lambda text: items({"type": text}),
    "a tool's type": lambda text: items(tools=[{"type": text}]),
    "previous": lambda text: items(previous_response_id=text),
    "end user": lambda text: items(user=text),
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
@pytest.mark.parametrize("place", PLACES_OF_RESPONSES)
def test_odd_characters_in_responses_are_accepted_or_refused(http: httpx.Client, place: str, text: str) -> None:
    body = {"user": "odd", **PLACES_OF_RESPONSES[place](text), "store": True}
    reply = http.post(RESPONSES, json=body)
    assert reply.status_code in (200, 400, 404), reply.text
    if reply.status_code == 200:
        made = reply.json()
        kept = http.get(f"{RESPONSES}/{made['id']}", params={"user": body["user"]})
        assert kept.json() == made
        last = http.post(RESPONSES, json={**body, "stream": True}).text.splitlines()[-2]
        assert json.loads(last.removeprefix("data: "))["type"] == "response.completed"


@pytest.mark.parametrize("place", PLACES_OF_RESPONSES)
def test_half_a_surrogate_pair_is_refused_in_responses(http: httpx.Client, place: str) -> None:
    refused(http.post(RESPONSES, content=json.dumps(PLACES_OF_RESPONSES[place]("a\ud83d"))), None, "invalid_json")


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_characters_in_a_message(http: httpx.Client, text: str) -> None:
    for body in ({"text": text, "user_id": "odd"}, {"text": "hi", "user_id": text}):
        for _ in range(2):
            reply = http.post(MESSAGE, json=body)
            assert reply.status_code == 200, reply.text
            assert reply.json()["user_id"] == body["user_id"]


def test_braces_are_never_placeholders_of_a_prompt(http: httpx.Client, upstream: Upstream, tag: str) -> None:
    text = ODD["template"]
    messages = (
        {"role": "system", "content": f"S {text}"},
        {"role": "user", "content": f"U {text}\n{script(tag=tag, say='ok')}"},
        calling("look", json.dumps({"a": f"A {text}"})),
        result(f"R {text}"),
    )
    tools = [function("look", description=f"D {text}", parameters={"type": "object", "title": f"P {text}"})]
    reply = http.post(CHAT, json=chat(*messages, tools=tools, user=f"N {text}", stop=f"X {text}"))
    assert reply.json()["choices"][0]["message"]["content"] == "ok", reply.text
    said = json.dumps(upstream.requests(tag)[-1]["body"])
    for place in "SURDP":
        assert json.dumps(f"{place} {text}")[1:-1] in said, place
    assert json.dumps(json.dumps(f"A {text}"))[1:-1] in said


FORGED = "\nERROR forged-line \x1b[31m\r\nERROR forged-line"


@pytest.mark.parametrize("debug_mode", [False, True])
def test_text_from_a_client_cannot_add_a_line_or_a_colour_to_the_log(
    cat: Cat, http: httpx.Client, settings: Callable[..., None], debug_mode: bool
) -> None:
    settings(debug_mode=debug_mode)
    before = len(cat.log())
    for place in set(PLACES) - {"system", "user", "part", "assistant", "result", "arguments"}:
        http.post(CHAT, json=PLACES[place](FORGED))
    for place in set(PLACES_OF_RESPONSES) - {"input", "instructions", "part", "said", "result", "arguments"}:
        http.post(RESPONSES, json=PLACES_OF_RESPONSES[place](FORGED))
    http.get(f"{RESPONSES}/%0AERROR%20forged-line%1b[31m")
    http.post(MESSAGE, json={"text": "hi", "user_id": FORGED})
    http.post(CHAT, json=chat(**{FORGED: 1, "logit_bias": {FORGED: 1}}))
    http.get("/v1/models/%0AERROR%20forged-line%1b[31m")
    http.get("/v1/models", headers={"x-request-id": "forged-line", "X-OpenWebUI-User-Id": "\x1b[31m forged-line"})
    lines = [line for line in cat.log()[before:].splitlines() if line.startswith("ERROR forged-line")]
    assert lines == []
    assert "forged-line \x1b" not in cat.log()[before:]


def raw(cat: Cat, head: bytes, body: bytes = b"") -> str:
    """The raw response to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", cat.port), timeout=20) as connection:
        connection.sendall(head + b"\r\nHost: cat\r\nConnection: close\r\n\r\n" + body)
        return b"".join(iter(lambda: connection.recv(100_000), b"")).decode("utf-8", "replace")


AUTHORIZATION = f"\r\nAuthorization: Bearer {KEY}".encode()


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/models/../../../auth",
        b"/v1/models/..%2f..%2f..%2fetc%2fpasswd",
        b"/v1/models/%2e%2e/%2e%2e/x",
        b"/v1/models/cheshire-cat%00",
        b"/v1/models/cheshire-cat%0d%0aX-Forged:%201",
        b"/v1/models//",
        b"/v1/models/%ff%fe",
        b"/v1/models/{x}%7By%7D",
        b"/v1/models/" + b"x" * 8000,
        b"/v1/models/nobody?model=cheshire-cat",
    ],
)
def test_a_path_cannot_leave_the_models_route(cat: Cat, path: bytes) -> None:
    head, _, body = raw(cat, b"GET /custom" + path + b" HTTP/1.1" + AUTHORIZATION).partition("\r\n\r\n")
    assert re.match(r"HTTP/1\.1 (404|400) ", head), head
    assert "x-forged" not in head.lower()
    if "x-request-id" in head:
        assert json.loads(body)["error"]["code"] == "model_not_found"
        assert len(body) < 1000


@pytest.mark.parametrize("name", ["x-request-id", "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"])
def test_a_client_cannot_set_headers_of_the_response(
    http: httpx.Client, settings: Callable[..., None], name: str
) -> None:
    settings(rate_limit_per_minute=1000)
    for reply in (
        http.post(CHAT, json=chat(), headers={name: "4711"}),
        http.post(CHAT, json=chat(n=2), headers={name: "4711"}),
        http.post(CHAT, json=chat(stream=True), headers={name: "4711"}),
    ):
        assert reply.headers.get_list(name) == [reply.headers[name]]
        assert reply.headers[name] != "4711"


@pytest.mark.parametrize("value", [b"\xff\xfe", "é 🐱".encode(), b"\x1b[31m", b"..", b"a" * 512, b"{x}"])
def test_an_end_users_header_may_hold_any_bytes(http: httpx.Client, value: bytes) -> None:
    headers = [(b"X-OpenWebUI-User-Id", value)]
    assert http.post(CHAT, json=chat(), headers=headers).status_code in (200, 400)  # type: ignore[arg-type]


def test_an_end_users_header_that_is_too_long_is_refused(http: httpx.Client) -> None:
    reply = http.post(CHAT, json=chat(), headers={"X-OpenWebUI-User-Id": "x" * 513})
    refused(reply, "X-OpenWebUI-User-Id")


def test_conflicting_lengths_smuggle_no_second_request(cat: Cat) -> None:
    smuggled = b"GET /custom/v1/models HTTP/1.1\r\nHost: cat" + AUTHORIZATION + b"\r\n\r\n"
    head = b"POST /custom/message HTTP/1.1" + AUTHORIZATION
    for lengths in (
        b"\r\nContent-Length: 2\r\nContent-Length: %d" % (2 + len(smuggled)),
        b"\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
    ):
        assert '"object":"list"' not in raw(cat, head + lengths, b"{}" + smuggled)


def test_a_slow_request_body_does_not_block_other_requests(cat: Cat, http: httpx.Client) -> None:
    def slow() -> Iterator[bytes]:
        yield b'{"model": "cheshire-cat", '
        assert http.get("/health").status_code == 200
        yield b'"messages": [{"role": "user", "content": "hi"}]}'

    with httpx.Client(base_url=http.base_url, headers=http.headers, timeout=30) as other:
        assert other.post(CHAT, content=slow()).status_code == 200


@pytest.mark.skipif(WHICH == "1.9", reason="the Cat counts such messages for minutes, or its tokenizer panics")
@pytest.mark.parametrize("text", ["a" * MEBI, " " * MEBI, "[" * MEBI], ids=["a", "space", "bracket"])
def test_a_message_of_one_character_a_million_times_is_answered(http: httpx.Client, text: str) -> None:
    for fields in ({}, {"usage": False}):
        asked = f"{script(say=['o', 'k'], **fields)}\n{text}"
        reply = http.post(CHAT, json=chat({"role": "user", "content": asked}), timeout=60)
        assert reply.json()["choices"][0]["message"]["content"] == "ok", reply.text
