"""Metrics for Prometheus, and one log line for each request."""

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import chat_body
from host import KEY, ROOT, WHICH, Cat, make_cat, signed
from upstream import Upstream, script

METRICS = "/custom/metrics"
CHAT = "/custom/v1/chat/completions"
MESSAGE = "/custom/message"
INSTALL_SECONDS = 120

USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}


def scrape(cat: Cat) -> httpx.Response:
    """The metrics as text, once the package is installed. Skips if it cannot be installed without a network."""
    deadline = time.monotonic() + INSTALL_SECONDS
    reply = cat.http.get(METRICS)
    while "retry-after" in reply.headers and time.monotonic() < deadline:
        reply = cat.http.get(METRICS)
    if reply.status_code == 503:
        pytest.skip("prometheus-client is not there and cannot be installed")
    assert reply.status_code == 200, reply.text
    return reply


def numbers(cat: Cat) -> dict[str, float]:
    """Each sample by its name and labels, without the common prefix and the `_created` samples."""
    lines = [line for line in scrape(cat).text.splitlines() if not line.startswith("#")]
    assert all(line.startswith("openai_api_") for line in lines)
    parts = [line.removeprefix("openai_api_").rpartition(" ") for line in lines if "_created" not in line]
    return {name: float(value) for name, _, value in parts}


@pytest.fixture
def counted(cat: Cat, settings: Callable[..., None]) -> Callable[[Callable[[], Any]], dict[str, float]]:
    """The samples that some requests change, without buckets: `counted(requests)`."""
    settings(metrics=True)
    scrape(cat)

    def difference(requests: Callable[[], Any]) -> dict[str, float]:
        before = numbers(cat)
        requests()
        now = numbers(cat)
        changes = {name: now[name] - before.get(name, 0) for name in now if "_bucket" not in name}
        return {name: change for name, change in changes.items() if change and "seconds_sum" not in name}

    return difference


def log_lines(cat: Cat, reply: httpx.Response) -> list[dict[str, Any]]:
    """The log's lines for a request."""
    whole_lines = cat.log().split("\n")[:-1]
    lines = [line for line in whole_lines if f'"request":"{reply.headers["x-request-id"]}"' in line]
    return [json.loads(line[line.index("{") : line.rindex("}") + 1]) for line in lines]


@pytest.fixture
def line_of(cat: Cat, until: Callable[..., None]) -> Callable[[httpx.Response], dict[str, Any]]:
    """The log line of a request; a stream gets it when its connection is closed. By then the request is counted."""

    def line(reply: httpx.Response) -> dict[str, Any]:
        until(lambda: log_lines(cat, reply), "the request is in the log")
        (found,) = log_lines(cat, reply)
        return found

    return line


def test_metrics_are_off_by_default(cat: Cat) -> None:
    reply = cat.http.get(METRICS)
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "metrics_off"
    assert reply.json()["error"]["type"] == "invalid_request_error"


def admin_token(cat: Cat) -> str:
    """The JWT of an admin."""
    name = f"u{uuid.uuid4().hex}"
    if WHICH == "2":
        return signed({"sub": str(uuid.uuid4()), "username": name, "roles": ["admin"]})
    rights = {"PLUGINS": ["READ"]}
    new = {"username": name, "password": "curiouser", "permissions": rights}
    cat.http.post("/users/", json=new).raise_for_status()
    return cat.token(name)


def test_only_the_key_and_admins_may_read_metrics(cat: Cat, settings: Callable[..., None]) -> None:
    settings(metrics=True)
    scrape(cat)

    def answer(authorization: str | None) -> tuple[int, str | None]:
        headers = {"Authorization": authorization} if authorization else {}
        reply = httpx.get(cat.url + METRICS, headers=headers, timeout=30)
        return reply.status_code, reply.json()["error"]["code"] if reply.is_error else None

    assert answer(None) == (401, "invalid_api_key")
    assert answer("Bearer nobody") == (401, "invalid_api_key")
    assert answer(f"Bearer {cat.token('alice')}") == (403, "insufficient_permissions")
    assert answer(f"Bearer {admin_token(cat)}") == (200, None)
    assert answer(f"Bearer {KEY}") == (200, None)


