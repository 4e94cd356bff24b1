"""Function calling: the client's functions beside the Cat's own tools."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import httpx
import pytest
from host import needs_agents
from openai import AsyncOpenAI, OpenAI
from upstream import Upstream, script, text_of

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
LIGHT: dict[str, Any] = {"type": "function", "function": {"name": "switch-light_2"}}
TOOLS = [WEATHER, LIGHT]

ROME = {"name": "get_weather", "arguments": '{"city":  "Roma \\u00e8 bella 🐱"}', "id": "call_rome"}
OSLO = {"name": "get_weather", "arguments": '{"city":"Oslo"}', "id": "call_oslo"}
DARK = {"name": "switch-light_2", "arguments": "{}", "id": "call_dark"}


def user(text: str = "", /, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": script(text, **fields)}


def calls_of(message: Any) -> list[tuple[str, str, str]]:
    return [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []]


def scripted(*calls: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(call["id"], call["name"], call["arguments"]) for call in calls]


class Streamed:
    """A reply put together from a stream, as a client does."""

    def __init__(self, chunks: Iterator[Any]) -> None:
        self.content = ""
        self.calls: list[list[str]] = []
        self.pieces = 0
        self.finish_reason: str | None = None
        for chunk in chunks:
            for choice in chunk.choices:
                self.content += choice.delta.content or ""
                self.finish_reason = choice.finish_reason or self.finish_reason
                for call in choice.delta.tool_calls or []:
                    self._add(call)

    def _add(self, call: Any) -> None:
        self.pieces += 1
        if call.index == len(self.calls):
            assert call.type == "function"
            self.calls.append([call.id, call.function.name, ""])
        else:
            assert (call.id, call.type, call.function.name) == (None, None, None)
        self.calls[call.index][2] += call.function.arguments


def ask(client: OpenAI, messages: list[Any], model: str = "cheshire-cat", **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=messages, **{"tools": TOOLS, **options}).choices[0]


def stream(client: OpenAI, messages: list[Any], model: str = "cheshire-cat", **options: Any) -> Streamed:
    chunks = client.chat.completions.create(model=model, messages=messages, stream=True, **{"tools": TOOLS, **options})
    return Streamed(iter(chunks))


@pytest.mark.parametrize("called", [[ROME], [ROME, DARK, OSLO]], ids=["one", "several"])
@pytest.mark.parametrize("say", ["", "Let me look."], ids=["alone", "with text"])
def test_calls_come_as_the_llm_made_them(client: OpenAI, called: list[Any], say: str) -> None:
    messages = [user(say=[say] if say else [], tool_calls=called)]
    choice = ask(client, messages)
    assert calls_of(choice.message) == scripted(*called)
    assert choice.message.content == (say or None)
    assert choice.finish_reason == "tool_calls"

    streamed = stream(client, messages)
    assert [tuple(call) for call in streamed.calls] == scripted(*called)
    assert streamed.content == say
    assert streamed.finish_reason == "tool_calls"
    assert streamed.pieces > len(called), "arguments come in pieces"


def test_arguments_are_streamed_as_the_llm_produces_them(
    async_client: AsyncOpenAI, upstream: Upstream, tag: str
) -> None:
    """The client has the first chunk before the LLM has produced the last one."""

    async def first_piece() -> int:
        chunks = await async_client.chat.completions.create(
            model="cheshire-cat",
            messages=[user(tag=tag, tool_calls=[ROME], delay=0.4)],  # type: ignore[list-item]
            tools=TOOLS,  # type: ignore[arg-type]
            stream=True,
        )
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.tool_calls:
                (record,) = upstream.requests(tag)
                async for _ in chunks:
                    pass
                return int(record["chunks_sent"])
        raise AssertionError("no call")

    assert asyncio.run(first_piece()) < 3


def test_the_functions_reach_the_llm_as_they_were_sent(client: OpenAI, upstream: Upstream, tag: str) -> None:
    ask(client, [user(tag=tag, say="no need")])
    (record,) = upstream.wait(tag)
    sent = {tool["function"]["name"]: tool for tool in record["body"]["tools"]}
    assert [sent[tool["function"]["name"]] for tool in TOOLS] == TOOLS


@pytest.mark.parametrize(
    "choice", ["auto", "required", {"type": "function", "function": {"name": "get_weather"}}], ids=str
)
@pytest.mark.parametrize("parallel", [True, False])
def test_the_choice_reaches_the_llm(client: OpenAI, upstream: Upstream, tag: str, choice: Any, parallel: bool) -> None:
    options = {"tool_choice": choice, "parallel_tool_calls": parallel}
    assert calls_of(ask(client, [user(tag=tag, tool_calls=[ROME])], **options).message) == scripted(ROME)
    assert stream(client, [user(tag=tag, tool_calls=[ROME])], **options).calls == [[*scripted(ROME)[0]]]
    for record in upstream.wait(tag, count=2):
        assert record["body"]["tool_choice"] == choice
        assert record["body"]["parallel_tool_calls"] is parallel


def test_none_reaches_the_llm(client: OpenAI, upstream: Upstream, tag: str) -> None:
    choice = ask(client, [user(tag=tag, say="I may not look.")], tool_choice="none")
    assert choice.message.content == "I may not look."
    (record,) = upstream.wait(tag)
    assert record["body"].get("tool_choice") == "none" or "tools" not in record["body"]


def test_parallel_tool_calls_false_allows_one_call(client: OpenAI) -> None:
    messages = [user(tool_calls=[ROME, OSLO])]
    assert calls_of(ask(client, messages, parallel_tool_calls=False).message) == scripted(ROME)
    assert stream(client, messages, parallel_tool_calls=False).calls == [[*scripted(ROME)[0]]]


def test_allowed_tools_are_offered_and_no_others(client: OpenAI, upstream: Upstream, tag: str) -> None:
    allowed = {"type": "function", "function": {"name": "get_weather"}}
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [allowed]}}
    ask(client, [user(tag=tag, tool_calls=[ROME])], tool_choice=choice)
    (record,) = upstream.wait(tag)
    names = [tool["function"]["name"] for tool in record["body"]["tools"]]
    assert "get_weather" in names
    assert "switch-light_2" not in names
    assert record["body"]["tool_choice"] == "required"


def conversation(question: dict[str, Any], *calls: dict[str, Any], content: str | None = None) -> list[Any]:
    """The conversation with the LLM's calls and their results."""
    made = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, name, arguments in scripted(*calls)
    ]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": f"result of {call['id']}"} for call in calls]
    return [question, {"role": "assistant", "content": content, "tool_calls": made}, *results]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_results_reach_the_llm_which_replies(client: OpenAI, upstream: Upstream, tag: str, streamed: bool) -> None:
    turns = [{"tool_calls": [ROME, DARK]}, {"say": ["Sun", "ny."]}]
    messages = conversation(user("Weather?", tag=tag, turns=turns), ROME, DARK)
    if streamed:
        reply = stream(client, messages)
        assert (reply.content, reply.finish_reason) == ("Sunny.", "stop")
    else:
        choice = ask(client, messages)
        assert (choice.message.content, choice.finish_reason) == ("Sunny.", "stop")
        assert choice.message.tool_calls is None
    *_, record = upstream.wait(tag)
    _, asked, called, rome, dark = record["body"]["messages"]
    assert text_of(asked).startswith("Weather?")
    assert not text_of(called)
    assert [(call["id"], call["function"]["name"]) for call in called["tool_calls"]] == [
        ("call_rome", "get_weather"),
        ("call_dark", "switch-light_2"),
    ]
    assert called["tool_calls"][0]["function"]["arguments"] == ROME["arguments"]
    assert (rome["role"], rome["tool_call_id"], text_of(rome)) == ("tool", "call_rome", "result of call_rome")
    assert (dark["role"], dark["tool_call_id"], text_of(dark)) == ("tool", "call_dark", "result of call_dark")


