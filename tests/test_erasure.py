"""Erasing people: all that the plugin keeps of them goes, and runs under way store nothing more."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest
from asking import body, said_to, user
from host import WHICH, Cat, needs_agents, needs_memory
from upstream import Upstream, text_of

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MODEL = "cheshire-cat:mirror" if WHICH == "2" else "cheshire-cat"
"""One that remembers what people say."""

NOTHING = {"responses": 0, "conversations": 0, "states": 0, "memories": 0, "keys": 0, "usage": 0}


def erase(http: httpx.Client, name: str) -> dict[str, int]:
    reply = http.delete(f"/end_users/{quote(name, safe='')}")
    assert reply.status_code == 200, reply.text
    content = reply.json()
    assert (content["id"], content["object"], content["deleted"]) == (name, "end_user.deleted", True)
    return content["erased"]


def tell(http: httpx.Client, name: str, secret: str, **fields: Any) -> httpx.Response:
    asked = {**body(user(f"The secret is {secret}.", say="I see.", **fields)), "model": MODEL, "user": name}
    return http.post(CHAT, json=asked).raise_for_status()


def remembers(http: httpx.Client, upstream: Upstream, name: str, secret: str, tag: str) -> bool:
    """Whether the Cat's memory of the person has the secret."""
    asked = body(user("[memories] What is the secret?", tag=tag, say="ok"), user=name, store=False)
    http.post(CHAT, json={**asked, "model": MODEL}).raise_for_status()
    *_, record = upstream.wait(tag)
    return secret in text_of(record["body"]["messages"][0])


def respond(http: httpx.Client, name: str, **fields: Any) -> str:
    asked = {"model": "cheshire-cat", "input": user("hi", say="ok")["content"], "user": name, **fields}
    return http.post(RESPONSES, json=asked).raise_for_status().json()["id"]


def is_stored(http: httpx.Client, name: str, response_id: str) -> bool:
    return http.get(f"{RESPONSES}/{response_id}", params={"user": name}).status_code == 200


def shown_in_usage(http: httpx.Client) -> dict[str | None, int]:
    """Requests by end user."""
    query = {"start_time": int(time.time()) - 1, "group_by": "user_id"}
    page = http.get("/v1/organization/usage/completions", params=query).raise_for_status().json()
    found = [result for bucket in page["data"] for result in bucket["results"]]
    return {result["user_id"]: result["num_model_requests"] for result in found}


def test_all_that_is_kept_of_a_person_goes_and_is_counted(
    http: httpx.Client, upstream: Upstream, somebody: str, tag: str
) -> None:
    other = f"{somebody}-other"
    kept = [respond(http, somebody) for _ in range(3)]
    others = respond(http, other)
    for name in (somebody, other):
        http.post("/message", json={"text": user("I am here", say="Hi")["content"], "user_id": name}).raise_for_status()
        tell(http, name, tag)
    before = shown_in_usage(http)
    assert before[somebody] == 5
    erased = erase(http, somebody)
    assert (erased["responses"], erased["conversations"]) == (3, 1)
    assert erased["usage"] > 0
    assert not any(is_stored(http, somebody, response) for response in kept)
    assert is_stored(http, other, others)
    after = shown_in_usage(http)
    assert somebody not in after
    assert after[other] == before[other]
    assert sum(after.values()) == sum(before.values())
    message = {"text": user("Who am I?", tag=tag, say="?")["content"], "user_id": somebody}
    http.post("/message", json=message).raise_for_status()
    assert said_to(upstream, tag) == [("user", "Who am I?")]
    assert {**erase(http, somebody), "usage": 0, "memories": 0} == {**NOTHING, "conversations": 1}
    assert erase(http, somebody) == NOTHING


@needs_memory
def test_what_the_cat_remembers_of_a_person_goes(
    http: httpx.Client, upstream: Upstream, somebody: str, tag: str
) -> None:
    other = f"{somebody}-other"
    for name in (somebody, other):
        tell(http, name, tag)
        assert remembers(http, upstream, name, tag, f"{tag} {name}")
    assert erase(http, somebody)["memories"] == 1
    assert not remembers(http, upstream, somebody, tag, f"{tag} again")
    assert remembers(http, upstream, other, tag, f"{tag} other")


@needs_agents
def test_states_go_on_cat_2(http: httpx.Client, upstream: Upstream, somebody: str, tag: str) -> None:
    turns = [{"say": ["Let me see."], "tool_calls": [{"name": "clock", "arguments": {}}]}, {"say": ["Tea time."]}]
    asked = user("What time is it?", turns=turns)
    more = {"model": "cheshire-cat:alice", "user": somebody}
    reply = http.post(CHAT, json={**body(asked), **more}).raise_for_status().json()["choices"][0]["message"]
    assert erase(http, somebody)["states"] == 1
    http.post(CHAT, json={**body(asked, reply, user("Sure?", tag=tag, say="Yes.")), **more}).raise_for_status()
    assert [role for role, _ in said_to(upstream, tag)] == ["user", "assistant", "user"]


