"""Compaction of conversations, and counting the tokens of an input.

A compaction is made by the Cat's LLM and read by this API alone, for the person that it was made for.
"""

import base64
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import httpx
import pytest
from asking import user
from host import WHICH, Cat
from openai import OpenAI
from upstream import Upstream, script, text_of

Json: TypeAlias = dict[str, Any]

COMPACT, COUNT, RESPONSES = "/v1/responses/compact", "/v1/responses/input_tokens", "/v1/responses"
SUMMARY = "They launch on Tuesday; support is told first."


def message(role: str, text: str) -> Json:
    return {"role": role, "content": text}


def conversation(tag: str, summary: Any = SUMMARY, **script_fields: Any) -> list[Json]:
    """Its transcript has the script for the LLM on a line of its own."""
    return [
        message("developer", "Be brief."),
        message("user", script("We launch on Tuesday.", tag=tag, say=summary, **script_fields)),
        message("assistant", "Noted: Tuesday."),
        {"type": "function_call", "call_id": "call_1", "name": "tell", "arguments": '{"whom": "support"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "support was told"},
        message("assistant", "Support knows."),
        message("user", "And the cake?"),
    ]


def compact(http: httpx.Client, items: Any, **fields: Any) -> Json:
    reply = http.post(COMPACT, json={"model": "cheshire-cat", "input": items, **fields})
    assert reply.status_code == 200, reply.text
    return reply.json()


def reached(upstream: Upstream, tag: str) -> str:
    """All texts that reached the LLM with the last request of the tag."""
    *_, record = upstream.wait(tag)
    return "\n".join(text_of(each) for each in record["body"]["messages"])


def test_the_older_turns_become_one_item(http: httpx.Client, upstream: Upstream, tag: str) -> None:
    items = conversation(tag)
    compacted = compact(http, items, instructions="You plan launches.")
    assert compacted["object"] == "response.compaction"
    assert compacted["id"].startswith("resp_")
    *kept, compaction = compacted["output"]
    assert [(item["role"], text_of(item_as_chat(item))) for item in kept] == [
        (item["role"], item["content"]) for item in items if item.get("role") in ("developer", "user")
    ]
    assert set(compaction) == {"type", "id", "encrypted_content"}
    assert (compaction["type"], compaction["id"][:4]) == ("compaction", "cmp_")
    assert compacted["usage"]["output_tokens"] > 0

    (record,) = upstream.wait(tag)
    told = reached(upstream, tag)
    for text in ("We launch on Tuesday.", "Noted: Tuesday.", "tell", "support was told", "Be brief.", "You plan"):
        assert text in told
    assert not record["body"].get("tools")


def item_as_chat(item: Json) -> Json:
    return {"content": [{"type": "text", "text": part["text"]} for part in item["content"]]}


def test_nobody_can_read_the_summary_but_the_llm(http: httpx.Client, upstream: Upstream, tag: str) -> None:
    compaction = compact(http, conversation(tag))["output"][-1]
    sealed = compaction["encrypted_content"]
    assert b"Tuesday" not in base64.urlsafe_b64decode(sealed)
    again = compact(http, conversation(tag))["output"][-1]
    assert again["encrypted_content"] != sealed

    follow_up = f"{tag} after"
    asked = [compaction, user("When?", tag=follow_up, say="On Tuesday.")]
    made = http.post(RESPONSES, json={"model": "cheshire-cat", "input": asked}).json()
    assert made["output"][0]["content"][0]["text"] == "On Tuesday."
    told = reached(upstream, follow_up)
    assert SUMMARY in told
    assert "Noted: Tuesday." not in told
    # It is still known to the responses that continue that one.
    chained = f"{tag} chained"
    body = {"input": [user("Sure?", tag=chained, say="Yes.")], "previous_response_id": made["id"]}
    assert http.post(RESPONSES, json={"model": "cheshire-cat", **body}).status_code == 200
    assert SUMMARY in reached(upstream, chained)
    listed = http.get(f"{RESPONSES}/{made['id']}/input_items").json()["data"]
    assert listed[-1] == compaction


@pytest.mark.parametrize("type", ["compaction", "compaction_summary", "context_compaction"])
@pytest.mark.parametrize("stream", [False, True])
def test_compactions_under_their_other_names(
    http: httpx.Client, upstream: Upstream, tag: str, type: str, stream: bool
) -> None:
    compaction = {**compact(http, conversation(tag))["output"][-1], "type": type}
    follow_up = f"{tag} after"
    asked = [compaction, user("When?", tag=follow_up, say="On Tuesday.")]
    reply = http.post(RESPONSES, json={"model": "cheshire-cat", "input": asked, "stream": stream})
    assert reply.status_code == 200, reply.text
    assert SUMMARY in reached(upstream, follow_up)


def test_a_marker_of_codex_without_content_is_ignored(client: OpenAI) -> None:
    items: list[Any] = [{"type": "context_compaction"}, message("user", "Meow.")]
    assert client.responses.create(model="cheshire-cat", input=items).output_text == "Meow."


def test_a_compaction_can_be_compacted_again(http: httpx.Client, upstream: Upstream, tag: str) -> None:
    first = compact(http, conversation(tag))["output"]
    second = compact(http, [first[-1], *conversation(f"{tag} 2", "Cake, too.")])["output"]
    assert SUMMARY in reached(upstream, f"{tag} 2")
    assert [item["type"] for item in second].count("compaction") == 1


def test_a_damaged_compaction_is_refused(http: httpx.Client, tag: str) -> None:
    sealed = compact(http, conversation(tag))["output"][-1]["encrypted_content"]
    data = base64.urlsafe_b64decode(sealed)
    flipped = base64.urlsafe_b64encode(data[:-1] + bytes([data[-1] ^ 1])).decode()
    for damaged in (flipped, sealed[:-8], sealed[:12], "gAAAAABpM0Yj", "{}", "", "\u00e9", "A" * 400):
        items = [message("user", "Hi."), {"type": "compaction", "encrypted_content": damaged}]
        for path in (RESPONSES, COMPACT, COUNT):
            reply = http.post(path, json={"model": "cheshire-cat", "input": items})
            error = reply.json()["error"]
            assert reply.status_code == 400, reply.text
            assert error["param"] == "input[1].encrypted_content"
            assert error["code"] == ("invalid_value" if damaged else "missing_required_parameter")


def test_a_compaction_is_its_persons_alone(http: httpx.Client, cat: Cat, tag: str, somebody: str) -> None:
    mine = compact(http, conversation(tag), user=somebody)["output"][-1]
    asked = {"model": "cheshire-cat", "input": [mine, message("user", "When?")]}
    assert http.post(RESPONSES, json={**asked, "user": somebody}).status_code == 200
    other = http.post(RESPONSES, json={**asked, "user": somebody + "x"})
    assert (other.status_code, other.json()["error"]["code"]) == (400, "invalid_value")
    with httpx.Client(base_url=cat.base_url, headers={"Authorization": f"Bearer {cat.token('alice')}"}) as alice:
        assert alice.post("/responses", json=asked).status_code == 400


def test_a_compaction_that_a_service_made_is_good_for_its_end_users(
    http: httpx.Client, cat: Cat, tag: str, somebody: str
) -> None:
    """OpenAI's form of the request has no field for the end user."""
    services = compact(http, conversation(tag))["output"][-1]
    asked = {"model": "cheshire-cat", "input": [services, message("user", "When?")]}
    assert http.post(RESPONSES, json={**asked, "user": somebody}).status_code == 200
    with httpx.Client(base_url=cat.base_url, headers={"Authorization": f"Bearer {cat.token('alice')}"}) as alice:
        assert alice.post("/responses", json=asked).status_code == 400


def test_a_stored_conversation_is_compacted(http: httpx.Client, upstream: Upstream, tag: str) -> None:
    body = {"model": "cheshire-cat", "input": [user("Remember the number 17.", tag=tag, say="Noted: 17.")]}
    made = http.post(RESPONSES, json=body).json()
    compacted = http.post(COMPACT, json={"model": "cheshire-cat", "previous_response_id": made["id"]}).json()
    assert [item["type"] for item in compacted["output"]] == ["message", "compaction"]
    assert "[assistant]\nNoted: 17." in reached(upstream, tag)


def test_a_long_conversation_keeps_the_users_last_messages(http: httpx.Client, tag: str) -> None:
    items = [message("user", f"{number} " + "x" * 30_000) for number in range(5)]
    items.insert(0, message("system", "Be brief."))
    kept = compact(http, [*items, *conversation(tag)])["output"][:-1]
    texts = [item["content"][0]["text"][:8] for item in kept]
    assert texts == ["Be brief", "3 xxxxxx", "4 xxxxxx", "Be brief", "We launc", "And the "]


def test_it_leaves_no_trace(http: httpx.Client, upstream: Upstream, tag: str, somebody: str) -> None:
    compact(http, conversation(tag), user=somebody)
    compacted = compact(http, conversation(tag), user=somebody)
    assert http.get(f"{RESPONSES}/{compacted['id']}", params={"user": somebody}).status_code == 404
    if WHICH != "2":
        asked = {"input": [user("[memories]", tag=f"{tag} after", say="Well.")], "user": somebody}
        http.post(RESPONSES, json={"model": "cheshire-cat", **asked}).raise_for_status()
        assert not re.search(r"^  - ", reached(upstream, f"{tag} after"), re.MULTILINE)


@pytest.mark.skipif(WHICH != "2", reason="of Cheshire Cat 2's agents")
def test_the_cats_own_tools_are_not_offered(http: httpx.Client, upstream: Upstream, tag: str) -> None:
    reply = http.post(COMPACT, json={"model": "cheshire-cat:alice", "input": conversation(tag)})
    assert reply.status_code == 200, reply.text
    (record,) = upstream.wait(tag)
    assert not record["body"].get("tools")


def test_an_empty_summary_is_an_error(http: httpx.Client, tag: str) -> None:
    reply = http.post(COMPACT, json={"model": "cheshire-cat", "input": conversation(tag, "")})
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_error")


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"input": "x"}, 400, "missing_required_parameter", "model"),
        ({"model": "cheshire-cat"}, 400, "missing_required_parameter", "input"),
        ({"model": "cheshire-cat", "input": None}, 400, "missing_required_parameter", "input"),
        ({"model": "cheshire-cat", "input": []}, 400, "invalid_value", "input"),
        ({"model": "dodo", "input": "x"}, 404, "model_not_found", "model"),
        (
            {"model": "cheshire-cat", "previous_response_id": "resp_0"},
            400,
            "previous_response_not_found",
            "previous_response_id",
        ),
        (
            {"model": "cheshire-cat", "input": [{"type": "compaction_trigger"}, message("user", "x")]},
            400,
            "",
            "input[0]",
        ),
    ],
)
def test_what_cannot_be_compacted(http: httpx.Client, body: Json, status: int, code: str, param: str) -> None:
    reply = http.post(COMPACT, json=body)
    error = reply.json()["error"]
    assert reply.status_code == status, reply.text
    assert (error["code"], error["param"]) == (code or "invalid_value", param)


