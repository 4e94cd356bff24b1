"""Authentication and permissions on every route of the plugin, as listed by the Cat's OpenAPI document."""

import json
from typing import Any

import httpx
import jwt
import pytest
from host import JWT_SECRET, KEY, WHICH, Cat, signed
from upstream import Upstream, script

OPEN = {"/custom/health"}
CLAIMS = {"sub": "1b2a5a3c-54a5-5d1b-8f6c-7f0f4c7f7f11", "username": "admin", "roles": ["admin"]}

NOBODY: dict[str, dict[str, Any]] = {
    "nothing": {},
    "an empty header": {"headers": {"Authorization": ""}},
    "Bearer alone": {"headers": {"Authorization": "Bearer"}},
    "a wrong key": {"headers": {"Authorization": "Bearer wrong"}},
    "half of the key": {"headers": {"Authorization": f"Bearer {KEY[:-1]}"}},
    "the key and more": {"headers": {"Authorization": f"Bearer {KEY}x"}},
    "two keys": {"headers": {"Authorization": f"Bearer {KEY} {KEY}"}},
    "the key in capitals": {"headers": {"Authorization": f"Bearer {KEY.upper()}"}},
    "another scheme": {"headers": {"Authorization": f"Basic {KEY}"}},
    "no scheme that there is": {"headers": {"Authorization": f"Token {KEY}"}},
    "other headers": {"headers": {"X-Api-Key": KEY, "Api-Key": KEY, "access_token": KEY, "user_id": "admin"}},
    "the query": {"params": {"api_key": KEY, "token": KEY, "access_token": KEY, "key": KEY, "user_id": "admin"}},
    "cookies": {"headers": {"Cookie": f"access_token={KEY}; token={KEY}; ccat_user_token={KEY}; jwt={KEY}"}},
    "a cookie with a JWT": {"headers": {"Cookie": f"access_token={signed(CLAIMS)}; token={signed(CLAIMS)}"}},
    "an expired JWT": {"headers": {"Authorization": f"Bearer {signed(CLAIMS, expires=-5)}"}},
    "a JWT of another secret": {"headers": {"Authorization": f"Bearer {signed(CLAIMS, JWT_SECRET[::-1])}"}},
    "a JWT of no algorithm": {"headers": {"Authorization": f"Bearer {jwt.encode(CLAIMS, '', algorithm='none')}"}},
    "a JWT without its signature": {"headers": {"Authorization": f"Bearer {signed(CLAIMS).rpartition('.')[0]}."}},
    "a JWT of another algorithm": {
        "headers": {"Authorization": f"Bearer {jwt.encode(CLAIMS, JWT_SECRET * 2, algorithm='HS512')}"}
    },
    "bytes": {"headers": {"Authorization": b"Bearer \xff\xfe"}},
    "a very long key": {"headers": {"Authorization": "Bearer " + "x" * 20_000}},
    "a wrong key before the right one": {
        "headers": [("Authorization", "Bearer wrong"), ("Authorization", f"Bearer {KEY}")]
    },
    "another one's name": {"headers": {"Authorization": "Bearer wrong", "user_id": "admin", "X-User-Id": "admin"}},
}


def routes(cat: Cat) -> list[tuple[str, str]]:
    """Methods and paths of the routes that need a credential."""
    paths = cat.http.get("/openapi.json").raise_for_status().json()["paths"]
    found = [
        (method.upper(), path.replace("{model}", "cheshire-cat"))
        for path, methods in paths.items()
        if path.startswith("/custom/") and path not in OPEN
        for method in methods
    ]
    assert {path for _, path in found} >= {"/custom/v1/models", "/custom/v1/chat/completions", "/custom/message"}
    return found


def body_for(path: str, tag: str) -> dict[str, Any]:
    text = script(tag=tag, say="ok")
    if path == "/custom/message":
        return {"text": text}
    if path.startswith("/custom/v1/responses"):
        return {"model": "cheshire-cat", "input": text}
    model = "cheshire-cat-embedder" if path == "/custom/v1/embeddings" else "cheshire-cat"
    return {"model": model, "messages": [{"role": "user", "content": text}], "input": text, "prompt": text}


def ask(cat: Cat, method: str, path: str, tag: str, **options: Any) -> httpx.Response:
    content = json.dumps(body_for(path, tag)) if method in ("POST", "PUT", "PATCH") else None
    return httpx.request(method, cat.url + path, content=content, timeout=30, **options)


@pytest.mark.parametrize("who", NOBODY)
def test_every_route_is_401_without_a_valid_credential(cat: Cat, upstream: Upstream, tag: str, who: str) -> None:
    for method, path in routes(cat):
        reply = ask(cat, method, path, tag, **NOBODY[who])
        assert reply.status_code == 401, (method, path, reply.text)
        assert reply.json()["error"]["code"] == "invalid_api_key"
        assert reply.headers["www-authenticate"] == "Bearer"
        assert KEY not in reply.text
        assert "x-ratelimit-limit-requests" not in reply.headers
    assert upstream.requests(tag) == []


