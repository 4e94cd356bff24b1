"""Completions: OpenAI's older API."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from asking import said_to
from host import KEY, Cat, needs_agents
from openai import APIError, BadRequestError, InternalServerError, NotFoundError, OpenAI
from upstream import SECRET, Upstream, script, text_of

COMPLETIONS = "/v1/completions"
MODEL = "cheshire-cat"


def body(prompt: Any, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": prompt, **more}


def events(reply: httpx.Response) -> Iterator[dict[str, Any]]:
    """The data of a stream's events, which end with [DONE]."""
    lines = [line for line in reply.text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "data: [DONE]"
    return (json.loads(line.removeprefix("data: ")) for line in lines)


def error_of(reply: httpx.Response) -> dict[str, Any]:
    return {"status": reply.status_code, **reply.json()["error"]}


def test_a_prompt_becomes_a_user_message_and_the_reply_its_completion(
    client: OpenAI, upstream: Upstream, tag: str
) -> None:
    completion = client.completions.create(model=MODEL, prompt=script("Once upon a time", tag=tag, say="a cat"))
    (choice,) = completion.choices
    assert (choice.text, choice.index, choice.finish_reason) == ("a cat", 0, "stop")
    assert (completion.object, completion.model) == ("text_completion", MODEL)
    assert completion.id.startswith("cmpl-")
    assert said_to(upstream, tag) == [("user", "Once upon a time")]


def test_chunks_are_streamed_as_the_llm_produces_them(client: OpenAI) -> None:
    chunks = [
        *client.completions.create(
            model=MODEL,
            prompt=script(say=["one ", "two ", "three"], delay=0.05),
            stream=True,
            stream_options={"include_usage": True},
        )
    ]
    *chunks, last = chunks
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.completion_tokens, last.usage.total_tokens > 3) == (3, True)
    assert [chunk.choices[0].text for chunk in chunks] == ["one ", "two ", "three", ""]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "stop"]
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in [*chunks, last]}) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_each_of_several_prompts_has_a_choice_in_order(
    http: httpx.Client, upstream: Upstream, tag: str, stream: bool
) -> None:
    prompts = [script(f"prompt {number}", tag=tag, say=["said ", str(number)]) for number in range(3)]
    reply = http.post(COMPLETIONS, json=body(prompts, stream=stream, stream_options={"include_usage": True}))
    texts = {0: "", 1: "", 2: ""}
    reasons: dict[int, Any] = {}
    found = [*events(reply)] if stream else [reply.json()]
    for choice in (choice for part in found for choice in part["choices"]):
        texts[choice["index"]] += choice["text"]
        reasons[choice["index"]] = choice["finish_reason"]
    assert texts == {0: "said 0", 1: "said 1", 2: "said 2"}
    assert reasons == {0: "stop", 1: "stop", 2: "stop"}
    assert found[-1]["usage"]["completion_tokens"] == 6
    records = upstream.wait(tag, 3)
    asked = [text_of(record["body"]["messages"][-1]) for record in records]
    assert [text.split("\n")[0] for text in asked] == ["prompt 0", "prompt 1", "prompt 2"]


def test_each_prompt_is_a_separate_conversation(client: OpenAI, upstream: Upstream, tag: str) -> None:
    client.completions.create(model=MODEL, prompt=["a prompt before", script("a prompt", tag=tag, say="ok")])
    assert said_to(upstream, tag) == [("user", "a prompt")]


