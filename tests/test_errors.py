"""Each error of the README's table, provoked by requests, on every route."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from asking import chat_body
from host import JWT_SECRET, KEY, Cat, needs_agents, signed
from upstream import Upstream, script

SECRETS = ("SECRET-PROVIDER-DETAIL", "SECRET-PLUGIN-DETAIL", "Traceback", "upstream-key", KEY)

ADMIN = {"sub": "1b2a5a3c-54a5-5d1b-8f6c-7f0f4c7f7f11", "username": "admin", "roles": ["admin"]}

CHAT = "/v1/chat/completions"
MESSAGE = "/message"
READ = ["/v1/models", "/v1/models/cheshire-cat"]
WRITE = [CHAT, MESSAGE]


def body_of(route: str, text: str = "hi") -> dict[str, Any]:
    return chat_body(text) if route == CHAT else {"text": text, "user_id": "alice"}


def check(reply: httpx.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    """Assert that the response is this error in OpenAI's form, without internal details."""
    assert reply.status_code == status, reply.text
    assert reply.headers["x-request-id"].startswith("req_")
    assert reply.headers["content-type"] == "application/json"
    assert set(reply.json()) == {"error"}
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["param"] == param
    assert error["message"]
    assert not any(secret in reply.text for secret in SECRETS)
    return error


def call(client: httpx.Client, route: str, **options: Any) -> httpx.Response:
    if route in READ:
        return client.get(route, **options)
    return client.post(route, json=body_of(route), **options)


@pytest.fixture
def stranger(cat: Cat) -> httpx.Client:
    """Plain HTTP to the Cat, without a key."""
    return httpx.Client(base_url=f"{cat.url}/custom", timeout=30)


@pytest.mark.parametrize("route", READ + WRITE)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer wrong",
        "Bearer",
        "Basic bWVvdw==",
        f"Bearer {signed(ADMIN, 'another secret of the same good length')}",
        f"Bearer {signed(ADMIN, JWT_SECRET, expires=-5)}",
        "Bearer é".encode(),
    ],
    ids=["none", "wrong", "empty", "basic", "foreign JWT", "expired JWT", "no ASCII"],
)
def test_401_without_a_valid_credential(stranger: httpx.Client, route: str, authorization: Any) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    reply = call(stranger, route, headers=headers)
    check(reply, 401, "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("route", READ + WRITE)
def test_a_cookie_is_no_credential(stranger: httpx.Client, route: str) -> None:
    check(call(stranger, route, headers={"Cookie": f"access_token={KEY}"}), 401, "invalid_api_key")


@pytest.mark.parametrize("route", READ + WRITE)
def test_a_key_and_a_jwt_are_accepted(cat: Cat, stranger: httpx.Client, route: str) -> None:
    for credential in (KEY, cat.token("alice")):
        headers = {"Authorization": f"Bearer {credential}"}
        if route == MESSAGE:
            reply = stranger.post(route, json={"text": "hi"}, headers=headers)
        else:
            reply = call(stranger, route, headers=headers)
        assert reply.status_code == 200, reply.text


def test_401_comes_before_errors_about_the_body(stranger: httpx.Client) -> None:
    for route in WRITE:
        check(stranger.post(route, content=b"no json"), 401, "invalid_api_key")


def test_403_for_a_jwt_with_the_user_id_of_another_user(cat: Cat, stranger: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {cat.token('alice')}"}
    reply = stranger.post(MESSAGE, json={"text": "hi", "user_id": "bob"}, headers=headers)
    check(reply, 403, "insufficient_permissions", "user_id")
    reply = stranger.post(MESSAGE, json={"text": "hi", "user_id": "alice"}, headers=headers)
    assert reply.json()["user_id"] == "alice"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b'{"model": ',
        b'{"text": NaN}',
        b'{"text": Infinity}',
        b'{"text": "\\ud83d"}',
        b'{"text": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=["empty", "text", "cut off", "NaN", "Infinity", "surrogate", "latin-1", "deep list", "deep object"],
)
@pytest.mark.parametrize("route", WRITE)
def test_400_for_a_body_that_is_not_json(http: httpx.Client, route: str, body: bytes) -> None:
    check(http.post(route, content=body), 400, "invalid_json")


@pytest.mark.parametrize("body", [[], "text", 7, None, [{"text": "hi"}]])
@pytest.mark.parametrize("route", WRITE)
def test_400_for_json_that_is_not_an_object(http: httpx.Client, route: str, body: Any) -> None:
    reply = http.post(route, content=json.dumps(body))
    assert check(reply, 400, reply.json()["error"]["code"])["code"] in {"invalid_value", "invalid_json"}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": ...}, "missing_required_parameter", "model"),
        ({"messages": ...}, "missing_required_parameter", "messages"),
        ({"model": 7}, "invalid_value", "model"),
        ({"model": ""}, "invalid_value", "model"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": "hi"}, "invalid_value", "messages"),
        ({"messages": ["hi"]}, "invalid_value", "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "missing_required_parameter", "messages[0].role"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "invalid_value", "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "invalid_value", "messages[0].content"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "invalid_value", "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "invalid_value", "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text"}]}]},
            "missing_required_parameter",
            "messages[0].content[1].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]},
            "invalid_value",
            "messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
            "invalid_value",
            "messages[0].content[0].type",
        ),
        ({"stream": "yes"}, "invalid_value", "stream"),
        ({"stream_options": {"include_usage": 1}}, "invalid_value", "stream_options.include_usage"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"max_tokens": -2}, "invalid_value", "max_tokens"),
        ({"max_tokens": "5"}, "invalid_value", "max_tokens"),
        ({"max_completion_tokens": 1.5}, "invalid_value", "max_completion_tokens"),
        ({"temperature": 2.1}, "invalid_value", "temperature"),
        ({"top_p": -0.1}, "invalid_value", "top_p"),
        ({"presence_penalty": 3}, "invalid_value", "presence_penalty"),
        ({"user": 7}, "invalid_value", "user"),
        ({"user": "x" * 1_000_000}, "invalid_value", "user"),
        ({"n": 2}, "unsupported_parameter", "n"),
        ({"logprobs": True}, "unsupported_parameter", "logprobs"),
        ({"modalities": ["text", "audio"]}, "unsupported_parameter", "modalities"),
        ({"prediction": {"type": "content", "content": "x"}}, "unsupported_parameter", "prediction"),
    ],
)
def test_400_names_the_invalid_field(http: httpx.Client, fields: dict[str, Any], code: str, param: str) -> None:
    body = {name: value for name, value in chat_body(**fields).items() if value is not ...}
    for stream in (False, True):
        error = check(http.post(CHAT, json={"stream": stream, **body}), 400, code, param)
        assert len(error["message"]) < 1000


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"user_id": "alice"}, "missing_required_parameter", "text"),
        ({"text": ""}, "invalid_value", "text"),
        ({"text": 7}, "invalid_value", "text"),
        ({"text": "hi", "user_id": 7}, "invalid_value", "user_id"),
        ({"text": "hi", "user_id": "x" * 1_000_000}, "invalid_value", "user_id"),
    ],
)
def test_400_for_a_bad_message(http: httpx.Client, body: dict[str, Any], code: str, param: str) -> None:
    check(http.post(MESSAGE, json=body), 400, code, param)