def test_calls_may_follow_calls(client: OpenAI) -> None:
    turns = [{"tool_calls": [ROME]}, {"tool_calls": [OSLO]}, {"say": ["Both cold."]}]
    messages = [user(turns=turns)]
    for call in (ROME, OSLO):
        message = ask(client, messages).message
        assert calls_of(message) == scripted(call)
        result = {"role": "tool", "tool_call_id": call["id"], "content": "cold"}
        messages += [message.model_dump(exclude_none=True), result]
    assert ask(client, messages).message.content == "Both cold."


def test_calls_of_earlier_turns_stay_in_the_conversation(client: OpenAI, upstream: Upstream, tag: str) -> None:
    messages = [
        *conversation({"role": "user", "content": "Weather?"}, ROME, content="Let me look."),
        {"role": "assistant", "content": "Sunny."},
        user("Thanks.", tag=tag, say="You're welcome."),
    ]
    assert ask(client, messages).message.content == "You're welcome."
    (record,) = upstream.wait(tag)
    _, asked, called, result, answer, thanks = record["body"]["messages"]
    assert [text_of(message) for message in (asked, called, result, answer)] == [
        "Weather?",
        "Let me look.",
        "result of call_rome",
        "Sunny.",
    ]
    assert called["tool_calls"][0]["id"] == result["tool_call_id"] == "call_rome"
    assert text_of(thanks).startswith("Thanks.")


