"""Chat completions as the official SDK sees them."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from host import KEY, Cat, needs_agents
from openai import AsyncOpenAI, OpenAI
from upstream import Upstream, script, text_of

ODD_TEXT = ["  Well,\n", "\n\tthe ", "cat 🐱", "‍👩‍👧 ", 'said {"a": "b"}', " \\n\n", "  "]


def ask(client: OpenAI, text: str, model: str = "cheshire-cat", **options: Any) -> str:
    completion = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)
    return completion.choices[0].message.content or ""


def stream(client: OpenAI, text: str, model: str = "cheshire-cat", **options: Any) -> str:
    chunks = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], stream=True, **options
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_reply_arrives_unchanged_to_the_character(client: OpenAI) -> None:
    text = script(say=ODD_TEXT)
    assert ask(client, text) == "".join(ODD_TEXT)
    assert stream(client, text) == "".join(ODD_TEXT)


def test_a_completion_has_openais_form(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model="cheshire-cat", messages=[{"role": "user", "content": "Hello there"}]
    )
    assert completion.id.startswith("chatcmpl-")
    assert completion.object == "chat.completion"
    assert completion.model == "cheshire-cat"
    assert [choice.finish_reason for choice in completion.choices] == ["stop"]
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].message.content == "Hello there"


def test_all_messages_reach_the_llm_as_the_conversation(client: OpenAI, upstream: Upstream, tag: str) -> None:
    client.chat.completions.create(
        model="cheshire-cat",
        messages=[
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": " two\n"},
            {"role": "user", "content": [{"type": "text", "text": "three"}, {"type": "text", "text": " four"}]},
            {"role": "assistant", "content": None},
            {"role": "assistant", "content": [{"type": "text", "text": "five"}]},
            {"role": "user", "content": script(tag=tag, say="six")},
        ],
    )
    (request,) = upstream.wait(tag)
    assert [(message["role"], text_of(message)) for message in request["body"]["messages"][1:-1]] == [
        ("user", "one"),
        ("assistant", " two\n"),
        ("user", "three four"),
        ("assistant", ""),
        ("assistant", "five"),
    ]


def test_a_long_conversation_reaches_the_llm_complete(client: OpenAI, upstream: Upstream, tag: str) -> None:
    messages: Any = []
    for number in range(30):
        messages += [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": f"a{number}"}]
    messages.append({"role": "user", "content": script(tag=tag, say="ok")})
    client.chat.completions.create(model="cheshire-cat", messages=messages)
    (request,) = upstream.wait(tag)
    assert [text_of(message) for message in request["body"]["messages"][1:-1]] == [
        message["content"] for message in messages[:-1]
    ]


def test_a_request_does_not_see_the_conversation_of_another(client: OpenAI, upstream: Upstream, tag: str) -> None:
    ask(client, "The password is treacle.")
    ask(client, script(tag=tag, say="What password?"))
    (request,) = upstream.wait(tag)
    assert "treacle" not in json.dumps(request["body"]["messages"][1:])


def test_system_and_developer_texts_follow_the_agents_prompt_verbatim(
    client: OpenAI, upstream: Upstream, tag: str
) -> None:
    texts = ['Answer as {"a": "b"} {}', "  line\n\tbreaks 'and' \"quotes\" {{x}} %s \\n ", "third"]
    client.chat.completions.create(
        model="cheshire-cat",
        messages=[
            {"role": "system", "content": texts[0]},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hello"},
            {"role": "developer", "content": [{"type": "text", "text": texts[1]}]},
            {"role": "system", "content": texts[2]},
            {"role": "user", "content": script(tag=tag, say="yes")},
        ],
    )
    (request,) = upstream.wait(tag)
    system, *turns = request["body"]["messages"]
    assert "\n\n" + "\n\n".join(texts) in system["content"]
    assert system["content"].startswith("You are")
    assert [message["role"] for message in turns] == ["user", "assistant", "user"]


@needs_agents
@pytest.mark.parametrize(("before", "after"), [("Let me look. ", "It is tea time."), ("Looking", "Tea time")])
def test_text_before_and_after_a_tool_call_is_the_same_streamed_and_not(
    client: OpenAI, before: str, after: str
) -> None:
    text = script(turns=[{"say": [before], "tool_calls": [{"name": "clock", "arguments": {}}]}, {"say": [after]}])
    whole = ask(client, text, model="cheshire-cat:alice")
    assert whole == stream(client, text, model="cheshire-cat:alice")
    assert whole.startswith(before)
    assert whole.endswith(after)
    assert whole.removeprefix(before).removesuffix(after).strip() == ""
    assert whole[len(before) - 1 : -len(after)].isspace() or "\n\n" in whole


@needs_agents
def test_the_result_of_an_agents_own_tool_reaches_the_llm(client: OpenAI, upstream: Upstream, tag: str) -> None:
    turns = [{"tool_calls": [{"name": "clock", "arguments": {}}]}, {"say": ["Tea time, then."]}]
    assert ask(client, script(tag=tag, turns=turns), model="cheshire-cat:alice") == "Tea time, then."
    _, second = upstream.wait(tag, count=2)
    assert second["body"]["messages"][-1]["content"] == "tea time"


@needs_agents
def test_text_of_an_agent_used_as_a_tool_is_not_in_the_reply(client: OpenAI) -> None:
    question = script(say=["The Hatter's words."])
    call = {"name": "ask_the_hatter", "arguments": {"question": question}}
    text = script(turns=[{"say": ["I asked. "], "tool_calls": [call]}, {"say": ["He knows."]}])
    assert stream(client, text, model="cheshire-cat:alice") == "I asked. He knows."
    assert ask(client, text, model="cheshire-cat:alice") == "I asked. He knows."


@needs_agents
def test_an_agent_that_replies_without_an_llm_works_streamed_and_not(client: OpenAI) -> None:
    assert ask(client, "Who lives there?", model="cheshire-cat:dormouse") == "Treacle, said I."
    assert stream(client, "Who lives there?", model="cheshire-cat:dormouse") == "Treacle, said I."


def test_without_an_llm_the_reply_is_the_cats_hint_to_configure_one(
    cat: Cat, client: OpenAI, upstream: Upstream
) -> None:
    cat.use_no_llm()
    try:
        whole = ask(client, "Hello?")
        assert "anguage Model" in whole
        assert "onfigure" in whole
        assert stream(client, "Hello?") == whole
    finally:
        cat.use_llm(upstream.base_url)


def test_an_empty_reply_is_an_empty_text(client: OpenAI) -> None:
    assert ask(client, script(say=[])) == ""
    assert stream(client, script(say=[])) == ""


def test_half_a_surrogate_pair_in_a_chunk_becomes_the_whole_emoji(http: httpx.Client) -> None:
    body = {
        "model": "cheshire-cat",
        "stream": True,
        "messages": [{"role": "user", "content": script(say=["\ud83d", "\ude3a"])}],
    }
    lines = [line for line in http.post("/v1/chat/completions", json=body).text.split("\n") if "content" in line]
    # JSON escapes of both halves, as a JavaScript or Python client puts them together again.
    assert "".join(json.loads(line[6:])["choices"][0]["delta"]["content"] for line in lines) == "\ud83d\ude3a"
    whole = http.post("/v1/chat/completions", json={**body, "stream": False})
    assert whole.json()["choices"][0]["message"]["content"] == "😺"


def test_unknown_fields_and_empty_ones_are_ignored(http: httpx.Client) -> None:
    body = {
        "model": "cheshire-cat",
        "messages": [{"role": "user", "content": "hello", "name": "alice", "id": 7}],
        "metadata": {"a": "b"},
        "tools": [],
        "stop": None,
        "stream": None,
        "max_tokens": None,
        "n": 1,
        "logprobs": False,
        "whatever": {"deep": [1]},
        "modalities": ["text"],
    }
    reply = http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200
    assert reply.json()["choices"][0]["message"]["content"] == "hello"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json"])
def test_the_body_is_read_as_json_whatever_its_content_type_is(http: httpx.Client, content_type: str) -> None:
    body = json.dumps({"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}]})
    reply = http.post("/v1/chat/completions", content=body, headers={"Content-Type": content_type})
    assert reply.status_code == 200


@needs_agents
def test_the_run_belongs_to_the_end_user(client: OpenAI, upstream: Upstream, tag: str) -> None:
    turns = [{"tool_calls": [{"name": "who_am_i", "arguments": {}}]}, {"say": ["ok"]}]
    text = script(tag=tag, turns=turns)
    ask(client, text, model="cheshire-cat:alice", user="Bob 🎩")
    ask(client, text, model="cheshire-cat:alice", safety_identifier="Bob 🎩")
    ask(client, text, model="cheshire-cat:alice")
    results = [record["body"]["messages"][-1]["content"] for record in upstream.wait(tag, count=6)[1::2]]
    assert results[0] == results[1]
    assert results[0].startswith("Bob 🎩 ")
    assert results[0].endswith(" user")
    assert results[2].startswith("admin ")
    assert results[2].endswith(" admin")


@needs_agents
def test_the_field_user_does_not_change_the_user_of_a_jwt(cat: Cat, upstream: Upstream, tag: str) -> None:
    turns = [{"tool_calls": [{"name": "who_am_i", "arguments": {}}]}, {"say": ["ok"]}]
    with OpenAI(base_url=cat.base_url, api_key=cat.token("alice"), max_retries=0) as client:
        ask(client, script(tag=tag, turns=turns), model="cheshire-cat:alice", user="admin")
    _, second = upstream.wait(tag, count=2)
    assert second["body"]["messages"][-1]["content"].startswith("alice ")


async def _ask_many(client: AsyncOpenAI, number: int) -> tuple[str, str]:
    pieces = [f"{number}:", *[f" {number * 1000 + step}" for step in range(20)]]
    messages: Any = [{"role": "user", "content": script(say=pieces, delay=0.005)}]
    if number % 2:
        completion = await client.chat.completions.create(
            model="cheshire-cat", messages=messages, user=f"user {number}"
        )
        return "".join(pieces), completion.choices[0].message.content or ""
    chunks = await client.chat.completions.create(model="cheshire-cat", messages=messages, stream=True)
    return "".join(pieces), "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


def test_two_hundred_concurrent_requests_get_their_own_replies(
    cat: Cat, async_client: AsyncOpenAI, upstream: Upstream, until: Callable[..., None]
) -> None:
    before = cat.tasks()

    async def all_at_once() -> list[tuple[str, str]]:
        async with async_client:
            return await asyncio.gather(*(_ask_many(async_client, number) for number in range(200)))

    answers = asyncio.run(all_at_once())
    assert [got for _, got in answers] == [expected for expected, _ in answers]
    assert upstream.open_requests() == 0
    until(lambda: len(cat.tasks()) <= len(before) + 1, "the Cat's tasks have ended")


def test_sync_and_async_sdk_list_models_and_chat(cat: Cat) -> None:
    async def both() -> tuple[list[str], str]:
        async with AsyncOpenAI(base_url=cat.base_url, api_key=KEY) as client:
            models = [model.id async for model in client.models.list()]
            completion = await client.chat.completions.create(
                model=models[0], messages=[{"role": "user", "content": "hi"}]
            )
            return models, completion.choices[0].message.content or ""

    models, said = asyncio.run(both())
    assert models[0] == "cheshire-cat"
    assert said == "hi"
