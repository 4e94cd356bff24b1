"""Sampling parameters reach the LLM, for their own request only."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from host import Cat, needs_agents
from openai import AsyncOpenAI, OpenAI
from upstream import Upstream, script

SAMPLING: dict[str, Any] = {
    "temperature": 0,
    "top_p": 0.5,
    "seed": 7,
    "presence_penalty": -1.5,
    "frequency_penalty": 1.5,
    "logit_bias": {"50256": -100},
    "reasoning_effort": "low",
}


@pytest.mark.parametrize("stream", [False, True])
def test_sampling_parameters_reach_the_llm(client: OpenAI, upstream: Upstream, tag: str, stream: bool) -> None:
    reply = client.chat.completions.create(
        model="cheshire-cat",
        messages=[{"role": "user", "content": script(tag=tag, say="ok")}],
        stream=stream,
        **SAMPLING,
    )
    if stream:
        list(reply)
    (record,) = upstream.wait(tag)
    assert {name: record["body"].get(name) for name in SAMPLING} == SAMPLING


@needs_agents
def test_sampling_parameters_reach_every_call_of_a_run_and_no_other_run(
    async_client: AsyncOpenAI, upstream: Upstream, tag: str
) -> None:
    turns = [{"tool_calls": [{"name": "clock", "arguments": {}}], "first_delay": 0.05}, {"say": ["ok"]}]

    async def ask(seed: int | None) -> None:
        await async_client.chat.completions.create(
            model="cheshire-cat:alice",
            messages=[{"role": "user", "content": script(tag=f"{tag} {seed}", turns=turns)}],
            **({} if seed is None else {"seed": seed}),
        )

    async def all_at_once() -> None:
        await asyncio.gather(*(ask(seed) for seed in [None, *range(20)]))

    asyncio.run(all_at_once())
    for seed in [None, *range(20)]:
        records = upstream.wait(f"{tag} {seed}", count=2)
        assert [record["body"].get("seed") for record in records] == [seed, seed]


def test_a_request_without_sampling_parameters_sends_none(client: OpenAI, upstream: Upstream, tag: str) -> None:
    client.chat.completions.create(
        model="cheshire-cat", messages=[{"role": "user", "content": script(tag=tag, say="ok")}]
    )
    (record,) = upstream.wait(tag)
    # Cat 1.9 has a temperature among its own settings.
    assert set(SAMPLING) & set(record["body"]) <= {"temperature"}
    assert record["body"].get("temperature") != SAMPLING["temperature"]


@needs_agents
def test_sampling_parameters_reach_an_llm_that_was_saved_again_during_a_tool_call(
    client: OpenAI, cat: Cat, upstream: Upstream, tag: str
) -> None:
    turns = [{"tool_calls": [{"name": "nap", "arguments": {}}]}, {"say": "Well."}]
    messages: Any = [{"role": "user", "content": script(tag=tag, turns=turns)}]
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(
            client.chat.completions.create, model="cheshire-cat:alice", messages=messages, temperature=0.3
        )
        upstream.wait(tag)
        cat.use_llm(upstream.base_url)
        while not asking.done():
            cat.http.post("/wonderland/wake").raise_for_status()
        assert asking.result().choices[0].message.content == "Well."
    assert [record["body"]["temperature"] for record in upstream.wait(tag, count=2)] == [0.3, 0.3]