def test_the_sdk_compacts_and_continues(client: OpenAI, tag: str) -> None:
    items: list[Any] = conversation(tag)
    compacted = client.responses.compact(model="cheshire-cat", input=items)
    output: list[Any] = [item.model_dump(exclude_none=True) for item in compacted.output]
    reply = client.responses.create(model="cheshire-cat", input=[*output, message("user", "Meow.")])
    assert reply.output_text == "Meow."


def test_a_stream_that_compacts(http: httpx.Client, client: OpenAI, upstream: Upstream, tag: str) -> None:
    """As Codex asks for it: an item at the end of the input of an ordinary request."""
    items: list[Any] = [*conversation(tag), {"type": "compaction_trigger"}]
    with client.responses.stream(model="cheshire-cat", input=items, store=False) as stream:
        events = [event.type for event in stream]
        response = stream.get_final_response()
    assert events == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.completed",
    ]
    (item,) = response.output
    assert item.type == "compaction"
    assert response.usage is not None
    follow_up = f"{tag} after"
    asked = [item.model_dump(), user("When?", tag=follow_up, say="On Tuesday.")]
    http.post(RESPONSES, json={"model": "cheshire-cat", "input": asked}).raise_for_status()
    assert SUMMARY in reached(upstream, follow_up)


def test_a_trigger_without_a_stream(http: httpx.Client, tag: str) -> None:
    items = [*conversation(tag), {"type": "compaction_trigger"}]
    made = http.post(RESPONSES, json={"model": "cheshire-cat", "input": items}).json()
    assert (made["status"], [item["type"] for item in made["output"]]) == ("completed", ["compaction"])
    listed = http.get(f"{RESPONSES}/{made['id']}/input_items").json()["data"]
    assert "compaction_trigger" not in {item["type"] for item in listed}
    # The next response goes on from it.
    body = {"input": "Meow.", "previous_response_id": made["id"]}
    assert http.post(RESPONSES, json={"model": "cheshire-cat", **body}).status_code == 200