@pytest.mark.skipif(WHICH == "2", reason="the state of Cheshire Cat 1.9")
def test_states_go_on_cat_1(http: httpx.Client, somebody: str) -> None:
    """They are in the Cat's cache, which cannot list them."""
    messages: list[Any] = []
    for expected in ("Visits: [1]", "Visits: [1, 2]", "Visits: [1]"):
        messages.append({"role": "user", "content": "Count me."})
        reply = http.post(CHAT, json=body(*messages, user=somebody)).raise_for_status().json()["choices"][0]["message"]
        assert reply["content"] == expected
        messages.append({"role": "assistant", "content": reply["content"]})
        if expected == "Visits: [1, 2]":
            assert erase(http, somebody)["states"] == 2


ODD_NAMES = [
    "a/b",
    "a b?c#d%2F",
    "\N{CAT FACE} alice@example.org",
    "x" * 512,
    "6f1e2a44-5dcb-4a0e-9a55-0d2f6c3b1a77",
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: name[:12])
def test_any_name_can_be_erased(http: httpx.Client, name: str) -> None:
    erase(http, name)
    kept = respond(http, name)
    assert erase(http, name)["responses"] == 1
    assert not is_stored(http, name, kept)


def test_a_name_that_nobody_has_is_refused(http: httpx.Client) -> None:
    reply = http.delete(f"/end_users/{'x' * 513}")
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "name")
    assert http.delete("/end_users/").status_code == 404


def test_a_person_can_erase_itself_and_nobody_else(cat: Cat, http: httpx.Client, somebody: str) -> None:
    with httpx.Client(base_url=f"{cat.url}/custom", headers={"Authorization": f"Bearer {cat.token(somebody)}"}) as own:
        kept = own.post(RESPONSES, json={"model": "cheshire-cat", "input": "hi"}).raise_for_status().json()["id"]
        others = respond(http, f"{somebody}-other")
        for name in (f"{somebody}-other", "admin", "user", somebody.upper()):
            reply = own.delete(f"/end_users/{name}")
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "insufficient_permissions")
        assert own.get(f"{RESPONSES}/{kept}").status_code == 200
        assert erase(own, somebody)["responses"] == 1
        assert own.get(f"{RESPONSES}/{kept}").status_code == 404
    assert is_stored(http, f"{somebody}-other", others)


@needs_agents
def test_on_cat_2_an_end_user_of_the_same_name_is_somebody_else(cat: Cat, http: httpx.Client, somebody: str) -> None:
    """A user of the Cat erases only what is its own; an admin erases it by its id."""
    kept = respond(http, somebody)
    with httpx.Client(base_url=f"{cat.url}/custom", headers={"Authorization": f"Bearer {cat.token(somebody)}"}) as own:
        assert erase(own, somebody)["responses"] == 0
        assert is_stored(http, somebody, kept)
        mine = own.post(RESPONSES, json={"model": "cheshire-cat", "input": "hi"}).raise_for_status().json()["id"]
        user_id = jwt.decode(cat.token(somebody), options={"verify_signature": False})["sub"]
        assert erase(http, user_id)["responses"] == 1
        assert own.get(f"{RESPONSES}/{mine}").status_code == 404
    assert is_stored(http, somebody, kept)


def make_key(http: httpx.Client, **fields: Any) -> dict[str, Any]:
    key: dict[str, Any] = http.post("/keys", json={"name": "of a test", **fields}).raise_for_status().json()
    return key


def with_key(cat: Cat, key: dict[str, Any]) -> httpx.Client:
    return httpx.Client(base_url=f"{cat.url}/custom", headers={"Authorization": f"Bearer {key['value']}"}, timeout=30)


def test_a_key_for_an_end_user_erases_that_end_user_and_itself(cat: Cat, http: httpx.Client, somebody: str) -> None:
    key, other = (make_key(http, end_user=name) for name in (somebody, f"{somebody}-other"))
    kept = respond(http, somebody)
    with with_key(cat, key) as own, with_key(cat, other) as others:
        assert own.delete(f"/end_users/{somebody}-other").status_code == 403
        erased = erase(own, somebody)
        assert (erased["responses"], erased["keys"]) == (1, 1)
        assert own.get("/v1/models").status_code == 401
        assert others.get("/v1/models").status_code == 200
    assert not is_stored(http, somebody, kept)
    assert erase(http, f"{somebody}-other")["keys"] == 1


def test_a_key_whose_budget_is_used_up_can_still_erase_its_person(cat: Cat, http: httpx.Client, somebody: str) -> None:
    key = make_key(http, end_user=somebody, tokens_per_day=1)
    with with_key(cat, key) as own:
        statuses = [own.post(CHAT, json=body(user("hi", say="ok"))).status_code for _ in range(2)]
        assert statuses == [200, 429]
        assert erase(own, somebody)["keys"] == 1