def test_token_ids_are_decoded_to_the_prompt(client: OpenAI) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    try:
        encoding = tiktoken.get_encoding("cl100k_base")
    except Exception as error:
        pytest.skip(f"no vocabulary: {type(error).__name__}")
    one, two = encoding.encode("Grüße, 猫"), encoding.encode("hello")
    assert client.completions.create(model=MODEL, prompt=one).choices[0].text == "Grüße, 猫"
    choices = client.completions.create(model=MODEL, prompt=[one, two]).choices
    assert [choice.text for choice in choices] == ["Grüße, 猫", "hello"]
    with pytest.raises(BadRequestError) as refused:
        client.completions.create(model=MODEL, prompt=[100_256])
    assert refused.value.param == "prompt"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("suffix", "the end"),
        ("echo", True),
        ("best_of", 2),
        ("logprobs", 3),
        ("n", 2),
    ],
)
def test_unsupported_fields_are_refused(
    http: httpx.Client, upstream: Upstream, tag: str, field: str, value: Any
) -> None:
    error = error_of(http.post(COMPLETIONS, json=body(script(tag=tag), **{field: value})))
    assert (error["status"], error["param"], error["code"]) == (400, field, "unsupported_parameter")
    assert upstream.requests(tag) == []


def test_unsupported_fields_with_empty_values_are_accepted(http: httpx.Client) -> None:
    nothing = {
        "suffix": None,
        "echo": False,
        "best_of": 1,
        "logprobs": None,
        "n": 1,
        "stop": None,
        "max_tokens": None,
    }
    assert http.post(COMPLETIONS, json=body("hi", **nothing, metadata={"a": "b"})).status_code == 200


@pytest.mark.parametrize("prompt", [[], None, 7, {}, [[]], ["a", 1], [["a"]], [1.5], ["a"] * 17], ids=repr)
def test_an_invalid_prompt_is_refused(http: httpx.Client, prompt: Any) -> None:
    error = error_of(http.post(COMPLETIONS, json=body(prompt)))
    assert (error["status"], error["param"]) == (400, "prompt")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", None),
        ("max_tokens", 0),
        ("max_tokens", -2),
        ("temperature", 2.1),
        ("top_p", -1),
        ("presence_penalty", 3),
        ("frequency_penalty", "x"),
        ("seed", 2**63),
        ("logit_bias", {"x": 1}),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stream", "yes"),
        ("user", "u" * 513),
        ("best_of", 0),
    ],
)
def test_a_field_out_of_range_is_refused(http: httpx.Client, field: str, value: Any) -> None:
    error = error_of(http.post(COMPLETIONS, json={**body("hi"), field: value}))
    assert error["status"] == 400
    assert error["param"].startswith(field)


def test_sampling_parameters_reach_the_llm(client: OpenAI, upstream: Upstream, tag: str) -> None:
    sampling: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "seed": 7,
        "logit_bias": {"50256": -100},
    }
    client.completions.create(model=MODEL, prompt=script(tag=tag, say="ok"), **sampling)
    (record,) = upstream.wait(tag)
    assert {name: record["body"].get(name) for name in sampling} == sampling


@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_and_a_stop_sequence_end_the_text(http: httpx.Client, stream: bool) -> None:
    """OpenAI's default of 16 tokens does not apply here: it is too short for the reply of a Cat."""
    says = script(say=["one ", "two ", "three ", "four"], repeat=10)
    options = {"stream": stream}

    def ending(**more: Any) -> tuple[str, str]:
        reply = http.post(COMPLETIONS, json=body(says, **options, **more))
        parts = [*events(reply)] if stream else [reply.json()]
        choices = [choice for part in parts for choice in part["choices"]]
        return "".join(choice["text"] for choice in choices), choices[-1]["finish_reason"]

    assert ending(max_tokens=2) == ("one two", "length")
    assert ending(stop="three") == ("one two ", "stop")
    assert ending() == ("one two three four" * 10, "stop")


def test_the_setting_max_tokens_applies(client: OpenAI, settings: Callable[..., None]) -> None:
    settings(max_tokens=3)
    completion = client.completions.create(model=MODEL, prompt="one two three four", max_tokens=10)
    assert (completion.choices[0].text, completion.choices[0].finish_reason) == ("one two three", "length")