def test_the_exposition_is_valid_for_prometheus(cat: Cat, settings: Callable[..., None]) -> None:
    settings(metrics=True)
    reply = scrape(cat)
    assert reply.headers["content-type"].startswith("text/plain; version=")
    for name, kind in [
        ("openai_api_requests_total", "counter"),
        ("openai_api_refused_total", "counter"),
        ("openai_api_rate_limited_total", "counter"),
        ("openai_api_tokens_total", "counter"),
        ("openai_api_request_duration_seconds", "histogram"),
        ("openai_api_time_to_first_token_seconds", "histogram"),
        ("openai_api_streams_open", "gauge"),
    ]:
        assert f"\n# TYPE {name} {kind}\n" in reply.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_completion_is_counted_with_its_times_and_tokens(
    cat: Cat, counted: Callable[..., dict[str, float]], line_of: Callable[..., dict[str, Any]], stream: bool
) -> None:
    body = chat_body(script(say=["one", " two"], reported_usage=USAGE), stream=stream)
    assert counted(lambda: line_of(cat.http.post(CHAT, json=body))) == {
        f'requests_total{{outcome="ok",route="{CHAT}"}}': 1,
        f'request_duration_seconds_count{{route="{CHAT}"}}': 1,
        "time_to_first_token_seconds_count": 1,
        'tokens_total{kind="prompt"}': 11,
        'tokens_total{kind="completion"}': 5,
    }


def test_a_message_is_counted(cat: Cat, counted: Callable[..., dict[str, float]]) -> None:
    changes = counted(lambda: cat.http.post(MESSAGE, json={"text": "hi"}).raise_for_status())
    assert changes[f'requests_total{{outcome="ok",route="{MESSAGE}"}}'] == 1
    assert changes[f'request_duration_seconds_count{{route="{MESSAGE}"}}'] == 1
    assert changes["time_to_first_token_seconds_count"] == 1


def test_refused_requests_are_counted_by_code(
    cat: Cat, settings: Callable[..., None], counted: Callable[..., dict[str, float]]
) -> None:
    settings(metrics=True, rate_limit_per_minute=1)
    somebody = uuid.uuid4().hex

    def ask() -> None:
        assert cat.http.post(CHAT, json=chat_body(user=somebody, model="gpt-0")).status_code == 404
        assert cat.http.post(CHAT, json=chat_body(user=somebody, n=2)).status_code == 400
        assert cat.http.post(CHAT, json={}, headers={"Authorization": "Bearer nobody"}).status_code == 401
        assert cat.http.post(MESSAGE, json={"text": "hi", "user_id": somebody}).status_code == 200
        assert cat.http.post(MESSAGE, json={"text": "hi", "user_id": somebody}).status_code == 429
        assert cat.http.post(CHAT, json=chat_body(user=somebody, stream=True)).status_code == 429

    changes = counted(ask)
    assert {name: change for name, change in changes.items() if "refused" in name or "limited" in name} == {
        'refused_total{code="model_not_found"}': 1,
        'refused_total{code="unsupported_parameter"}': 1,
        'refused_total{code="invalid_api_key"}': 1,
        'refused_total{code="rate_limit_exceeded"}': 2,
        "rate_limited_total": 2,
        f'requests_total{{outcome="refused",route="{CHAT}"}}': 4,
        f'requests_total{{outcome="refused",route="{MESSAGE}"}}': 1,
    }
    assert f'request_duration_seconds_count{{route="{CHAT}"}}' not in changes


def test_failures_before_and_in_a_stream_are_counted_as_failed(
    cat: Cat, counted: Callable[..., dict[str, float]], line_of: Callable[..., dict[str, Any]]
) -> None:
    def ask() -> None:
        broken = script(say=["one", " two"], break_after=1)
        assert cat.http.post(CHAT, json=chat_body(script(fail_status=500))).status_code == 502
        assert cat.http.post(CHAT, json=chat_body(script(fail_status=500), stream=True)).status_code == 502
        assert line_of(cat.http.post(CHAT, json=chat_body(broken, stream=True)))["status"] == 200

    changes = counted(ask)
    assert changes[f'requests_total{{outcome="failed",route="{CHAT}"}}'] == 3
    assert not any("refused" in name for name in changes)


def test_a_stream_is_open_until_its_end_or_the_client_disconnects(
    cat: Cat, counted: Callable[..., dict[str, float]], until: Callable[..., None]
) -> None:
    def ask() -> None:
        text = script(say="tick ", repeat=200, delay=0.1)
        with cat.http.stream("POST", CHAT, json=chat_body(text, stream=True)) as reply:
            pieces = reply.iter_bytes()
            next(pieces)
            assert numbers(cat)["streams_open"] == 1
        until(lambda: numbers(cat)["streams_open"] == 0, "the stream has ended")

    assert counted(ask)[f'requests_total{{outcome="gone",route="{CHAT}"}}'] == 1