def test_a_services_key_erases_nobody(cat: Cat, http: httpx.Client, somebody: str) -> None:
    key = make_key(http, service=True)
    kept = respond(http, somebody)
    with with_key(cat, key) as service:
        for name in (somebody, f"openai-api-key:{key['id']}"):
            reply = service.delete(f"/end_users/{name}", headers={"X-User-Id": somebody})
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "insufficient_permissions")
    assert is_stored(http, somebody, kept)
    http.delete(f"/keys/{key['id']}").raise_for_status()


@needs_memory
def test_the_holder_of_a_key_of_its_own_can_be_erased(
    cat: Cat, http: httpx.Client, upstream: Upstream, tag: str
) -> None:
    key = make_key(http)
    with with_key(cat, key) as own:
        told = {**body(user(f"The secret is {tag}.", say="I see.")), "model": MODEL}
        own.post(CHAT, json=told).raise_for_status()
        kept = own.post(RESPONSES, json={"model": "cheshire-cat", "input": "hi"}).raise_for_status().json()["id"]
        erased = erase(http, f"openai-api-key:{key['id']}")
        assert (erased["responses"], erased["keys"]) == (1, 0)
        assert erased["memories"] >= 1
        assert own.get(f"{RESPONSES}/{kept}").status_code == 404
    http.delete(f"/keys/{key['id']}").raise_for_status()


def test_nobody_is_erased_without_a_credential(cat: Cat, http: httpx.Client, somebody: str) -> None:
    kept = respond(http, somebody)
    assert httpx.delete(f"{cat.url}/custom/end_users/{somebody}").status_code == 401
    wrong = {"Authorization": "Bearer wrong"}
    assert httpx.delete(f"{cat.url}/custom/end_users/{somebody}", headers=wrong).status_code == 401
    assert is_stored(http, somebody, kept)


def test_erasing_counts_in_the_rate_limit(
    http: httpx.Client, settings: Callable[..., None], somebody: str, cat: Cat
) -> None:
    settings(rate_limit_per_minute=2)
    with httpx.Client(base_url=f"{cat.url}/custom", headers={"Authorization": f"Bearer {cat.token(somebody)}"}) as own:
        replies = [own.delete(f"/end_users/{somebody}").status_code for _ in range(3)]
    assert replies == [200, 200, 429]


@needs_memory
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_run_under_way_stores_nothing_more_of_the_person(
    cat: Cat, http: httpx.Client, upstream: Upstream, somebody: str, tag: str, *, stream: bool
) -> None:
    slow = {"say": ["one ", "two"], "first_delay": 1.5}
    told = user(f"The secret is {tag}.", tag=f"{tag} told", **slow)
    chat = {**body(told), "model": MODEL, "user": somebody, "stream": stream}
    response = {"model": "cheshire-cat", "user": somebody, "stream": stream}
    response["input"] = user("hi", tag=f"{tag} asked", **slow)["content"]
    message = {"text": user("hi", tag=f"{tag} sent", **slow)["content"], "user_id": somebody}
    with ThreadPoolExecutor(3) as pool:
        chatting = pool.submit(http.post, CHAT, json=chat)
        responding = pool.submit(http.post, RESPONSES, json=response)
        sending = pool.submit(http.post, "/message", json=message)
        for what in ("told", "asked", "sent"):
            upstream.wait(f"{tag} {what}", state="running")
        erase(http, somebody)
        assert chatting.result().status_code == 200
        assert sending.result().status_code == 200
        ended = responding.result()
    if stream:
        events = [json.loads(line[6:]) for line in ended.text.splitlines() if line.startswith("data: {")]
        assert events, (ended.status_code, ended.text)
        response_id = events[0]["response"]["id"]
    else:
        response_id = ended.json().get("id", "resp_none")
    assert not is_stored(http, somebody, response_id)
    assert not remembers(http, upstream, somebody, tag, tag)
    left = erase(http, somebody)
    # What looked into the memory a moment ago was counted since.
    assert {**left, "usage": 0} == NOTHING


def test_who_was_erased_can_come_back(http: httpx.Client, upstream: Upstream, somebody: str, tag: str) -> None:
    respond(http, somebody)
    erase(http, somebody)
    kept = respond(http, somebody)
    again = respond(http, somebody, previous_response_id=kept)
    assert is_stored(http, somebody, again)
    http.post("/message", json={"text": user("one", say="1")["content"], "user_id": somebody}).raise_for_status()
    http.post("/message", json={"text": user("two", tag=tag)["content"], "user_id": somebody}).raise_for_status()
    assert [said for _, said in said_to(upstream, tag)] == ["one", "1", "two"]
    assert {**erase(http, somebody), "memories": 0, "usage": 0} == {**NOTHING, "responses": 2, "conversations": 1}


def test_the_log_names_nobody(http: httpx.Client, cat: Cat, somebody: str) -> None:
    respond(http, somebody)
    start = len(cat.log())
    erase(http, somebody)
    assert "OpenAI API: an end user was erased: {'responses': 1" in cat.log()[start:]
    lines = [line for line in cat.log()[start:].splitlines() if "OpenAI API" in line]
    assert not [line for line in lines if somebody in line]