def test_arguments_that_are_not_json_are_passed_on(client: OpenAI) -> None:
    """OpenAI's reference: the model does not always generate valid JSON; validate the arguments in your code."""
    odd = [{**ROME, "arguments": '{"city": "Ro'}, {**DARK, "arguments": "[1]"}, {**OSLO, "arguments": ""}]
    messages = [user(turns=[{"tool_calls": odd}, {"say": ["Sorry."]}])]
    choice = ask(client, messages)
    assert calls_of(choice.message) == scripted(*odd)
    assert [tuple(call) for call in stream(client, messages).calls] == scripted(*odd)
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "no JSON"} for call in odd]
    messages += [choice.message.model_dump(exclude_none=True), *results]
    assert ask(client, messages).message.content == "Sorry."


def test_a_call_without_an_id_gets_one(client: OpenAI) -> None:
    nameless = [{"name": "get_weather", "arguments": "{}", "id": ""}, {**DARK}]
    (first, _) = calls_of(ask(client, [user(tool_calls=nameless)]).message)
    assert first[0]


class TestLegacyFunctions:
    FUNCTIONS = (WEATHER["function"], LIGHT["function"])

    def test_a_call(self, client: OpenAI, upstream: Upstream, tag: str) -> None:
        choice = client.chat.completions.create(
            model="cheshire-cat",
            messages=[user(tag=tag, tool_calls=[ROME])],  # type: ignore[list-item]
            functions=self.FUNCTIONS,
            function_call={"name": "get_weather"},
        ).choices[0]
        called = choice.message.function_call
        assert called is not None
        assert (called.name, called.arguments) == (ROME["name"], ROME["arguments"])
        assert choice.message.tool_calls is None
        assert choice.finish_reason == "function_call"
        (record,) = upstream.wait(tag)
        assert record["body"]["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}

    def test_a_call_streamed(self, client: OpenAI) -> None:
        name = arguments = ""
        for chunk in client.chat.completions.create(
            model="cheshire-cat",
            messages=[user(tool_calls=[ROME])],  # type: ignore[list-item]
            functions=self.FUNCTIONS,
            stream=True,
        ):
            if called := chunk.choices[0].delta.function_call:
                name += called.name or ""
                arguments += called.arguments or ""
            reason = chunk.choices[0].finish_reason
        assert (name, arguments, reason) == (ROME["name"], ROME["arguments"], "function_call")

    def test_the_result_goes_back(self, client: OpenAI, upstream: Upstream, tag: str) -> None:
        completion = client.chat.completions.create(
            model="cheshire-cat",
            messages=[
                user(tag=tag, turns=[{}, {"say": ["Sunny."]}]),  # type: ignore[list-item]
                {"role": "assistant", "content": None, "function_call": {"name": "get_weather", "arguments": "{}"}},
                {"role": "function", "name": "get_weather", "content": "sun"},
            ],
            functions=self.FUNCTIONS,
        )
        assert completion.choices[0].message.content == "Sunny."
        (record,) = upstream.wait(tag)
        *_, called, result = record["body"]["messages"]
        assert called["tool_calls"][0]["id"] == result["tool_call_id"]
        assert text_of(result) == "sun"


@needs_agents
class TestWithTheAgentsOwnTools:
    """The agent Alice has a tool `clock`."""

    CLOCK: ClassVar = {"name": "clock", "arguments": {}, "id": "call_clock"}

    @pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
    def test_the_agents_own_tools_still_work(
        self, client: OpenAI, upstream: Upstream, tag: str, streamed: bool
    ) -> None:
        turns = [{"say": ["Wait."], "tool_calls": [self.CLOCK]}, {"say": ["Tea time."], "tool_calls": [ROME]}]
        messages = [user(tag=tag, turns=turns)]
        if streamed:
            reply = stream(client, messages, "cheshire-cat:alice")
            assert [tuple(call) for call in reply.calls] == scripted(ROME)
            assert reply.content == "Wait.\n\nTea time."
        else:
            choice = ask(client, messages, "cheshire-cat:alice")
            assert calls_of(choice.message) == scripted(ROME)
            assert choice.finish_reason == "tool_calls"
        first, second = upstream.wait(tag, count=2)
        offered = {tool["function"]["name"] for tool in first["body"]["tools"]}
        assert {"clock", "get_weather", "switch-light_2"} <= offered
        assert text_of(second["body"]["messages"][-1]) == "tea time"

    @pytest.mark.parametrize("order", ["hers first", "hers last"])
    @pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
    def test_a_turn_with_both_kinds_of_calls_ends_with_the_clients_and_stores_the_agents_results(
        self, client: OpenAI, upstream: Upstream, tag: str, order: str, streamed: bool
    ) -> None:
        both = [self.CLOCK, ROME] if order == "hers first" else [ROME, self.CLOCK]
        question = user(tag=tag, turns=[{"say": ["Both."], "tool_calls": both}, {"say": ["Done."]}])
        if streamed:
            reply = stream(client, [question], "cheshire-cat:alice")
            assert [tuple(call) for call in reply.calls] == scripted(ROME)
        else:
            assert calls_of(ask(client, [question], "cheshire-cat:alice").message) == scripted(ROME)
        messages = conversation(question, ROME, content="Both.")
        assert ask(client, messages, "cheshire-cat:alice").message.content == "Done."
        *_, record = upstream.wait(tag, count=2)
        _, _, called, *results = record["body"]["messages"]
        assert {call["id"] for call in called["tool_calls"]} == {"call_rome", "call_clock"}
        assert {result["tool_call_id"]: text_of(result) for result in results} == {
            "call_clock": "tea time",
            "call_rome": "result of call_rome",
        }

    def test_earlier_tool_results_of_the_agent_are_there_in_the_next_request(
        self, client: OpenAI, upstream: Upstream, tag: str
    ) -> None:
        question = user(tag=tag, turns=[{"tool_calls": [self.CLOCK]}, {"tool_calls": [ROME]}, {"say": ["Done."]}])
        assert calls_of(ask(client, [question], "cheshire-cat:alice").message) == scripted(ROME)
        # Twice: the client may ask again.
        for _ in range(2):
            messages = conversation(question, ROME)
            assert ask(client, messages, "cheshire-cat:alice").message.content == "Done."
            *_, record = upstream.wait(tag, count=3)
            roles = [message["role"] for message in record["body"]["messages"]]
            assert roles == ["system", "user", "assistant", "tool", "assistant", "tool"]
            assert text_of(record["body"]["messages"][3]) == "tea time"

    def test_another_user_does_not_get_the_agents_tool_results(
        self, client: OpenAI, upstream: Upstream, tag: str
    ) -> None:
        turns = [{"tool_calls": [self.CLOCK, ROME]}, {"say": ["Done."]}]
        ask(client, [user(turns=turns)], "cheshire-cat:alice", user="one")
        question = user(tag=tag, turns=turns)
        ask(client, conversation(question, ROME), "cheshire-cat:alice", user="two")
        (record,) = upstream.wait(tag)
        assert "tea time" not in json.dumps(record["body"]["messages"])

    def test_with_a_named_function_only_the_clients_functions_are_offered(
        self, client: OpenAI, upstream: Upstream, tag: str
    ) -> None:
        choice = {"type": "function", "function": {"name": "get_weather"}}
        ask(client, [user(tag=tag, tool_calls=[ROME])], "cheshire-cat:alice", tool_choice=choice)
        (record,) = upstream.wait(tag)
        assert record["body"]["tools"] == TOOLS

    def test_with_required_the_agents_own_tools_are_offered_once(
        self, client: OpenAI, upstream: Upstream, tag: str
    ) -> None:
        turns = [{"tool_calls": [self.CLOCK]}, {"tool_calls": [ROME]}]
        ask(client, [user(tag=tag, turns=turns)], "cheshire-cat:alice", tool_choice="required")
        first, second = upstream.wait(tag, count=2)
        assert len(first["body"]["tools"]) > len(TOOLS)
        assert second["body"]["tools"] == TOOLS

    def test_with_none_the_agents_own_tools_are_offered(self, client: OpenAI, upstream: Upstream, tag: str) -> None:
        turns = [{"tool_calls": [self.CLOCK]}, {"say": ["Tea time."]}]
        choice = ask(client, [user(tag=tag, turns=turns)], "cheshire-cat:alice", tool_choice="none")
        assert choice.message.content == "Tea time."
        first, _ = upstream.wait(tag, count=2)
        names = {tool["function"]["name"] for tool in first["body"]["tools"]}
        assert "clock" in names
        assert "get_weather" not in names

    def test_the_clients_function_replaces_the_agents_tool_of_the_same_name(self, client: OpenAI) -> None:
        clock = {"type": "function", "function": {"name": "clock"}}
        message = ask(
            client, [user(tool_calls=[{**self.CLOCK, "arguments": "{}"}])], "cheshire-cat:alice", tools=[clock]
        ).message
        assert calls_of(message) == [("call_clock", "clock", "{}")]

    def test_agents_used_as_tools_get_no_functions_and_no_format(
        self, client: OpenAI, upstream: Upstream, tag: str
    ) -> None:
        inner = script("", tag=f"{tag} inner", say="No room!")
        turns = [
            {"tool_calls": [{"name": "ask_the_hatter", "arguments": {"question": inner}}]},
            {"say": ["{}"]},
        ]
        ask(
            client,
            [user(tag=tag, turns=turns)],
            "cheshire-cat:alice",
            tool_choice="required",
            response_format={"type": "json_object"},
        )
        (record,) = upstream.wait(f"{tag} inner")
        assert not {"tools", "tool_choice", "response_format"} & record["body"].keys()


def test_concurrent_requests_do_not_mix_their_functions(
    async_client: AsyncOpenAI, upstream: Upstream, tag: str
) -> None:
    async def one(number: int) -> None:
        tool = {"type": "function", "function": {"name": f"function_{number}"}}
        completion = await async_client.chat.completions.create(
            model="cheshire-cat",
            messages=[  # type: ignore[list-item]
                user(
                    tag=f"{tag} {number}",
                    tool_calls=[{"name": f"function_{number}", "arguments": str(number), "id": f"call_{number}"}],
                    delay=0.01,
                )
            ],
            tools=[tool],  # type: ignore[list-item]
            temperature=number / 20,
        )
        assert calls_of(completion.choices[0].message) == [(f"call_{number}", f"function_{number}", str(number))]

    async def all_at_once() -> None:
        await asyncio.gather(*map(one, range(20)))

    asyncio.run(all_at_once())
    for number in range(20):
        (record,) = upstream.wait(f"{tag} {number}")
        assert [tool["function"]["name"] for tool in record["body"]["tools"]] == [f"function_{number}"]
        assert record["body"]["temperature"] == number / 20


CALLED = {
    "role": "assistant",
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "sun"}
ASKED = {"role": "user", "content": "Weather?"}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"tools": [{"type": "custom"}]}, "tools[0].custom", "missing_required_parameter"),
        ({"tools": [{"type": 1}]}, "tools[0].type", "invalid_value"),
        ({"tools": [{"name": "x"}]}, "tools[0].type", "missing_required_parameter"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "invalid_value"),
        ({"tools": [WEATHER, WEATHER]}, "tools", "invalid_value"),
        ({"tools": "get_weather"}, "tools", "invalid_value"),
        ({"tools": [WEATHER], "tool_choice": "always"}, "tool_choice", "invalid_value"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "nope"}}},
            "tool_choice.function.name",
            "invalid_value",
        ),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"tools": [WEATHER], "functions": [WEATHER["function"]]}, "functions", "invalid_value"),
        (
            {"functions": [WEATHER["function"]], "function_call": {"name": "x"}},
            "function_call.name",
            "invalid_value",
        ),
        ({"tools": [WEATHER], "parallel_tool_calls": "yes"}, "parallel_tool_calls", "invalid_value"),
        ({"messages": [ASKED, RESULT]}, "messages[1].tool_call_id", "invalid_value"),
        ({"messages": [ASKED, CALLED, RESULT, RESULT]}, "messages[3].tool_call_id", "invalid_value"),
        ({"messages": [ASKED, CALLED, ASKED]}, "messages[2]", "invalid_value"),
        ({"messages": [CALLED, RESULT, CALLED]}, "messages", "invalid_value"),
        (
            {"messages": [ASKED, CALLED, {"role": "tool", "content": "sun"}]},
            "messages[2].tool_call_id",
            "missing_required_parameter",
        ),
        (
            {"messages": [ASKED, {"role": "assistant", "tool_calls": [{"id": "x"}]}, RESULT]},
            "messages[1].tool_calls[0].function",
            "missing_required_parameter",
        ),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else None,
)
def test_invalid_tools_and_choices_are_refused_before_anything_runs(
    http: httpx.Client, body: dict[str, Any], param: str, code: str
) -> None:
    reply = http.post("/v1/chat/completions", json={"model": "cheshire-cat", "messages": [ASKED], **body})
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == (param, code)