def test_nothing_has_run_after_a_400(http: httpx.Client, upstream: Upstream, tag: str) -> None:
    check(http.post(CHAT, json=chat_body(script(tag=tag), n=3)), 400, "unsupported_parameter", "n")
    assert upstream.requests(tag) == []


@pytest.mark.parametrize("name", ["gpt-4o", "cheshire-cat:nobody", "default", "cheshire-cat/../x", "x" * 400])
def test_404_lists_the_models_that_exist(http: httpx.Client, name: str) -> None:
    for reply in (http.post(CHAT, json={**chat_body(), "model": name}), http.get(f"/v1/models/{name}")):
        error = check(reply, 404, "model_not_found", "model")
        assert "Models of this Cat: cheshire-cat" in error["message"]


@pytest.mark.parametrize(
    ("method", "route"), [("GET", CHAT), ("DELETE", MESSAGE), ("POST", "/v1/models"), ("PUT", "/health")]
)
def test_405_has_openais_form(http: httpx.Client, method: str, route: str) -> None:
    reply = http.request(method, route)
    check(reply, 405, "method_not_supported")
    assert "allow" in reply.headers


@pytest.mark.parametrize("route", WRITE)
def test_413_is_sent_before_the_body_is_read(cat: Cat, http: httpx.Client, route: str) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(cat.url).port or 0), timeout=10) as connection:
        head = (
            f"POST /custom{route} HTTP/1.1\r\nHost: cat\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {33 * 1024 * 1024}\r\n\r\n"
        )
        connection.sendall(head.encode())
        reply = b"".join(iter(lambda: connection.recv(100_000), b"")).decode()
    assert reply.startswith("HTTP/1.1 413 ")
    assert '"code":"request_too_large"' in reply
    assert "x-request-id: req_" in reply


@pytest.mark.parametrize("route", WRITE)
def test_413_for_a_body_without_content_length(http: httpx.Client, route: str) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 1024 * 1024

    try:
        check(http.post(route, content=endless()), 413, "request_too_large")
    except httpx.TransportError:
        # The Cat answered and hung up while the client was still sending.
        assert sent < 200
    assert http.get("/health").status_code == 200


