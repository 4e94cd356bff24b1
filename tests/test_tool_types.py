"""Tools that are no functions: custom tools, namespaces, and those that only OpenAI's servers run.

The LLM knows functions only. What it was offered and what it called is compared with what the client sent and gets.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import httpx
import pytest
from asking import body, user
from bridge.cat_openai_api.wire.custom_input import InputDecoder, decode_input, encode_input
from host import needs_agents
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI
from upstream import Upstream, script, text_of

Json: TypeAlias = dict[str, Any]

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
LEFT_OUT = "x-left-out-tools"

GRAMMAR = 'start: "a" | "b"'
PATCH = '*** Begin Patch\n+say "C:\\dir" – 🐱 \u2028\n*** End Patch'
PICTURE = "data:image/png;base64,iVBORw0KGgo="

WEATHER: Json = {
    "type": "function",
    "name": "weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
PATCHES: Json = {"type": "custom", "name": "apply_patch", "description": "Change files."}
BY_GRAMMAR: Json = {**PATCHES, "format": {"type": "grammar", "syntax": "lark", "definition": GRAMMAR}}
CRM: Json = {"type": "namespace", "name": "crm", "description": "Customers.", "tools": [WEATHER, PATCHES]}

HOSTED = [
    {"type": "web_search", "external_web_access": True},
    {"type": "web_search_preview"},
    {"type": "file_search", "vector_store_ids": ["vs_1"]},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "image_generation"},
    {"type": "computer_use_preview", "display_width": 1, "display_height": 1, "environment": "browser"},
    {"type": "computer"},
    {"type": "local_shell"},
    {"type": "shell"},
    {"type": "apply_patch"},
    {"type": "tool_search"},
    {"type": "mcp", "server_label": "docs", "server_url": "https://example.org"},
    {"type": "programmatic_tool_calling"},
    {"type": "telepathy"},
]


def in_chat(tool: Json) -> Json:
    """The tool as chat completions have it."""
    fields = {name: value for name, value in tool.items() if name != "type"}
    if fields.get("format", {}).get("type") == "grammar":
        fields["format"] = {
            "type": "grammar",
            "grammar": {name: value for name, value in fields["format"].items() if name != "type"},
        }
    return {"type": tool["type"], tool["type"]: fields}


def events_of(reply: httpx.Response) -> list[Json]:
    assert reply.status_code == 200, reply.text
    data = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in data if line != "[DONE]"]


def respond(http: httpx.Client, **fields: Any) -> Json:
    reply = http.post(RESPONSES, json={"model": "cheshire-cat", **fields})
    assert reply.status_code == 200, reply.text
    found: Json = reply.json()
    return found


def offered(upstream: Upstream, tag: str) -> dict[str, Json]:
    """The functions that the LLM was offered, by their names."""
    *_, record = upstream.wait(tag)
    return {tool["function"]["name"]: tool["function"] for tool in record["body"].get("tools") or []}


def told(upstream: Upstream, tag: str) -> list[Json]:
    """The messages that reached the LLM, without the system's."""
    *_, record = upstream.wait(tag)
    return [message for message in record["body"]["messages"] if message["role"] != "system"]