def test_a_client_that_disconnects_before_its_reply_is_counted_as_gone(
    cat: Cat,
    counted: Callable[..., dict[str, float]],
    upstream: Upstream,
    tag: str,
    until: Callable[..., None],
) -> None:
    gone = f'requests_total{{outcome="gone",route="{CHAT}"}}'
    before = numbers(cat).get(gone, 0)

    def ask() -> None:
        with pytest.raises(httpx.ReadTimeout):
            cat.http.post(CHAT, json=chat_body(script(tag=tag, hang=True)), timeout=1)
        upstream.wait(tag, state="left")
        until(lambda: numbers(cat).get(gone, 0) > before, "the request has ended")

    assert counted(ask)[gone] == 1


def test_nothing_is_counted_while_metrics_are_off(cat: Cat, settings: Callable[..., None]) -> None:
    settings(metrics=True)
    scrape(cat)
    settings(metrics=False)
    cat.http.post(CHAT, json=chat_body()).raise_for_status()
    settings(metrics=True)
    assert not [name for name in numbers(cat) if name.startswith("requests_total")]


def test_no_label_has_a_value_from_a_client(cat: Cat, settings: Callable[..., None]) -> None:
    settings(metrics=True, model_aliases="*=cheshire-cat")
    secret = "s" + uuid.uuid4().hex
    cat.http.post(CHAT, json=chat_body(secret, model=secret, user=secret)).raise_for_status()
    cat.http.post(CHAT, json={secret: secret, "messages": [{"role": secret}]})
    cat.http.post(f"{CHAT}/{secret}", json={})
    text = scrape(cat).text
    assert secret not in text
    labels = set(re.findall(r'(\w+)="', text)) - {"le"}
    assert labels <= {"route", "outcome", "code", "kind"}
    assert set(re.findall(r'route="([^"]*)"', text)) <= {CHAT, MESSAGE}


@pytest.fixture(scope="module")
def cat_without_the_package(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cat, Path]]:
    """A Cat that cannot import prometheus-client while a certain file exists."""
    folder = tmp_path_factory.mktemp("packages")
    stub = folder / "prometheus_client.py"
    stub.write_text("raise ImportError('there is no prometheus_client here')\n", "utf-8")
    double = [str(ROOT / "tests" / "double" / ".site")] if WHICH == "double" else []
    cat = make_cat(tmp_path_factory.mktemp("own") / "home").start(PYTHONPATH=os.pathsep.join([str(folder), *double]))
    cat.use_llm(upstream.base_url)
    yield cat, stub
    cat.stop()


def test_without_the_package_the_api_works_and_the_error_names_the_reason(
    cat_without_the_package: tuple[Cat, Path],
) -> None:
    cat, stub = cat_without_the_package
    cat.put_settings({"metrics": True}).raise_for_status()
    for _ in range(2):
        reply = cat.http.get(METRICS)
        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "metrics_unavailable"
        assert "pip install" in reply.json()["error"]["message"]
        assert cat.http.post(CHAT, json=chat_body()).status_code == 200
    assert cat.log().count("OpenAI API: the package prometheus-client") == 1

    # What the message advises.
    stub.unlink()
    cat.put_settings({"metrics": False}).raise_for_status()
    assert cat.http.get(METRICS).status_code == 404
    cat.put_settings({"metrics": True}).raise_for_status()
    assert numbers(cat)["streams_open"] == 0

    # The plugin's modules are imported anew, the package's are not.
    cat.toggle("cat_openai_api")
    cat.toggle("cat_openai_api")
    assert numbers(cat)["streams_open"] == 0
    cat.http.post(CHAT, json=chat_body()).raise_for_status()
    assert numbers(cat)[f'requests_total{{outcome="ok",route="{CHAT}"}}'] == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_each_completion_has_one_line_in_the_log(
    cat: Cat, settings: Callable[..., None], line_of: Callable[..., dict[str, Any]], stream: bool
) -> None:
    settings(model_aliases="*=cheshire-cat")
    secret = "s" + uuid.uuid4().hex
    text = script(secret, say=[secret, " two"], reported_usage=USAGE)
    start = len(cat.log())
    reply = cat.http.post(CHAT, json=chat_body(text, model=secret, user=secret, stream=stream))
    line = line_of(reply)
    seconds, first = line.pop("seconds"), line.pop("time_to_first_token")
    assert 0 <= first <= seconds < 10
    assert line == {
        "request": reply.headers["x-request-id"],
        "route": CHAT,
        "status": 200,
        "outcome": "ok",
        "model": "cheshire-cat",
        "stream": stream,
        "usage": USAGE,
        "finish_reason": "stop",
    }
    lines = [line for line in cat.log()[start:].splitlines() if "OpenAI API: " in line]
    assert len(lines) == 1
    assert secret not in lines[0]
    assert KEY not in cat.log()[start:]