def test_it_counts_for_the_limits(settings: Callable[..., None], http: httpx.Client, tag: str, somebody: str) -> None:
    settings(rate_limit_per_minute=2)
    body = {"model": "cheshire-cat", "input": conversation(tag), "user": somebody}
    first, second, third = (http.post(path, json=body) for path in (COMPACT, COUNT, COMPACT))
    assert [first.status_code, second.status_code, third.status_code] == [200, 200, 429]
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert http.post(COUNT, json=body).status_code == 429
    # What is refused anyway is not counted.
    assert http.post(COUNT, json={**body, "input": None}).status_code == 400


def count(http: httpx.Client, **fields: Any) -> int:
    reply = http.post(COUNT, json={"model": "cheshire-cat", **fields})
    assert reply.status_code == 200, reply.text
    assert set(reply.json()) == {"object", "input_tokens"}
    assert reply.json()["object"] == "response.input_tokens"
    return reply.json()["input_tokens"]


def test_tokens_are_counted(http: httpx.Client, client: OpenAI) -> None:
    short = count(http, input="Hello!")
    assert 0 < short < 20
    assert count(http, input="Hello! " * 100) > short + 90
    assert count(http, input="Hello!", instructions="Be brief. " * 10) > short + 20
    tool = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"at": {}}}}
    assert count(http, input="Hello!", tools=[tool]) > short + 10
    schema = {"type": "json_schema", "name": "cat", "schema": {"type": "object", "properties": {"legs": {}}}}
    assert count(http, input="Hello!", text={"format": schema}) > short + 10
    assert count(http, input=[message("user", "Hello!"), message("assistant", "Hi."), message("user", "x")]) > short
    assert client.responses.input_tokens.count(model="cheshire-cat", input="Hello!").input_tokens == short
    without_model = http.post(COUNT, json={"input": "Hello!"})
    assert without_model.json()["input_tokens"] == short