class TestCustomInChat:
    TOOLS = (in_chat(PATCHES),)

    def called(self, **fields: Any) -> Json:
        return body(user(tool_calls=[{"name": "apply_patch", "id": "call_1", **fields}]), tools=self.TOOLS)

    def test_the_llm_is_offered_a_function_of_one_text(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        http.post(CHAT, json=body(user(tag=tag, say="ok"), tools=[in_chat(BY_GRAMMAR), in_chat(WEATHER)]))
        functions = offered(upstream, tag)
        assert {"apply_patch", "weather"} <= {*functions}
        function = functions["apply_patch"]
        assert function["description"].startswith("Change files.")
        assert GRAMMAR in function["description"]
        assert [*function["parameters"]["properties"]] == function["parameters"]["required"] == ["input"]

    def test_the_client_gets_a_custom_call(self, client: OpenAI) -> None:
        completion = client.chat.completions.create(**self.called(arguments={"input": PATCH}))
        (choice,) = completion.choices
        (call,) = choice.message.tool_calls or []
        assert call.type == "custom"
        assert (call.id, call.custom.name, call.custom.input) == ("call_1", "apply_patch", PATCH)
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)

    def test_it_is_streamed_as_the_llm_writes_it(self, http: httpx.Client) -> None:
        request = self.called(arguments=json.dumps({"input": PATCH}))
        chunks = events_of(http.post(CHAT, json={**request, "stream": True}))
        deltas = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
        first, *rest = deltas
        assert first == {
            "index": 0,
            "id": "call_1",
            "type": "custom",
            "custom": {"name": "apply_patch", "input": first["custom"]["input"]},
        }
        assert all({**delta, "custom": None} == {"index": 0, "custom": None} for delta in rest)
        assert len([delta for delta in deltas if delta["custom"]["input"]]) > 1
        assert "".join(delta["custom"]["input"] for delta in deltas) == PATCH
        assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"

    @pytest.mark.parametrize(
        ("arguments", "given"),
        [
            ("a bare text {", "a bare text {"),
            ('{"patch": "another \\"key\\""}', 'another "key"'),
            ('"a string"', "a string"),
            ('{"input": {"a": 1}}', '{"a": 1}'),
            ("{}", ""),
            ("", ""),
        ],
    )
    def test_what_an_llm_sends_instead_is_taken_for_the_input(
        self, http: httpx.Client, arguments: str, given: str
    ) -> None:
        request = self.called(arguments=arguments)
        (call,) = http.post(CHAT, json=request).json()["choices"][0]["message"]["tool_calls"]
        assert call["custom"] == {"name": "apply_patch", "input": given}
        chunks = events_of(http.post(CHAT, json={**request, "stream": True}))
        deltas = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
        assert "".join(delta["custom"]["input"] for delta in deltas) == given

    def test_custom_and_functions_side_by_side(self, http: httpx.Client) -> None:
        calls = [
            {"name": "weather", "arguments": '{"city": "Rome"}', "id": "call_w"},
            {"name": "apply_patch", "arguments": {"input": "x"}, "id": "call_p"},
        ]
        request = body(user(tool_calls=calls), tools=[in_chat(WEATHER), *self.TOOLS])
        weather, patch = http.post(CHAT, json=request).json()["choices"][0]["message"]["tool_calls"]
        assert weather["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
        assert patch["custom"] == {"name": "apply_patch", "input": "x"}

    def test_the_call_and_its_result_go_back_to_the_llm(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        asked = user(tag=tag, turns=[{}, {"say": ["Done."]}])
        call = {"id": "call_1", "type": "custom", "custom": {"name": "apply_patch", "input": PATCH}}
        messages = [
            asked,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "patched"},
        ]
        reply = http.post(CHAT, json=body(*messages, tools=self.TOOLS)).json()
        assert reply["choices"][0]["message"]["content"] == "Done."
        *_, called, result = told(upstream, tag)
        (function,) = [each["function"] for each in called["tool_calls"]]
        assert (function["name"], json.loads(function["arguments"])) == ("apply_patch", {"input": PATCH})
        assert (result["tool_call_id"], text_of(result)) == ("call_1", "patched")

    @pytest.mark.parametrize(
        "choice",
        [
            {"type": "custom", "custom": {"name": "apply_patch"}},
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "custom", "custom": {"name": "apply_patch"}}, {"type": "web_search"}],
                },
            },
        ],
        ids=["custom", "allowed"],
    )
    def test_it_can_be_chosen(self, http: httpx.Client, upstream: Upstream, tag: str, choice: Json) -> None:
        calls = [{"name": "apply_patch", "arguments": {"input": "x"}}]
        request = body(user(tag=tag, tool_calls=calls), tools=[in_chat(WEATHER), *self.TOOLS], tool_choice=choice)
        (call,) = http.post(CHAT, json=request).json()["choices"][0]["message"]["tool_calls"]
        assert call["type"] == "custom"
        (record,) = upstream.wait(tag)
        named = {"type": "function", "function": {"name": "apply_patch"}}
        assert record["body"]["tool_choice"] == (named if choice["type"] == "custom" else "required")
        assert choice["type"] == "custom" or "weather" not in offered(upstream, tag)

    def test_the_length_of_the_input_is_limited(self, http: httpx.Client) -> None:
        request = self.called(arguments={"input": "one two three four five six seven eight nine ten"})
        (choice,) = http.post(CHAT, json={**request, "max_tokens": 8}).json()["choices"]
        (call,) = choice["message"]["tool_calls"]
        assert choice["finish_reason"] == "length"
        assert "one two three four five six seven eight nine ten".startswith(call["custom"]["input"])
        assert call["custom"]["input"]


