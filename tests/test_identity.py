"""The user of a request: the JWT's user, or the end user named in a request with the API key."""

import asyncio
import re
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from asking import chat_body
from host import KEY, WHICH, Cat, needs_memory
from openai import AsyncOpenAI
from upstream import Upstream, script, text_of

CHAT = "/v1/chat/completions"

ODD_NAMES = [
    "Grüße, 王小明 🎩",
    "../../etc/passwd",
    "a' OR '1'='1",
    "{braces} {{twice}} %s {0}",
    "name?with=query&and#hash",
    "a\nnew line\tand a tab",
    "  spaces  ",
    "A" * 512,
]


def user_of_request(http: httpx.Client, upstream: Upstream, *, headers: Any = None, **more: Any) -> str:
    """The user of the request, which the test plugin puts into the prompt."""
    tag = uuid.uuid4().hex
    text = script(tag=tag, say="ok")
    if WHICH == "2":
        more["model"] = "cheshire-cat:mirror"
    reply = http.post(CHAT, json={**chat_body(text), **more}, headers=headers)
    assert reply.status_code == 200, reply.text
    (record,) = upstream.wait(tag)
    system = text_of(record["body"]["messages"][0])
    found = re.search(r"The person before you is ('.*?'|\".*?\")\.$", system, re.MULTILINE)
    assert found
    name: str = eval(found[1])  # the plugin's repr of a name
    return name


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
def test_a_field_names_the_end_user(http: httpx.Client, upstream: Upstream, somebody: str, field: str) -> None:
    assert user_of_request(http, upstream, **{field: somebody}) == somebody


@pytest.mark.parametrize("header", ["X-OpenWebUI-User-Id", "x-user-id"])
def test_a_header_names_the_end_user(http: httpx.Client, upstream: Upstream, somebody: str, header: str) -> None:
    assert user_of_request(http, upstream, headers={header: somebody}) == somebody


def test_the_field_takes_precedence_over_headers_and_headers_by_order_of_the_setting(
    http: httpx.Client, upstream: Upstream, somebody: str
) -> None:
    headers = {"X-User-Id": "second", "X-OpenWebUI-User-Id": "first"}
    assert user_of_request(http, upstream, headers=headers) == "first"
    assert user_of_request(http, upstream, headers=headers, user=somebody) == somebody
    assert user_of_request(http, upstream, headers={**headers, "X-OpenWebUI-User-Id": ""}) == "second"


def test_the_setting_chooses_the_headers(
    http: httpx.Client, upstream: Upstream, settings: Callable[..., None], somebody: str
) -> None:
    settings(end_user_headers="X-Who")
    assert user_of_request(http, upstream, headers={"X-User-Id": "not me", "X-Who": somebody}) == somebody
    settings(end_user_headers="")
    assert user_of_request(http, upstream, headers={"X-User-Id": somebody}) != somebody


def test_a_name_in_a_header_may_have_any_letters(http: httpx.Client, upstream: Upstream) -> None:
    assert user_of_request(http, upstream, headers={b"X-User-Id": "Zoë 王 🎩".encode()}) == "Zoë 王 🎩"


def test_a_header_that_is_too_long_is_refused(http: httpx.Client) -> None:
    reply = http.post(CHAT, json=chat_body(), headers={"X-User-Id": "x" * 513})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "X-User-Id"


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: name[:12])
def test_special_characters_in_names_have_no_effect(http: httpx.Client, upstream: Upstream, name: str) -> None:
    assert user_of_request(http, upstream, user=name) == name


def test_a_jwt_is_always_its_own_user(cat: Cat, upstream: Upstream, somebody: str) -> None:
    headers = {"Authorization": f"Bearer {cat.token(somebody)}"}
    with httpx.Client(base_url=f"{cat.url}/custom", headers=headers, timeout=30) as person:
        assert user_of_request(person, upstream) == somebody
        assert user_of_request(person, upstream, user="alice") == somebody
        assert user_of_request(person, upstream, safety_identifier="alice") == somebody
        assert user_of_request(person, upstream, headers={"X-User-Id": "alice"}) == somebody


def test_a_header_names_the_end_user_of_a_message(http: httpx.Client, somebody: str) -> None:
    reply = http.post("/message", json={"text": script(say="ok")}, headers={"X-User-Id": somebody})
    assert reply.json()["user_id"] == somebody


def test_each_end_user_has_a_separate_rate_limit_count(
    http: httpx.Client, settings: Callable[..., None], somebody: str
) -> None:
    settings(rate_limit_per_minute=1)
    headers = {"X-OpenWebUI-User-Id": somebody}
    assert http.post(CHAT, json=chat_body(), headers=headers).status_code == 200
    assert http.post(CHAT, json=chat_body(), headers=headers).status_code == 429
    assert http.post(CHAT, json=chat_body(user=somebody)).status_code == 429
    assert http.post(CHAT, json=chat_body(), headers={"X-OpenWebUI-User-Id": somebody + "2"}).status_code == 200


@needs_memory
def test_fifty_concurrent_end_users_have_separate_memories(cat: Cat, upstream: Upstream, tag: str) -> None:
    """Each stores a secret in one chat and requests it in another; the Cat recalls it from its memory."""
    secrets = {f"person {number} {tag}": uuid.uuid4().hex for number in range(50)}
    model = "cheshire-cat:mirror" if WHICH == "2" else "cheshire-cat"

    async def say(client: AsyncOpenAI, person: str, text: str) -> None:
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], user=person)

    async def all_at_once() -> None:
        async with AsyncOpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0, timeout=60) as client:
            told = (say(client, who, script(f"My secret is {what}", say="ok")) for who, what in secrets.items())
            await asyncio.gather(*told)
            asked = (
                say(client, who, script("[memories] What is my secret?", tag=f"{tag} {who}", say="ok"))
                for who in secrets
            )
            await asyncio.gather(*asked)

    asyncio.run(all_at_once())
    for person, secret in secrets.items():
        (record,) = upstream.wait(f"{tag} {person}")
        prompt = text_of(record["body"]["messages"][0])
        assert {word for word in secrets.values() if word in prompt} == {secret}