@pytest.mark.parametrize(
    "script_fields",
    [
        {"fail_status": 401},
        {"fail_status": 400},
        {"fail_status": 429},
        {"fail_status": 500},
        {"rubbish": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("route", [CHAT, f"{CHAT} streamed", MESSAGE])
def test_502_when_the_llm_fails(http: httpx.Client, route: str, script_fields: dict[str, Any]) -> None:
    path, _, streamed = route.partition(" ")
    body = body_of(path, script(**script_fields))
    if streamed:
        body["stream"] = True
    check(http.post(path, json=body), 502, "upstream_error")


@needs_agents
@pytest.mark.parametrize("model", ["cheshire-cat:queen", "cheshire-cat:gryphon"])
@pytest.mark.parametrize("stream", [False, True])
def test_502_when_the_agent_fails(cat: Cat, http: httpx.Client, model: str, stream: bool) -> None:
    check(http.post(CHAT, json={**chat_body(stream=stream), "model": model}), 502, "upstream_error")
    assert f"the agent {model.partition(':')[2]} failed" in cat.log()


def test_502_when_the_llm_cannot_be_reached(cat: Cat, http: httpx.Client, upstream: Upstream) -> None:
    cat.use_llm("http://127.0.0.1:9/v1")
    try:
        check(http.post(CHAT, json=chat_body()), 502, "upstream_error")
    finally:
        cat.use_llm(upstream.base_url)


@pytest.mark.parametrize("script_fields", [{"break_after": 2}, {"error_after": 2}], ids=str)
def test_a_failure_of_the_llm_in_mid_stream_is_an_error_event(
    http: httpx.Client, script_fields: dict[str, Any]
) -> None:
    text = script(say=["one", " two", " three"], **script_fields)
    reply = http.post(CHAT, json=chat_body(text, stream=True))
    assert reply.status_code == 200
    *_, error, done, rest = reply.text.split("\n\n")
    assert rest == ""
    assert done == "data: [DONE]"
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == "upstream_error"
    assert '"content":"one"' in reply.text
    assert '"content":" two"' in reply.text
    assert '"finish_reason":"stop"' not in reply.text
    assert not any(secret in reply.text for secret in SECRETS)
    check(http.post(CHAT, json=chat_body(text)), 502, "upstream_error")


def test_a_late_failure_before_the_first_token_is_an_error_event(http: httpx.Client) -> None:
    """By then the stream has begun, with its first chunk only."""
    reply = http.post(CHAT, json=chat_body(script(first_delay=7, fail_status=400), stream=True))
    assert reply.status_code == 200
    assert '"code":"upstream_error"' in reply.text
    assert reply.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("route", WRITE)
def test_503_is_sent_at_once_when_all_slots_are_in_use(
    http: httpx.Client, settings: Callable[..., None], until: Callable[..., None], tag: str, route: str
) -> None:
    settings(max_concurrent_requests=2)
    taken = [
        http.stream("POST", CHAT, json=chat_body(script(tag=tag, say="x", repeat=100, delay=0.1), stream=True))
        for _ in range(2)
    ]
    with taken[0], taken[1]:
        refused = http.post(route, json=body_of(route))
        check(refused, 503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert http.get("/v1/models").status_code == http.get("/health").status_code == 200
    until(lambda: http.post(route, json=body_of(route)).status_code == 200, "the places are free again")


@pytest.mark.parametrize("route", WRITE)
def test_504_after_request_timeout_and_the_run_has_ended(
    http: httpx.Client, settings: Callable[..., None], upstream: Upstream, tag: str, route: str
) -> None:
    settings(request_timeout=1)
    check(http.post(route, json=body_of(route, script(tag=tag, hang=True))), 504, "timeout")
    upstream.wait(tag, state="left", timeout=1)


def test_a_time_out_in_a_stream_is_an_error_event_at_its_end(
    http: httpx.Client, settings: Callable[..., None], upstream: Upstream, tag: str
) -> None:
    settings(request_timeout=1)
    text = script(tag=tag, say="tick ", repeat=100, delay=0.1)
    reply = http.post(CHAT, json=chat_body(text, stream=True))
    assert reply.status_code == 200
    *_, error, done, _ = reply.text.split("\n\n")
    assert '"code":"timeout"' in error
    assert done == "data: [DONE]"
    upstream.wait(tag, state="left", timeout=1)


def test_a_bug_of_the_plugin_is_500_with_the_traceback_in_the_log(cat: Cat, http: httpx.Client) -> None:
    """The test plugin removes an attribute of the host that the plugin needs."""
    cat.break_plugin()
    try:
        replies = [http.get(route) for route in READ]
        replies += [http.post(CHAT, json=chat_body(stream=stream)) for stream in (False, True)]
    finally:
        cat.mend_plugin()
    for reply in replies:
        check(reply, 500, "internal_error")
        assert f"({reply.headers['x-request-id']})" in cat.log()
    assert re.search("KeyError: 'agents'|AttributeError: .*ccat", cat.log())
    assert http.post(CHAT, json=chat_body()).status_code == 200


def test_text_from_a_client_cannot_start_a_log_line(
    cat: Cat, http: httpx.Client, settings: Callable[..., None]
) -> None:
    settings(debug_mode=True)
    forged = "x\nERROR: forged line"
    http.post(CHAT, json={**chat_body(), "model": forged})
    http.post(CHAT, json={**chat_body(), "messages": [{"role": forged, "content": "hi"}]})
    http.post(CHAT, json=chat_body(user=forged))
    assert "\nERROR: forged line" not in cat.log()
    assert "forged line" in cat.log()