def test_tokens_of_a_chain_are_counted(http: httpx.Client) -> None:
    body = {"model": "cheshire-cat", "input": [user("word " * 200, say="Noted.")]}
    made = http.post(RESPONSES, json=body).json()
    assert count(http, input="Hello!", previous_response_id=made["id"]) > count(http, input="Hello!") + 200
    assert count(http, previous_response_id=made["id"]) > 200


def test_the_count_is_that_of_the_usage(http: httpx.Client) -> None:
    """Where the LLM reports none, the usage is counted in the same way."""
    body = {"model": "cheshire-cat", "input": [user("Hello!", say="Hi.", usage=False)], "instructions": "Be brief."}
    usage = http.post(RESPONSES, json=body).json()["usage"]
    assert usage["input_tokens"] == count(http, input=body["input"], instructions=body["instructions"])


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "input"),
        ({"input": "x", "model": "dodo"}, 404, "model"),
        ({"input": "x", "tools": [{"type": "function"}]}, 400, "tools[0].name"),
        ({"input": "x", "previous_response_id": "resp_0"}, 400, "previous_response_id"),
    ],
)
def test_what_cannot_be_counted(http: httpx.Client, body: Json, status: int, param: str) -> None:
    reply = http.post(COUNT, json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param), reply.text


def test_seals_are_good_for_one_person_and_purpose() -> None:
    sealing = pytest.importorskip("bridge.cat_openai_api.conversation.sealing")
    people = pytest.importorskip("bridge.cat_openai_api.domain.people")
    alice, bob = (people.Person(key=name, name=name, identity=None) for name in ("alice", "bob"))
    key = bytes(32)
    sealed = sealing.Seal(key, alice, "compaction").close("a \ud800 text")
    assert sealing.Seal(key, alice, "compaction").open(sealed) == "a \ud800 text"
    strangers = [(key, bob, "compaction"), (key, alice, "reasoning"), (bytes(31) + b"1", alice, "compaction")]
    for stranger in strangers:
        with pytest.raises(sealing.BrokenSeal):
            sealing.Seal(*stranger).open(sealed)