def test_all_wrong_keys_get_the_same_401(cat: Cat, tag: str) -> None:
    for method, path in routes(cat):
        said = set()
        for who in (
            "a wrong key",
            "half of the key",
            "the key and more",
            "an expired JWT",
            "a JWT of another secret",
        ):
            reply = ask(cat, method, path, tag, **NOBODY[who])
            kept = {name: value for name, value in reply.headers.items() if name not in ("x-request-id", "date")}
            said.add((reply.text, json.dumps(kept, sort_keys=True)))
        assert len(said) == 1, (path, said)


def test_a_401_does_not_depend_on_the_model_or_the_body(cat: Cat, tag: str) -> None:
    """Without a key, existing and unknown models, valid and invalid bodies all get the same 401."""
    for path in ("/custom/v1/models/cheshire-cat", "/custom/v1/models/nobody", "/custom/v1/models/%2e%2e"):
        assert ask(cat, "GET", path, tag).status_code == 401
    for path in ("/custom/v1/responses/resp_0", "/custom/v1/responses/resp_0/input_items?limit=0"):
        assert ask(cat, "GET", path, tag).status_code == 401
    for content in (b"", b"{}", b"[", b"[" * 100_000):
        for path in (
            "/custom/v1/chat/completions",
            "/custom/v1/responses",
            "/custom/v1/embeddings",
            "/custom/message",
        ):
            reply = httpx.post(cat.url + path, content=content)
            assert reply.status_code == 401


def test_health_needs_no_key_and_is_the_same_with_one(cat: Cat) -> None:
    without = httpx.get(f"{cat.url}/custom/health").json()
    with_key = cat.http.get("/custom/health").json()
    assert {**without, "timestamp": 0} == {**with_key, "timestamp": 0}
    assert KEY not in json.dumps(without)


def is_for_admins(path: str) -> bool:
    return path.startswith(("/custom/metrics", "/custom/keys", "/custom/v1/organization", "/custom/end_users"))


def test_a_jwt_is_accepted_on_every_route_but_those_for_admins(cat: Cat, tag: str) -> None:
    headers = {"Authorization": f"Bearer {cat.token('alice')}"}
    for method, path in routes(cat):
        reply = ask(cat, method, path, tag, headers=headers)
        if is_for_admins(path):
            assert reply.status_code == 403
        else:
            is_of_a_response = "{response_id}" in path
            assert reply.status_code == (404 if is_of_a_response else 200), (path, reply.text)


def test_a_key_of_this_api_opens_what_a_jwt_opens_until_it_is_disabled(cat: Cat, upstream: Upstream, tag: str) -> None:
    jwt_headers = {"Authorization": f"Bearer {cat.token('alice')}"}
    for kind in ({}, {"service": True}, {"end_user": "alice"}):
        made = cat.http.post("/custom/keys", json={"name": "x", **kind}).raise_for_status().json()
        headers = {"Authorization": f"Bearer {made['value']}"}
        for method, path in routes(cat):
            reply, expected = (ask(cat, method, path, tag, headers=each) for each in (headers, jwt_headers))
            assert reply.status_code == expected.status_code, (path, reply.text)
        cat.http.post(f"/custom/keys/{made['id']}", json={"enabled": False}).raise_for_status()
        asked = len(upstream.requests(tag))
        for method, path in routes(cat):
            assert ask(cat, method, path, tag, headers=headers).status_code == 401, path
        assert len(upstream.requests(tag)) == asked


def test_a_jwt_gives_no_access_to_another_users_conversation(cat: Cat, tag: str) -> None:
    headers = {"Authorization": f"Bearer {cat.token('alice')}", "user_id": "bob", "X-User-Id": "bob"}
    body = {**body_for("/custom/message", tag), "user_id": "bob"}
    reply = httpx.post(f"{cat.url}/custom/message", json=body, headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "insufficient_permissions")
    del body["user_id"]
    assert httpx.post(f"{cat.url}/custom/message", json=body, headers=headers).json()["user_id"] == "alice"


@pytest.mark.skipif(WHICH == "2", reason="any user of Cheshire Cat 2 may")
def test_403_on_every_route_for_a_user_without_permissions(cat: Cat, upstream: Upstream, tag: str) -> None:
    credentials = {"username": "gnat", "password": "curiouser"}
    cat.http.post("/users/", json={**credentials, "permissions": {"STATUS": ["READ"]}})
    token = cat.http.post("/auth/token", json=credentials).raise_for_status().json()["access_token"]
    for method, path in routes(cat):
        reply = ask(cat, method, path, tag, headers={"Authorization": f"Bearer {token}"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "insufficient_permissions"), path
    assert upstream.requests(tag) == []