def test_the_text_of_a_refusal_is_the_refusal(client: OpenAI) -> None:
    prompt = script(refusal=["I had ", "rather not."])
    assert client.completions.create(model=MODEL, prompt=prompt).choices[0].text == "I had rather not."
    chunks = client.completions.create(model=MODEL, prompt=prompt, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == "I had rather not."


@needs_agents
@pytest.mark.parametrize("show_steps", [False, True])
def test_an_agent_uses_its_own_tools(client: OpenAI, settings: Callable[..., None], show_steps: bool) -> None:
    """The setting `show_steps` has no effect: the older API has no field for an agent's steps."""
    settings(show_steps=show_steps)
    prompt = script("time?", turns=[{"tool_calls": [{"name": "clock"}]}, {"say": ["It is ", "tea time."]}])
    completion = client.completions.create(model="cheshire-cat:alice", prompt=prompt)
    assert completion.choices[0].text == "It is tea time."
    chunks = client.completions.create(model="cheshire-cat:alice", prompt=prompt, stream=True)
    assert [chunk.choices[0].text for chunk in chunks] == ["It is ", "tea time.", ""]


def test_an_alias_stands_for_a_model(client: OpenAI, settings: Callable[..., None]) -> None:
    settings(model_aliases="gpt-3.5-turbo-instruct=cheshire-cat")
    assert client.completions.create(model="gpt-3.5-turbo-instruct", prompt="hi").model == "gpt-3.5-turbo-instruct"
    with pytest.raises(NotFoundError) as missing:
        client.completions.create(model="davinci-002", prompt="hi")
    assert missing.value.code == "model_not_found"


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": ({"say": ["It is ", "tea time."]}, {}),
    "empty": ({"say": ""}, {}),
    "length": ({"say": ["one ", "two ", "three"]}, {"max_tokens": 2}),
    "content filter": ({"say": ["one "], "finish_reason": "content_filter"}, {}),
    "no fingerprint": ({"say": ["one"], "system_fingerprint": None}, {}),
    "no usage": ({"say": ["one"], "usage": False}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_chunks_of_a_stream_add_up_to_the_whole_reply(http: httpx.Client, case: str) -> None:
    says, fields = CASES[case]
    whole = http.post(COMPLETIONS, json=body(script(**says), **fields)).json()["choices"][0]
    chunks = [*events(http.post(COMPLETIONS, json=body(script(**says), **fields, stream=True)))]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert {choice["index"] for choice in choices} == {0}
    assert whole["text"] == "".join(choice["text"] for choice in choices)
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + [whole["finish_reason"]]
    assert not any("usage" in chunk for chunk in chunks)


@pytest.mark.parametrize("says", [{"fail_status": 500}, {"rubbish": True}, {"break_after": 0}], ids=str)
@pytest.mark.parametrize("stream", [False, True])
def test_an_llm_that_fails_at_once_is_502(client: OpenAI, says: dict[str, Any], stream: bool) -> None:
    with pytest.raises(InternalServerError) as failed:
        client.completions.create(model=MODEL, prompt=script(say="a", **says), stream=stream)
    assert (failed.value.status_code, failed.value.code) == (502, "upstream_error")
    assert SECRET not in str(failed.value)


@pytest.mark.parametrize("stream", [False, True])
def test_one_failed_prompt_fails_the_request(http: httpx.Client, upstream: Upstream, tag: str, stream: bool) -> None:
    prompts = [script(say="fine"), script(fail_status=400), script(tag=tag, say="never")]
    reply = http.post(COMPLETIONS, json=body(prompts, stream=stream))
    if stream:
        *said, failed = events(reply)
        assert "".join(part["choices"][0]["text"] for part in said) == "fine"
        assert failed["error"]["code"] == "upstream_error"
    else:
        assert error_of(reply)["code"] == "upstream_error"
    assert upstream.requests(tag) == []


def test_an_error_in_mid_stream_reaches_the_sdk(client: OpenAI) -> None:
    prompt = script(say=["one "] * 5, delay=0.05, error_after=3)
    said: list[str] = []
    chunks = client.completions.create(model=MODEL, prompt=prompt, stream=True)
    with pytest.raises(APIError) as failed:
        said.extend(chunk.choices[0].text for chunk in chunks)
    assert failed.value.code == "upstream_error"
    assert said == ["one "] * 3


@pytest.mark.parametrize("position", [0, 1])
def test_a_client_that_disconnects_ends_the_request_to_the_llm(
    cat: Cat, upstream: Upstream, tag: str, position: int
) -> None:
    prompts = [script(say="quick"), script(say="quick")]
    prompts[position] = script(tag=tag, say=["tick "], repeat=500, delay=0.05)
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.stream(
        "POST", f"{cat.base_url}/completions", json=body(prompts, stream=True), headers=headers, timeout=30
    ) as reply:
        next(line for line in reply.iter_lines() if "tick" in line)
    (record,) = upstream.wait(tag, state="left")
    assert record["chunks_sent"] < 100


def test_a_request_counts_once_in_the_rate_limit_shared_with_chat(
    http: httpx.Client, settings: Callable[..., None], somebody: str
) -> None:
    settings(rate_limit_per_minute=2)
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "user": somebody}
    assert http.post("/v1/chat/completions", json=chat).status_code == 200
    assert http.post(COMPLETIONS, json=body(["hi", "ho"], user=somebody)).status_code == 200
    assert error_of(http.post(COMPLETIONS, json=body("hi", user=somebody)))["code"] == "rate_limit_exceeded"


def test_each_prompt_counts_for_the_concurrency_limit(
    http: httpx.Client, settings: Callable[..., None], until: Callable[..., None]
) -> None:
    settings(max_concurrent_requests=3)
    slow = script(say="x", repeat=100, delay=0.1)
    with http.stream("POST", COMPLETIONS, json=body([slow, slow], stream=True)):
        refused = http.post(COMPLETIONS, json=body(["hi", "ho"]))
        assert (refused.status_code, error_of(refused)["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert http.post(COMPLETIONS, json=body("hi")).status_code == 200
    until(lambda: http.post(COMPLETIONS, json=body(["hi", "ho", "hu"])).status_code == 200, "all slots are free again")


def test_more_prompts_than_the_concurrency_limit_are_refused(http: httpx.Client, settings: Callable[..., None]) -> None:
    settings(max_concurrent_requests=2)
    refused = http.post(COMPLETIONS, json=body(["hi", "ho", "hu"]))
    assert refused.status_code == 400
    assert (error_of(refused)["code"], error_of(refused)["param"]) == ("invalid_value", "prompt")


def test_completions_are_not_stored_with_history_cat(
    client: OpenAI, settings: Callable[..., None], upstream: Upstream, tag: str, somebody: str
) -> None:
    settings(history="cat")
    client.completions.create(model=MODEL, prompt="a prompt before", user=somebody)
    client.completions.create(model=MODEL, prompt=script("a prompt", tag=tag, say="ok"), user=somebody)
    assert said_to(upstream, tag) == [("user", "a prompt")]


def test_a_request_with_several_prompts_has_one_log_line(
    cat: Cat, settings: Callable[..., None], until: Callable[..., None]
) -> None:
    settings(debug_mode=True)
    for stream in (False, True):
        options = {"stream": stream, "stream_options": {"include_usage": True}}
        reply = cat.http.post("/custom/v1/completions", json=body(["a secret", "two words"], **options))
        until(lambda reply=reply: reply.headers["x-request-id"] in cat.log(), "the request is in the log")
        (line,) = [line for line in cat.log().splitlines() if reply.headers["x-request-id"] in line]
        entry = json.loads(line[line.index("{") : line.rindex("}") + 1])
        assert (entry["route"], entry["model"], entry["stream"]) == ("/custom/v1/completions", MODEL, stream)
        assert (entry["outcome"], entry["finish_reason"]) == ("ok", "stop")
        assert entry["usage"]["completion_tokens"] == 4
        assert "secret" not in line
