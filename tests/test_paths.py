"""Paths, methods and credentials as clients spell them."""

from typing import Any

import httpx
import pytest
from host import KEY, Cat

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND"]


def error_of(reply: httpx.Response, status: int) -> Any:
    assert reply.status_code == status, reply.text
    assert reply.headers["x-request-id"].startswith("req_")
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path",
    [
        "/v1/nowhere",
        "/v1",
        "/v1/",
        "/v1/threads/thread_1/runs",
        "/v1/responses/a/b/c",
        "/v1/chat//completions",
    ],
)
def test_an_unknown_path_is_not_found(http: httpx.Client, method: str, path: str) -> None:
    reply = http.request(method, path)
    if method == "HEAD":
        assert (reply.status_code, reply.content) == (404, b"")
        return
    error = error_of(reply, 404)
    assert error["code"] == "not_found"
    assert error["type"] == "invalid_request_error"


def test_an_unknown_path_is_not_found_without_a_key(cat: Cat) -> None:
    error_of(httpx.post(f"{cat.base_url}/nowhere", json={}), 404)


def test_the_routes_of_other_plugins_stay_theirs(http: httpx.Client) -> None:
    assert http.get("/v1/wonderland").json() == {"served": "tea"}
    assert http.post("/v1/wonderland").status_code == 405
    assert http.get("/v1/wonderland/tea").json()["error"]["code"] == "not_found"


def test_the_error_has_the_path_and_not_all_of_it(http: httpx.Client) -> None:
    error = error_of(http.get("/v1/" + "x" * 5000), 404)
    assert "GET /custom/v1/xxx" in error["message"]
    assert len(error["message"]) < 400


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/responses/nothing", 404, "not_found"),
        ("PUT", "/v1/responses/nothing", 404, "not_found"),
        ("POST", "/v1/responses/resp_1", 405, "method_not_supported"),
        ("GET", "/v1/responses/nothing", 404, "response_not_found"),
        ("GET", "/v1/responses", 405, "method_not_supported"),
        ("GET", "/v1/chat/completions", 405, "method_not_supported"),
        ("DELETE", "/v1/models", 405, "method_not_supported"),
        ("HEAD", "/v1/chat/completions", 405, None),
    ],
)
def test_a_known_path_with_another_method(
    http: httpx.Client, method: str, path: str, status: int, code: str | None
) -> None:
    reply = http.request(method, path)
    assert reply.status_code == status, reply.text
    if code:
        assert error_of(reply, status)["code"] == code


@pytest.mark.parametrize("path", ["/v1/models/", "/v1//models", "/v1//models/"])
def test_a_slash_too_many_changes_nothing(http: httpx.Client, path: str) -> None:
    reply = http.get(f"http://{http.base_url.host}:{http.base_url.port}/custom{path}")
    assert reply.status_code == 200, reply.text
    assert reply.json() == http.get("/v1/models").json()
    assert len(reply.headers.get_list("x-request-id")) == 1


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/v1//chat/completions"])
def test_a_post_with_a_slash_too_many(http: httpx.Client, path: str) -> None:
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "Meow."}]}
    reply = http.post(path, json=body, follow_redirects=False)
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"] == "Meow."
    assert error_of(http.post(path, json={}), 400)["code"] == "missing_required_parameter"
    error_of(http.post(path, json=body, headers={"Authorization": "Bearer nobody"}), 401)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/cheshire-cat", "/health", "/v1/models/"])
def test_head_is_get_without_a_body(http: httpx.Client, path: str) -> None:
    reply, whole = http.head(path), http.get(path)
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-type"] == whole.headers["content-type"]
    assert reply.headers["content-length"] == whole.headers["content-length"]
    assert http.head("/v1/models/dodo").status_code == 404
    # The connection is still usable: nothing of a body was sent.
    assert http.get(path).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "])
def test_the_scheme_of_the_credential_is_in_any_case(cat: Cat, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {KEY}"}
    reply = httpx.get(f"{cat.base_url}/models", headers=headers)
    assert reply.status_code == 200, reply.text
    admin = httpx.get(f"{cat.url}/custom/metrics", headers=headers)
    assert admin.json()["error"]["code"] == "metrics_off"
    other = httpx.get(f"{cat.base_url}/models", headers={"Authorization": f"{scheme} {cat.token('alice')}"})
    assert other.status_code == 200, other.text


@pytest.mark.parametrize("header", ["bearer nobody", "Bearer nobody", "Basic nobody", "bearer", "bearernobody"])
def test_a_wrong_credential_is_refused_whatever_its_scheme(cat: Cat, header: str) -> None:
    reply = httpx.get(f"{cat.base_url}/models", headers={"Authorization": header})
    assert error_of(reply, 401)["code"] == "invalid_api_key"


def test_a_service_is_one_whatever_the_case(cat: Cat, somebody: str) -> None:
    """The master key speaks for its end users."""
    body = {"model": "cheshire-cat", "input": "Hello!", "user": somebody}
    headers = {"Authorization": f"bearer {KEY}"}
    made = httpx.post(f"{cat.base_url}/responses", json=body, headers=headers, timeout=30).raise_for_status().json()
    own = f"{cat.base_url}/responses/{made['id']}"
    assert httpx.get(own, headers=headers).status_code == 404
    assert httpx.get(own, params={"user": somebody}, headers=headers).status_code == 200