def test_a_message_has_one_line_in_the_log(cat: Cat, line_of: Callable[..., dict[str, Any]]) -> None:
    somebody = uuid.uuid4().hex
    reply = cat.http.post(MESSAGE, json={"text": "a secret", "user_id": somebody})
    line = line_of(reply)
    assert (line["route"], line["status"], line["outcome"], line["finish_reason"]) == (MESSAGE, 200, "ok", "stop")
    assert "secret" not in json.dumps(line)
    assert somebody not in json.dumps(line)


def test_unreported_tokens_are_counted(cat: Cat, line_of: Callable[..., dict[str, Any]]) -> None:
    body = chat_body(script(say=["one", " two"], usage=False), stream=True)
    assert line_of(cat.http.post(CHAT, json=body))["usage"]["completion_tokens"] == 2


def test_a_request_that_the_llm_refuses_has_used_nothing(cat: Cat, line_of: Callable[..., dict[str, Any]]) -> None:
    reply = cat.http.post(CHAT, json=chat_body(script(fail_status=500)))
    assert reply.status_code == 502
    assert "usage" not in line_of(reply)


def test_a_request_whose_client_leaves_has_used_its_prompt_and_what_was_generated(
    cat: Cat, upstream: Upstream, tag: str, until: Callable[..., None]
) -> None:
    start = len(cat.log())
    body = chat_body(script(tag=tag, say=["one", " two", " three"], delay=0.3, usage=False), stream=True)
    with cat.http.stream("POST", CHAT, json=body) as stream:
        for line in stream.iter_lines():
            if "one" in line:
                break
    until(lambda: '"gone"' in cat.log()[start:], "the request is in the log")
    (line,) = [line for line in cat.log()[start:].splitlines() if '"gone"' in line]
    usage = json.JSONDecoder().raw_decode(line.partition("OpenAI API: ")[2])[0]["usage"]
    assert usage["prompt_tokens"] > 10
    assert 1 <= usage["completion_tokens"] <= 2


def test_a_refused_request_has_a_line_with_its_code_and_no_text_from_the_client(
    cat: Cat, line_of: Callable[..., dict[str, Any]]
) -> None:
    secret = "s" + uuid.uuid4().hex
    for body, headers, status, code in [
        (chat_body(model=secret), {}, 404, "model_not_found"),
        (chat_body(response_format={"type": secret}), {}, 400, "invalid_value"),
        (chat_body(secret), {"Authorization": f"Bearer {secret}"}, 401, "invalid_api_key"),
    ]:
        line = line_of(cat.http.post(CHAT, json=body, headers=headers))
        assert (line["status"], line["outcome"], line["code"]) == (status, "refused", code)
        assert secret not in json.dumps(line)


def test_a_failed_stream_has_one_line_with_its_code(cat: Cat, line_of: Callable[..., dict[str, Any]]) -> None:
    text = script(say=["one", " two"], break_after=1)
    line = line_of(cat.http.post(CHAT, json=chat_body(text, stream=True)))
    assert (line["status"], line["outcome"], line["code"]) == (200, "failed", "upstream_error")


def test_a_stream_whose_client_disconnected_has_one_line(cat: Cat, line_of: Callable[..., dict[str, Any]]) -> None:
    text = script(say="tick ", repeat=200, delay=0.1)
    with cat.http.stream("POST", CHAT, json=chat_body(text, stream=True)) as reply:
        next(reply.iter_bytes())
    line = line_of(reply)
    assert (line["status"], line["outcome"]) == (200, "gone")
    assert "finish_reason" not in line


def test_get_routes_have_no_line(cat: Cat) -> None:
    replies = [cat.http.get(f"/custom{path}") for path in ("/health", "/v1/models", "/v1/models/gpt-0", "/metrics")]
    assert [log_lines(cat, reply) for reply in replies] == [[], [], [], []]


def test_debug_mode_adds_fields_to_the_same_line(
    cat: Cat, settings: Callable[..., None], line_of: Callable[..., dict[str, Any]]
) -> None:
    settings(debug_mode=True)
    body = chat_body(script(say=["one", " two"], usage=False), stream=True)
    line = line_of(cat.http.post(CHAT, json=body))
    assert line["reply"].startswith("chatcmpl-")
    assert line["requested_model"] == "cheshire-cat"
    assert line["messages"][0]["role"] == "user"
    assert line["usage"]["completion_tokens"] == 2
    refused = line_of(cat.http.post(CHAT, json=chat_body(n=2)))
    assert (refused["code"], refused["error"]["param"]) == ("unsupported_parameter", "n")