class TestCustomInResponses:
    def test_the_client_gets_a_custom_tool_call(self, client: OpenAI) -> None:
        calls = [{"name": "apply_patch", "id": "call_1", "arguments": {"input": PATCH}}]
        response = client.responses.create(model="cheshire-cat", input=script(tool_calls=calls), tools=[PATCHES])  # type: ignore[list-item]
        (item,) = response.output
        assert item.type == "custom_tool_call"
        assert (item.call_id, item.name, item.input) == ("call_1", "apply_patch", PATCH)
        assert item.id
        assert "namespace" not in item.model_dump(exclude_unset=True)

    def test_it_has_events_of_its_own(self, http: httpx.Client) -> None:
        calls = [
            {"name": "apply_patch", "id": "call_1", "arguments": json.dumps({"input": PATCH})},
            {"name": "weather", "id": "call_2", "arguments": '{"city": "Rome"}'},
            {"name": "apply_patch", "id": "call_3", "arguments": '{"text": "held back"}'},
        ]
        request = {"input": script(say="Wait.", tool_calls=calls), "tools": [BY_GRAMMAR, WEATHER]}
        events = events_of(http.post(RESPONSES, json={"model": "cheshire-cat", **request, "stream": True}))
        assert [event["sequence_number"] for event in events] == [*range(len(events))]
        of_patch = [event for event in events if event.get("output_index") == 1]
        deltas = [event["delta"] for event in of_patch if event["type"] == "response.custom_tool_call_input.delta"]
        assert len(deltas) > 1
        assert "".join(deltas) == PATCH
        kinds = list(dict.fromkeys(event["type"].removeprefix("response.") for event in of_patch))
        assert kinds == [
            "output_item.added",
            "custom_tool_call_input.delta",
            "custom_tool_call_input.done",
            "output_item.done",
        ]
        added, done = of_patch[0]["item"], of_patch[-1]["item"]
        assert (added["type"], added["input"], added["status"]) == ("custom_tool_call", "", "in_progress")
        assert (done["input"], done["status"]) == (PATCH, "completed")
        output = events[-1]["response"]["output"]
        assert [item["type"] for item in output] == ["message", "custom_tool_call", "function_call", "custom_tool_call"]
        assert output[1] == done
        assert output[3]["input"] == "held back"
        last = [event for event in events if event.get("output_index") == 3]
        assert "".join(event.get("delta", "") for event in last) == "held back"

    def test_the_call_and_its_output_go_back_to_the_llm(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        calls = [{"name": "apply_patch", "id": "call_1", "arguments": {"input": PATCH}}]
        turns = [{"tool_calls": calls}, {"say": ["Done."]}]
        first = respond(http, input=script(tag=tag, turns=turns), tools=[PATCHES])
        output = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "patched"}
        second = respond(http, input=[output], previous_response_id=first["id"], tools=[PATCHES])
        assert second["output"][0]["content"][0]["text"] == "Done."
        *_, called, result = told(upstream, tag)
        (function,) = [each["function"] for each in called["tool_calls"]]
        assert (function["name"], json.loads(function["arguments"])) == ("apply_patch", {"input": PATCH})
        assert text_of(result) == "patched"
        listed = http.get(f"{RESPONSES}/{second['id']}/input_items").json()["data"]
        assert [item["type"] for item in listed] == ["custom_tool_call_output", "custom_tool_call", "message"]

    def test_it_can_be_chosen(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        calls = [{"name": "apply_patch", "arguments": {"input": "x"}}]
        choice = {"type": "custom", "name": "apply_patch"}
        response = respond(http, input=script(tag=tag, tool_calls=calls), tools=[PATCHES, WEATHER], tool_choice=choice)
        assert response["tool_choice"] == choice
        assert response["tools"][0] == {**PATCHES, "format": {"type": "text"}}
        (record,) = upstream.wait(tag)
        assert record["body"]["tool_choice"]["function"] == {"name": "apply_patch"}


class TestNamespaces:
    def test_their_tools_are_offered_under_names_of_their_own(
        self, http: httpx.Client, upstream: Upstream, tag: str
    ) -> None:
        other = {**CRM, "name": "shop", "description": ""}
        respond(http, input=script(tag=tag, say="ok"), tools=[WEATHER, CRM, other])
        functions = offered(upstream, tag)
        assert [*functions][-5:] == [
            "weather",
            "crm__weather",
            "crm__apply_patch",
            "shop__weather",
            "shop__apply_patch",
        ]
        assert functions["crm__weather"]["parameters"] == WEATHER["parameters"]
        assert "Customers." in functions["crm__weather"]["description"]
        assert functions["shop__weather"]["description"] == WEATHER["description"]

    def test_calls_come_back_with_namespace_and_name_apart(self, http: httpx.Client) -> None:
        calls = [
            {"name": name, "id": f"call_{name}", "arguments": arguments}
            for name, arguments in [("weather", "{}"), ("crm__weather", '{"city": "Rome"}'), ("crm__apply_patch", "x")]
        ]
        request = {"model": "cheshire-cat", "input": script(tool_calls=calls), "tools": [WEATHER, CRM]}
        output = respond(http, **request)["output"]
        found = [(item["type"], item.get("namespace"), item["name"]) for item in output]
        assert found == [
            ("function_call", None, "weather"),
            ("function_call", "crm", "weather"),
            ("custom_tool_call", "crm", "apply_patch"),
        ]
        assert "namespace" not in output[0]
        assert (output[1]["arguments"], output[2]["input"]) == ('{"city": "Rome"}', "x")
        events = events_of(http.post(RESPONSES, json={**request, "stream": True}))
        added = [event["item"] for event in events if event["type"] == "response.output_item.added"]
        assert [(item["type"], item.get("namespace"), item["name"]) for item in added] == found

    def test_names_never_clash_and_are_valid(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        long = "x" * 100
        tools = [
            {**WEATHER, "name": "a__b__c"},
            {"type": "namespace", "name": "a", "description": "", "tools": [{**WEATHER, "name": "b__c"}]},
            {"type": "namespace", "name": "a__b", "description": "", "tools": [{**WEATHER, "name": "c"}]},
            {"type": "namespace", "name": "my server", "description": "", "tools": [WEATHER]},
            {"type": "namespace", "name": "my-server", "description": "", "tools": [WEATHER]},
            {"type": "namespace", "name": long, "description": "", "tools": [WEATHER, {**WEATHER, "name": "other"}]},
        ]
        respond(http, input=script(tag=tag, say="ok"), tools=tools)
        names = [name for name in offered(upstream, tag) if name != "clock"]
        assert len(names) == len({*names}) == 7
        assert "a__b__c" in names
        assert all(len(name) <= 64 and name.isascii() and " " not in name for name in names)
        calls = [{"name": name, "id": f"call_{place}", "arguments": "{}"} for place, name in enumerate(names)]
        output = respond(http, input=script(tool_calls=calls), tools=tools)["output"]
        found = {(item.get("namespace"), item["name"]) for item in output}
        assert found == {
            (None, "a__b__c"),
            ("a", "b__c"),
            ("a__b", "c"),
            ("my server", "weather"),
            ("my-server", "weather"),
            (long, "weather"),
            (long, "other"),
        }

    @pytest.mark.parametrize("tools", [[CRM], []], ids=["offered", "no longer offered"])
    def test_earlier_calls_keep_their_names(
        self, http: httpx.Client, upstream: Upstream, tag: str, tools: list[Json]
    ) -> None:
        items = [
            {"role": "user", "content": script(tag=tag, turns=[{}, {"say": "Sunny."}])},
            {"type": "function_call", "call_id": "c1", "namespace": "crm", "name": "weather", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c2", "namespace": "crm", "name": "apply_patch", "input": "x"},
            {"type": "function_call_output", "call_id": "c1", "output": "sun"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "ok"}]},
        ]
        respond(http, input=items, tools=tools)
        _, called, first, second = told(upstream, tag)
        names = [call["function"]["name"] for call in called["tool_calls"]]
        assert names == ["crm__weather", "crm__apply_patch"]
        assert [text_of(first), text_of(second)] == ["sun", "ok"]

    def test_one_of_its_tools_can_be_chosen(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        calls = [{"name": "crm__weather", "arguments": "{}"}]
        choice = {"type": "function", "name": "weather"}
        respond(http, input=script(tag=tag, tool_calls=calls), tools=[CRM], tool_choice=choice)
        (record,) = upstream.wait(tag)
        assert record["body"]["tool_choice"]["function"] == {"name": "crm__weather"}

    def test_a_whole_namespace_can_be_allowed(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "namespace", "name": "crm"}]}
        respond(http, input=script(tag=tag, say="ok"), tools=[WEATHER, CRM], tool_choice=choice)
        functions = offered(upstream, tag)
        assert "weather" not in functions
        assert {"crm__weather", "crm__apply_patch"} <= {*functions}

    def test_a_search_that_the_client_runs_is_called(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        search = {"type": "tool_search", "execution": "client", "description": "Find tools.", "parameters": {
            "type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}}  # fmt: skip
        calls = [{"name": "tool_search", "id": "s1", "arguments": {"query": "crm"}}]
        turns = [{"tool_calls": calls}, {"tool_calls": [{"name": "crm__weather", "arguments": "{}"}]}]
        request = {"model": "cheshire-cat", "input": script(tag=tag, turns=turns), "tools": [search], "stream": True}
        reply = http.post(RESPONSES, json=request)
        assert LEFT_OUT not in reply.headers
        events = events_of(reply)
        (item,) = events[-1]["response"]["output"]
        assert (item["type"], item["execution"], item["call_id"]) == ("tool_search_call", "client", "s1")
        assert item["arguments"] == {"query": "crm"}
        assert [event["type"].removeprefix("response.") for event in events] == [
            "created",
            "in_progress",
            "output_item.added",
            "output_item.done",
            "completed",
        ]
        assert offered(upstream, tag)["tool_search"]["parameters"] == search["parameters"]
        found = {"type": "tool_search_output", "call_id": "s1", "execution": "client", "tools": [CRM]}
        request = {"input": [found], "tools": [search], "previous_response_id": events[-1]["response"]["id"]}
        (item,) = respond(http, **request)["output"]
        assert (item["namespace"], item["name"]) == ("crm", "weather")
        *_, called, result = told(upstream, tag)
        assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"query": "crm"}
        assert "crm__weather" in text_of(result)

    def test_a_call_after_a_search_is_another_turn(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        items = [
            {"role": "user", "content": script(tag=tag, turns=[{}, {}, {"say": "ok"}])},
            {"type": "tool_search_call", "call_id": "s1", "execution": "client", "arguments": {"query": "crm"}},
            {"type": "tool_search_output", "call_id": "s1", "execution": "client", "tools": [CRM]},
            {"type": "function_call", "call_id": "c1", "namespace": "crm", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "sun"},
        ]
        assert respond(http, input=items)["output"][0]["content"][0]["text"] == "ok"
        assert [message["role"] for message in told(upstream, tag)] == ["user", *["assistant", "tool"] * 2]

    def test_tools_of_the_input_are_offered_too(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        items = [
            {"type": "additional_tools", "role": "developer", "tools": [WEATHER]},
            {"type": "tool_search_call", "call_id": "s1", "execution": "client", "arguments": {"query": "crm"}},
            {"type": "tool_search_output", "call_id": "s1", "execution": "client", "tools": [CRM]},
            {"role": "user", "content": script(tag=tag, tool_calls=[{"name": "crm__weather", "arguments": "{}"}])},
        ]
        response = respond(http, input=items, tools=[{"type": "tool_search", "execution": "client"}])
        assert (response["output"][0]["namespace"], response["output"][0]["name"]) == ("crm", "weather")
        assert {"weather", "crm__weather"} <= {*offered(upstream, tag)}


class TestLeftOut:
    @pytest.mark.parametrize("path", [CHAT, RESPONSES])
    @pytest.mark.parametrize("stream", [False, True])
    def test_offers_that_the_cat_cannot_take_up_are_left_out_and_named(
        self, http: httpx.Client, upstream: Upstream, tag: str, path: str, stream: bool
    ) -> None:
        said = script(tag=tag, say="ok")
        asked: Json = {"input": said} if path == RESPONSES else {"messages": [{"role": "user", "content": said}]}
        weather = WEATHER if path == RESPONSES else in_chat(WEATHER)
        tools = [HOSTED[0], weather, *HOSTED, {"type": "not a\r\nheader"}]
        reply = http.post(path, json={"model": "cheshire-cat", "stream": stream, "tools": tools, **asked})
        assert reply.status_code == 200, reply.text
        named = [*(tool["type"] for tool in HOSTED), "other"]
        assert reply.headers[LEFT_OUT].split(", ") == named
        assert "weather" in offered(upstream, tag)
        assert not {*offered(upstream, tag)} & {*named}
        if path == RESPONSES and not stream:
            assert reply.json()["tools"][0] == HOSTED[0]

    def test_their_credentials_are_not_stored(self, http: httpx.Client) -> None:
        secret = {"domain": "x", "name": "y", "value": "SECRET"}
        container = {"type": "auto", "network_policy": {"type": "allowlist", "domain_secrets": [secret]}}
        tools = [
            {**HOSTED[11], "authorization": "SECRET", "headers": {"X-Key": "SECRET"}},
            {"type": "code_interpreter", "container": container},
        ]
        items = [
            {"type": "additional_tools", "role": "developer", "tools": tools},
            {"role": "user", "content": script(say="ok")},
        ]
        response = respond(http, input=items, tools=tools)
        assert response["tools"][0] == HOSTED[11]
        stored = (
            http.get(f"{RESPONSES}/{response['id']}").text + http.get(f"{RESPONSES}/{response['id']}/input_items").text
        )
        assert "SECRET" not in json.dumps(response) + stored

    def test_the_log_names_them(self, http: httpx.Client, log_line: Callable[[httpx.Response], str]) -> None:
        reply = http.post(RESPONSES, json={"model": "cheshire-cat", "input": script(say="ok"), "tools": HOSTED[:2]})
        assert '"left_out_tools":["web_search","web_search_preview"]' in log_line(reply)

    def test_a_response_in_the_background_names_them_at_once(self, http: httpx.Client) -> None:
        request = {"model": "cheshire-cat", "input": script(say="ok"), "tools": HOSTED[:2], "background": True}
        reply = http.post(RESPONSES, json=request)
        assert (reply.status_code, reply.headers[LEFT_OUT]) == (200, "web_search, web_search_preview")

    def test_without_them_there_is_no_header(self, http: httpx.Client) -> None:
        reply = http.post(RESPONSES, json={"model": "cheshire-cat", "input": script(say="ok"), "tools": [WEATHER, CRM]})
        assert LEFT_OUT not in reply.headers

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
            ({"tool_choice": {"type": "mcp", "server_label": "docs"}}, "tool_choice"),
            ({"tool_choice": {"type": "shell"}}, "tool_choice"),
            ({"tool_choice": {"type": "telepathy"}}, "tool_choice"),
            ({"tool_choice": "required"}, "tool_choice"),
            (
                {"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}},
                "tool_choice.tools",
            ),
            ({"tool_choice": {"type": "custom", "name": "weather"}}, "tool_choice.name"),
            ({"tool_choice": {"type": "function", "name": "nope"}}, "tool_choice.name"),
            ({"tools": [CRM, {**CRM, "name": "b"}], "tool_choice": {"type": "function", "name": "weather"}},
             "tool_choice.name"),
            ({"tools": [CRM, CRM]}, "tools"),
            ({"tools": [{**CRM, "tools": [WEATHER, WEATHER]}]}, "tools[0].tools"),
            ({"tools": [{"type": "namespace", "tools": []}]}, "tools[0].name"),
            ({"tools": [{**PATCHES, "format": {"type": "grammar", "syntax": "ebnf", "definition": "x"}}]},
             "tools[0].format.syntax"),
        ],
        ids=lambda value: json.dumps(value)[:70] if isinstance(value, dict) else None,
    )  # fmt: skip
    def test_what_cannot_be_is_refused(self, http: httpx.Client, fields: Json, param: str) -> None:
        request = {"model": "cheshire-cat", "input": "x", "tools": HOSTED, **fields}
        reply = http.post(RESPONSES, json=request)
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == param

    @pytest.mark.parametrize(
        "choice",
        [
            {"type": "web_search"},
            "required",
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "web_search"}]}},
        ],
        ids=str,
    )
    def test_a_demand_for_one_is_refused_in_chat(self, http: httpx.Client, choice: Any) -> None:
        request = body(user("x"), tools=[{"type": "web_search"}], tool_choice=choice)
        reply = http.post(CHAT, json=request)
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"].startswith("tool_choice")

    def test_search_options_of_chat_are_no_tool(self, http: httpx.Client) -> None:
        reply = http.post(CHAT, json=body(user(say="ok"), web_search_options={"search_context_size": "low"}))
        assert reply.status_code == 200
        assert LEFT_OUT not in reply.headers


ITEMS: dict[str, tuple[list[Json], str, str, str]] = {
    "web search": (
        [{"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {
            "type": "search", "query": "cats", "sources": [{"type": "url", "url": "https://cats.example"}]}}],
        "web_search", "cats", "https://cats.example",
    ),
    "file search": (
        [{"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["cats"],
          "results": [{"file_id": "f1", "text": "About cats", "filename": "a.txt", "score": 0.5}]}],
        "file_search", "cats", "About cats",
    ),
    "code interpreter": (
        [{"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "container_id": "c", "code": "print(1)",
          "outputs": [{"type": "logs", "logs": "one"}, {"type": "image", "url": "https://x"}]}],
        "code_interpreter", "print(1)", "one",
    ),
    "image generation": (
        [{"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="}],
        "image_generation", "{}", "The image was made.",
    ),
    "computer": (
        [{"type": "computer_call", "id": "cu_1", "call_id": "k1", "status": "completed", "pending_safety_checks": [],
          "action": {"type": "click", "button": "left", "x": 1, "y": 2}},
         {"type": "computer_call_output", "call_id": "k1",
          "output": {"type": "computer_screenshot", "file_id": "f_1"}}],
        "computer", "click", "f_1",
    ),
    "local shell": (
        [{"type": "local_shell_call", "id": "ls_1", "call_id": "k1", "status": "completed",
          "action": {"type": "exec", "command": ["ls", "-l"], "env": {}}},
         {"type": "local_shell_call_output", "id": "k1", "output": "total 0"}],
        "local_shell", "ls", "total 0",
    ),
    "shell": (
        [{"type": "shell_call", "call_id": "k1", "action": {"commands": ["ls"]}},
         {"type": "shell_call_output", "call_id": "k1", "output": [
             {"stdout": "total 0", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]}],
        "shell", "ls", "total 0",
    ),
    "patch": (
        [{"type": "apply_patch_call", "call_id": "k1", "status": "completed",
          "operation": {"type": "delete_file", "path": "a.txt"}},
         {"type": "apply_patch_call_output", "call_id": "k1", "status": "completed", "output": "deleted"}],
        "apply_patch", "a.txt", "deleted",
    ),
    "mcp": (
        [{"type": "mcp_call", "id": "mcp_1", "server_label": "docs", "name": "look", "arguments": '{"at": "x"}',
          "output": "found", "error": None, "status": "completed"}],
        "docs__look", '"at"', "found",
    ),
    "tools of mcp": (
        [{"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "docs",
          "tools": [{"name": "look", "input_schema": {}}]}],
        "mcp_list_tools", "docs", "look",
    ),
    "approval": (
        [{"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "docs", "name": "look", "arguments": "{}"},
         {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False, "reason": "no"}],
        "mcp_approval_request", "docs", "not approved: no",
    ),
    "tool search": (
        [{"type": "tool_search_call", "call_id": None, "execution": "server", "arguments": {"paths": ["crm"]}},
         {"type": "tool_search_output", "call_id": None, "execution": "server", "tools": []}],
        "tool_search", "", "none",
    ),
    "program": (
        [{"type": "program", "id": "p_1", "call_id": "k1", "code": "run()", "fingerprint": "f"},
         {"type": "program_output", "id": "p_2", "call_id": "k1", "result": "42", "status": "completed"}],
        "program", "run()", "42",
    ),
    "a call without its output": (
        [{"type": "shell_call", "call_id": "k1", "action": {"commands": ["ls"]}}], "shell", "ls", "no output",
    ),
    "an output without its call": (
        [{"type": "shell_call_output", "call_id": "k9", "output": [{"stdout": "x", "stderr": "", "outcome": {}}]}],
        "shell", "{}", "stdout",
    ),
}  # fmt: skip
"""Items, the function that the LLM gets for them, and what its arguments and its result have."""


class TestItems:
    @pytest.mark.parametrize("name", ITEMS)
    def test_items_of_other_tools_go_to_the_llm_as_calls(
        self, http: httpx.Client, upstream: Upstream, tag: str, name: str
    ) -> None:
        sent, function, arguments, result = ITEMS[name]
        items = [
            {"role": "user", "content": "Look."},
            *sent,
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I looked."}]},
            {"role": "user", "content": script(tag=tag, say="ok")},
        ]
        response = respond(http, input=items)
        assert response["output"][0]["content"][0]["text"] == "ok"
        messages = told(upstream, tag)
        *_, called, outcome, answer, _ = messages
        (call,) = called["tool_calls"]
        assert call["function"]["name"] == function
        assert arguments in call["function"]["arguments"]
        assert isinstance(json.loads(call["function"]["arguments"]), dict)
        assert (outcome["role"], outcome["tool_call_id"]) == ("tool", call["id"])
        assert result in text_of(outcome)
        assert text_of(answer) == "I looked."
        listed = http.get(f"{RESPONSES}/{response['id']}/input_items?order=asc").json()["data"]
        for item, original in zip(listed[1:], sent, strict=False):
            kept = {name: value for name, value in original.items() if name != "id"}
            assert {name: item[name] for name in kept} == kept
            assert item["id"] == original.get("id", item["id"])
        second = respond(http, input=script(say="again"), previous_response_id=response["id"])
        assert second["output"][0]["content"][0]["text"] == "again"

    def test_pictures_in_an_output_reach_the_llm(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        parts = [{"type": "input_text", "text": "A cat:"}, {"type": "input_image", "image_url": PICTURE}]
        calls = [{"type": "function_call", "call_id": f"c{n}", "name": "weather", "arguments": "{}"} for n in (1, 2)]
        items = [
            {"role": "user", "content": "Look."},
            *calls,
            {"type": "function_call_output", "call_id": "c1", "output": parts},
            {"type": "function_call_output", "call_id": "c2", "output": "none"},
            {"role": "assistant", "content": "Nice."},
            {"role": "user", "content": script(tag=tag, say="ok")},
        ]
        respond(http, input=items, tools=[WEATHER])
        _, called, first, second, media, nice, _ = told(upstream, tag)
        assert [call["id"] for call in called["tool_calls"]] == [first["tool_call_id"], second["tool_call_id"]]
        assert (text_of(first), text_of(second), text_of(nice)) == ("A cat:", "none", "Nice.")
        assert media["role"] == "user"
        assert media["content"][-1]["image_url"]["url"] == PICTURE

    def test_a_screenshot_reaches_the_llm(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        screenshot = {"type": "computer_screenshot", "image_url": PICTURE}
        items = [
            {"type": "computer_call", "id": "x", "call_id": "k", "pending_safety_checks": [], "status": "completed"},
            {"type": "computer_call_output", "call_id": "k", "output": screenshot},
            {"role": "user", "content": script(tag=tag, say="ok")},
        ]
        respond(http, input=items)
        assert PICTURE in json.dumps(told(upstream, tag))

    def test_an_output_that_names_its_function_only(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        items = [
            {"role": "user", "content": script(tag=tag, turns=[{}, {"say": "ok"}])},
            {"type": "function_call", "call_id": "c1", "namespace": "crm", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "namespace": "crm", "name": "weather", "output": []},
        ]
        respond(http, input=items, tools=[CRM])
        assert told(upstream, tag)[-1]["tool_call_id"] == "c1"

    def test_items_of_a_type_that_nobody_knows_are_refused(self, http: httpx.Client) -> None:
        reply = http.post(RESPONSES, json={"model": "cheshire-cat", "input": [{"type": "telepathy_call"}]})
        assert reply.status_code == 400
        assert "telepathy_call" in reply.json()["error"]["message"]


def in_pieces(text: str, cuts: list[int]) -> Iterator[str]:
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    yield from (text[start:end] for start, end in zip(edges, edges[1:], strict=False))


class TestDecoding:
    @given(
        st.text(), st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (",", " :\n ")]), st.lists(st.integers(0))
    )
    def test_an_input_is_decoded_wherever_it_is_cut(
        self, text: str, ascii: bool, separators: tuple[str, str], cuts: list[int]
    ) -> None:
        arguments = json.dumps({"input": text}, ensure_ascii=ascii, separators=separators)
        decoder = InputDecoder()
        pieces = [decoder.feed(piece) for piece in in_pieces(arguments, cuts)]
        assert decoder.is_complete
        assert "".join(pieces) + decoder.finish() == text

    @given(st.text('{}":\\ abinputu09d\n', max_size=30), st.lists(st.integers(0)))
    def test_whatever_comes_has_the_same_input_whole_and_in_pieces(self, arguments: str, cuts: list[int]) -> None:
        decoder = InputDecoder()
        pieces = [decoder.feed(piece) for piece in in_pieces(arguments, cuts)]
        given = "".join(pieces) + decoder.finish()
        assert given == decode_input(arguments)
        assert decode_input(encode_input(given)) == given

    @pytest.mark.parametrize(
        ("arguments", "given"),
        [
            ('{"input": "\\ud83d\\ude00"}', "😀"),
            ('{"input": "\\ud83d"}', "\ufffd"),
            ('{"input": "\\ud83d!"}', "\ufffd!"),
            ('{"input": "C:\\dir \\u12"}', "C:\\dir \\u12"),
            ('{"input": "line\nbreak"}', "line\nbreak"),
            ('{"input": "cut off\\', "cut off\\"),
            ('{"input": "x", "more": 1}', "x"),
            ('{"more": 1, "input": "x"}', "x"),
            ('{"a": 1, "b": 2}', '{"a": 1, "b": 2}'),
            ('{"input": null}', ""),
            ('"a".upper()', '"a".upper()'),
            ("[1, 2]", "[1, 2]"),
            ("{ x }", "{ x }"),
        ],
    )
    def test_what_is_not_quite_json(self, arguments: str, given: str) -> None:
        assert decode_input(arguments) == given
        decoder = InputDecoder()
        assert "".join(decoder.feed(character) for character in arguments) + decoder.finish() == given


@needs_agents
class TestBesideTheAgentsOwnTools:
    """The agent Alice has a tool `clock`."""

    @pytest.mark.parametrize("arguments", [{"input": "tick"}, "tick", '{"text": "tick"}'], ids=str)
    def test_what_her_tools_returned_is_found_by_the_clients_call(
        self, http: httpx.Client, upstream: Upstream, tag: str, arguments: Any
    ) -> None:
        calls = [{"name": "clock", "arguments": {}, "id": "own"}, {"name": "apply_patch", "arguments": arguments}]
        question = user(tag=tag, turns=[{"tool_calls": calls}, {"say": ["Done."]}])
        request = {**body(question, tools=[in_chat(PATCHES)]), "model": "cheshire-cat:alice"}
        message = http.post(CHAT, json=request).json()["choices"][0]["message"]
        (call,) = message["tool_calls"]
        assert call["custom"] == {"name": "apply_patch", "input": "tick"}
        result = {"role": "tool", "tool_call_id": call["id"], "content": "patched"}
        answered = http.post(CHAT, json={**request, "messages": [question, message, result]}).json()
        assert answered["choices"][0]["message"]["content"] == "Done."
        _, called, *results = told(upstream, tag)
        functions = {each["function"]["name"]: each["function"]["arguments"] for each in called["tool_calls"]}
        assert json.loads(functions["apply_patch"]) == {"input": "tick"}
        assert {text_of(each) for each in results} == {"tea time", "patched"}
