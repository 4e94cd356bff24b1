"""The Responses API: the same Cat, spoken to as the newest SDKs and agent frameworks do."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from asking import said_to
from host import KEY, Cat
from openai import OpenAI
from openai.types.responses import Response
from pydantic import BaseModel
from upstream import Upstream, script, text_of

RESPONSES = "/v1/responses"
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}
PICTURE = "data:image/png;base64,iVBORw0KGgo="


def ask(text: str = "", **fields: Any) -> str:
    return script(text, **fields)


def events_of(http: httpx.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of a stream; each line `event:` names what its data are."""
    reply = http.post(RESPONSES, json={"model": "cheshire-cat", **body, "stream": True})
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = []
    for block in reply.text.replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        name, data = lines
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    return events


def create(http: httpx.Client, **body: Any) -> dict[str, Any]:
    reply = http.post(RESPONSES, json={"model": "cheshire-cat", **body})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def refused(http: httpx.Client, **body: Any) -> tuple[int, str, str | None]:
    reply = http.post(RESPONSES, json={"model": "cheshire-cat", **body})
    error = reply.json()["error"]
    return reply.status_code, error["code"], error["param"]


class TestWhole:
    def test_a_text(self, client: OpenAI) -> None:
        response = client.responses.create(model="cheshire-cat", input=ask(say=["A cat", " without a grin."]))
        assert response.output_text == "A cat without a grin."
        assert response.status == "completed"
        assert response.model == "cheshire-cat"
        assert response.error is None
        assert response.usage is not None
        assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0

    def test_what_the_request_says_is_repeated(self, http: httpx.Client) -> None:
        response = create(
            http,
            input=ask(say="ok"),
            instructions="Be brief.",
            max_output_tokens=50,
            temperature=0.5,
            top_p=0.9,
            metadata={"colour": "red"},
            tools=[LOOK],
            tool_choice={"type": "function", "name": "look"},
            parallel_tool_calls=False,
            truncation="auto",
            user="alice",
            reasoning={"effort": "low"},
        )
        wanted = {
            "instructions": "Be brief.",
            "max_output_tokens": 50,
            "temperature": 0.5,
            "top_p": 0.9,
            "metadata": {"colour": "red"},
            "tool_choice": {"type": "function", "name": "look"},
            "parallel_tool_calls": False,
            "truncation": "auto",
            "user": "alice",
            "previous_response_id": None,
            "store": True,
        }
        assert {name: response[name] for name in wanted} == wanted
        assert response["reasoning"]["effort"] == "low"
        assert response["tools"] == [{**LOOK, "description": None}]

    def test_instructions_and_items_reach_the_llm(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        items = [
            {"role": "developer", "content": "Speak {German}."},
            {"role": "user", "content": "One"},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "1"}],
                "id": "msg_1",
            },
            {"role": "user", "content": [{"type": "input_text", "text": ask("Two", tag=tag, say="2")}]},
        ]
        create(http, instructions="Be rude.", input=items)
        (record,) = upstream.wait(tag)
        prompt = text_of(record["body"]["messages"][0])
        assert prompt.index("Be rude.") < prompt.index("Speak {German}.")
        assert said_to(upstream, tag) == [("user", "One"), ("assistant", "1"), ("user", "Two")]

    def test_sampling_reaches_the_llm(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        create(http, input=ask(tag=tag, say="ok"), temperature=0.1, top_p=0.3, reasoning={"effort": "high"})
        (record,) = upstream.wait(tag)
        sampling = {name: record["body"][name] for name in ("temperature", "top_p", "reasoning_effort")}
        assert sampling == {"temperature": 0.1, "top_p": 0.3, "reasoning_effort": "high"}

    def test_a_picture_reaches_the_llm(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        parts = [
            {"type": "input_text", "text": ask(tag=tag, say="ok")},
            {"type": "input_image", "image_url": PICTURE},
        ]
        create(http, input=[{"role": "user", "content": parts}])
        (record,) = upstream.wait(tag)
        assert PICTURE in json.dumps(record["body"]["messages"][-1])

    def test_it_is_cut_at_max_output_tokens(self, http: httpx.Client) -> None:
        response = create(http, input=ask(say=["one", " two", " three", " four"]), max_output_tokens=2)
        assert response["status"] == "incomplete"
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}
        assert response["output"][0]["status"] == "incomplete"

    def test_json_by_a_schema(self, client: OpenAI) -> None:
        class Place(BaseModel):
            name: str

        parsed = client.responses.parse(model="cheshire-cat", input="Where?", text_format=Place)
        assert isinstance(parsed.output_parsed, Place)

    def test_what_is_not_the_json_asked_for_is_no_reply(self, http: httpx.Client) -> None:
        format = {"type": "json_schema", "name": "place", "schema": {"type": "object"}}
        assert refused(http, input=ask(say="no"), text={"format": format})[:2] == (502, "invalid_model_output")

    def test_a_refusal(self, http: httpx.Client) -> None:
        response = create(http, input=ask(refusal="I will not."))
        assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "I will not."}]


class TestStream:
    def test_the_events_of_a_text_in_their_order(self, http: httpx.Client) -> None:
        events = events_of(http, {"input": ask(say=["A cat", " without", " a grin."])})
        types = [event["type"].removeprefix("response.") for event in events]
        deltas = types.count("output_text.delta")
        assert deltas >= 1
        assert types == [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            *["output_text.delta"] * deltas,
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
        assert "".join(event.get("delta", "") for event in events) == "A cat without a grin."
        last = events[-1]["response"]
        assert last["output"][0]["content"][0]["text"] == "A cat without a grin."
        assert {event["response"]["id"] for event in events if "response" in event} == {last["id"]}
        assert events[0]["response"]["status"] == "in_progress"
        assert last["usage"]["output_tokens"] > 0

    def test_it_is_live(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        body = {"model": "cheshire-cat", "stream": True, "input": ask(tag=tag, say=["one ", "two"], delay=60)}
        with http.stream("POST", RESPONSES, json=body) as reply:
            data = (line for line in reply.iter_lines() if line.startswith("data: "))
            events = (json.loads(line.removeprefix("data: ")) for line in data)
            first = next(event for event in events if event["type"] == "response.output_text.delta")
            assert first["delta"] == "one "
        upstream.wait(tag, state="left")

    def test_it_ends_as_whole_ones_do(self, http: httpx.Client) -> None:
        events = events_of(http, {"input": ask(say=["one", " two", " three"]), "max_output_tokens": 2})
        assert events[-1]["type"] == "response.incomplete"
        assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
        (done,) = [event for event in events if event["type"] == "response.output_item.done"]
        assert done["item"]["status"] == "incomplete"

    def test_calls(self, http: httpx.Client) -> None:
        calls = [{"name": "look", "arguments": '{"at": 1}'}, {"name": "look", "arguments": "{}"}]
        events = events_of(http, {"input": ask(say="Let me see.", tool_calls=calls), "tools": [LOOK]})
        added = [event["item"] for event in events if event["type"] == "response.output_item.added"]
        assert [item["type"] for item in added] == ["message", "function_call", "function_call"]
        done = [event for event in events if event["type"] == "response.function_call_arguments.done"]
        assert [(event["output_index"], event["arguments"]) for event in done] == [(1, '{"at": 1}'), (2, "{}")]
        response = events[-1]["response"]
        assert [item.get("arguments") for item in response["output"]] == [None, '{"at": 1}', "{}"]
        assert response["status"] == "completed"

    def test_a_failure_after_the_first_words_is_an_event(self, http: httpx.Client) -> None:
        events = events_of(http, {"input": ask(say=["one ", "two"], break_after=1)})
        assert events[-1]["type"] == "response.failed"
        response = events[-1]["response"]
        assert response["status"] == "failed"
        assert response["error"]["code"] == "server_error"
        assert "SECRET" not in json.dumps(events)

    def test_it_fails_when_its_time_is_over(self, http: httpx.Client, settings: Callable[..., None]) -> None:
        settings(request_timeout=1)
        last = events_of(http, {"input": ask(say=["one ", "two"], delay=30)})[-1]
        assert last["type"] == "response.failed"
        assert "1 seconds" in last["response"]["error"]["message"]
        (message,) = last["response"]["output"]
        assert (message["status"], message["content"][0]["text"]) == ("incomplete", "one ")
        assert http.get(f"{RESPONSES}/{last['response']['id']}").status_code == 404
        reply = http.post(RESPONSES, json={"model": "cheshire-cat", "input": ask(hang=True), "stream": True})
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "timeout")

    def test_nothing_is_left_of_it_when_its_client_goes(
        self, http: httpx.Client, upstream: Upstream, tag: str, until: Callable[..., None]
    ) -> None:
        body = {"model": "cheshire-cat", "stream": True, "input": ask(tag=tag, say=["one ", "two"], delay=60)}
        with http.stream("POST", RESPONSES, json=body) as reply:
            first = next(line for line in reply.iter_lines() if line.startswith("data: "))
            place = f"{RESPONSES}/{json.loads(first.removeprefix('data: '))['response']['id']}"
        upstream.wait(tag, state="left")
        until(lambda: http.get(place).status_code == 404, "it is not under way any more")
        assert http.post(f"{place}/cancel").status_code == 404

    def test_a_failure_before_them_keeps_its_status(self, http: httpx.Client) -> None:
        reply = http.post(RESPONSES, json={"model": "cheshire-cat", "stream": True, "input": ask(fail_status=500)})
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_error")

    def test_the_sdks_stream(self, client: OpenAI) -> None:
        with client.responses.stream(model="cheshire-cat", input=ask(say=["A ", "cat."])) as stream:
            text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            final = stream.get_final_response()
        assert text == final.output_text == "A cat."

    def test_streaming_switched_off_gives_all_of_it_at_once(
        self, http: httpx.Client, settings: Callable[..., None]
    ) -> None:
        settings(enable_streaming=False)
        events = events_of(http, {"input": ask(say=["A ", "cat."])})
        (delta,) = [event for event in events if event["type"] == "response.output_text.delta"]
        assert delta["delta"] == "A cat."


class TestFunctions:
    def test_a_loop(self, client: OpenAI, upstream: Upstream, tag: str) -> None:
        turns = [{"tool_calls": [{"name": "look", "arguments": "{}"}]}, {"say": "A garden."}]
        first = client.responses.create(
            model="cheshire-cat", input=ask("Look.", tag=tag, turns=turns), tools=[LOOK], user=tag
        )
        (call,) = first.output
        assert call.type == "function_call"
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "roses"}
        second = client.responses.create(
            model="cheshire-cat", previous_response_id=first.id, input=[output], tools=[LOOK], user=tag
        )
        assert second.output_text == "A garden."
        *_, record = upstream.wait(tag, count=2)
        assert "roses" in [text_of(message) for message in record["body"]["messages"] if message["role"] == "tool"]

    def test_a_loop_whose_items_the_client_keeps(self, client: OpenAI) -> None:
        turns = [{"tool_calls": [{"name": "look", "arguments": "{}"}]}, {"say": "A garden."}]
        items: list[Any] = [{"role": "user", "content": ask("Look.", turns=turns)}]
        first = client.responses.create(model="cheshire-cat", input=items, tools=[LOOK], store=False)
        items += [item.model_dump(exclude_none=True) for item in first.output]
        (call,) = first.output
        assert call.type == "function_call"
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": "roses"})
        second = client.responses.create(model="cheshire-cat", input=items, tools=[LOOK], store=False)
        assert second.output_text == "A garden."

    def test_a_choice_among_some(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        hear = {**LOOK, "name": "hear"}
        choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "hear"}]}
        create(http, input=ask("x", tag=tag, tool_calls=[{"name": "hear"}]), tools=[LOOK, hear], tool_choice=choice)
        record, *_ = upstream.wait(tag)
        names = [tool["function"]["name"] for tool in record["body"]["tools"]]
        assert "hear" in names
        assert "look" not in names

    def test_items_come_in_the_orders_that_clients_send(self, http: httpx.Client, upstream: Upstream, tag: str) -> None:
        def call(name: str) -> dict[str, Any]:
            return {"type": "function_call", "call_id": name, "name": "look", "arguments": "{}", "id": f"fc_{name}"}

        def result(name: str) -> dict[str, Any]:
            return {"type": "function_call_output", "call_id": name, "output": f"saw {name}"}

        thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
        said = {"role": "assistant", "content": "Hm.", "phase": "commentary"}
        question = {"role": "user", "content": ask("Look.", tag=tag, say="ok")}
        orders = (
            ([call("a"), call("b"), result("a"), result("b")], "call ab, a, b"),
            ([call("a"), call("b"), result("b"), result("a")], "call ab, b, a"),
            ([call("a"), result("a"), call("b"), result("b")], "call a, a, call b, b"),
            ([call("a"), result("a"), call("a"), result("a")], "call a, a, call a, a"),
            ([thought, said, call("a"), thought, result("a")], "Hm. call a, a"),
            ([call("a"), said, result("a")], "Hm. call a, a"),
            ([said, said, call("a"), result("a")], "Hm.Hm. call a, a"),
            ([call("a"), result("a"), said, thought, call("b"), result("b")], "call a, a, Hm. call b, b"),
        )
        for items, expected in (*orders, ([call("a"), question, result("a")], "call a, a, Look.")):
            create(http, input=[question, *items], tools=[LOOK], store=False)
            *_, record = upstream.wait(tag)
            assert ", ".join(map(self.told, record["body"]["messages"][2:])) == expected

    @staticmethod
    def told(message: dict[str, Any]) -> str:
        calls = "".join(call["id"] for call in message.get("tool_calls") or [])
        text = text_of(message).removeprefix("saw ").split("\n")[0]
        return f"{text} call {calls}".strip() if calls else text


class TestStored:
    def test_it_can_be_had_again(self, client: OpenAI, somebody: str) -> None:
        made = client.responses.create(model="cheshire-cat", input=ask(say="A cat."), metadata={"a": "b"})
        again = client.responses.retrieve(made.id)
        assert again == made
        assert again.metadata == {"a": "b"}

    def test_it_can_be_deleted(self, client: OpenAI) -> None:
        made = client.responses.create(model="cheshire-cat", input=ask(say="A cat."))
        client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.delete(made.id)

    def test_the_next_one_goes_on_from_it(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        one = create(http, input=ask("I am Alice.", say="Hello."), instructions="Be rude.", user=somebody)
        two = create(http, input=ask("And you?", say="The Cat."), previous_response_id=one["id"], user=somebody)
        create(http, input=ask("Who am I?", tag=tag, say="Alice."), previous_response_id=two["id"], user=somebody)
        assert said_to(upstream, tag) == [
            ("user", "I am Alice."),
            ("assistant", "Hello."),
            ("user", "And you?"),
            ("assistant", "The Cat."),
            ("user", "Who am I?"),
        ]
        (record,) = upstream.wait(tag)
        assert "Be rude." not in text_of(record["body"]["messages"][0])

    def test_two_branches_of_one_response_do_not_mix(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        one = create(http, input=ask("One", say="1"), user=somebody)
        create(http, input=ask("Left", say="L"), previous_response_id=one["id"], user=somebody)
        create(http, input=ask("Right", tag=tag, say="R"), previous_response_id=one["id"], user=somebody)
        assert said_to(upstream, tag) == [("user", "One"), ("assistant", "1"), ("user", "Right")]

    def test_two_at_once_go_on_from_one_response(self, http: httpx.Client, cat: Cat, somebody: str) -> None:
        one = create(http, input=ask("One", say="1"), user=somebody)

        async def both() -> list[Response]:
            async with openai.AsyncOpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0, timeout=60) as client:
                return await asyncio.gather(
                    *(
                        client.responses.create(
                            model="cheshire-cat",
                            input=ask(say=[side, "!"], delay=0.2),
                            previous_response_id=one["id"],
                            user=somebody,
                        )
                        for side in ("Left", "Right")
                    )
                )

        made = asyncio.run(both())
        assert [each.output_text for each in made] == ["Left!", "Right!"]
        for each in made:
            assert http.get(f"{RESPONSES}/{each.id}", params={"user": somebody}).status_code == 200

    def test_it_can_be_gone_on_from_and_nothing_be_kept(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        one = create(http, input=ask("One", say="1"), user=somebody)
        two = create(
            http, input=ask("Two", tag=tag, say="2"), previous_response_id=one["id"], user=somebody, store=False
        )
        assert said_to(upstream, tag) == [("user", "One"), ("assistant", "1"), ("user", "Two")]
        refusal = refused(http, input="x", previous_response_id=two["id"], user=somebody)
        assert refusal == (400, "previous_response_not_found", "previous_response_id")

    def test_of_a_chain_whose_beginning_is_deleted_the_rest_goes_on(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        """Nothing is told of the result of a call that is not there any more: no LLM takes that."""
        turns = [{"tool_calls": [{"name": "look", "arguments": "{}"}]}, {"say": "A garden."}]
        one = create(http, input=ask("Look.", turns=turns), tools=[LOOK], user=somebody)
        output = {"type": "function_call_output", "call_id": one["output"][0]["call_id"], "output": "roses"}
        two = create(http, input=[output], previous_response_id=one["id"], tools=[LOOK], user=somebody)
        three = create(http, input=ask("Three", say="3"), previous_response_id=two["id"], user=somebody)
        assert http.delete(f"{RESPONSES}/{one['id']}", params={"user": somebody}).status_code == 200
        create(http, input=ask("Four", tag=tag, say="4"), previous_response_id=three["id"], user=somebody)
        assert said_to(upstream, tag) == [
            ("assistant", "A garden."),
            ("user", "Three"),
            ("assistant", "3"),
            ("user", "Four"),
        ]

    def test_it_is_not_streamed_again(self, http: httpx.Client) -> None:
        made = create(http, input=ask(say="x"))
        reply = http.get(f"{RESPONSES}/{made['id']}", params={"stream": "true"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "unsupported_parameter")

    def test_nobody_else_sees_it(self, http: httpx.Client, somebody: str) -> None:
        made = create(http, input=ask(say="secret"), user=somebody)
        place = f"{RESPONSES}/{made['id']}"
        assert http.get(place, params={"user": somebody}).json()["id"] == made["id"]
        for other in ({}, {"user": "somebody-else"}):
            for reply in (
                http.get(place, params=other),
                http.get(f"{place}/input_items", params=other),
                http.post(f"{place}/cancel", params=other),
                http.delete(place, params=other),
            ):
                assert (reply.status_code, reply.json()["error"]["code"]) == (404, "response_not_found")
        fault = refused(http, input="x", previous_response_id=made["id"], user="somebody-else")
        assert fault == (400, "previous_response_not_found", "previous_response_id")

    def test_store_false_keeps_nothing(self, http: httpx.Client) -> None:
        made = create(http, input=ask(say="x"), store=False)
        assert made["store"] is False
        assert http.get(f"{RESPONSES}/{made['id']}").status_code == 404

    def test_what_it_answers_is_listed(self, client: OpenAI, somebody: str) -> None:
        who = {"user": somebody}
        one = client.responses.create(model="cheshire-cat", input=ask("One", say="1"), user=somebody)
        items: list[Any] = [
            {"role": "developer", "content": "Hm."},
            {"role": "user", "content": ask("Two", say="2")},
        ]
        two = client.responses.create(model="cheshire-cat", input=items, previous_response_id=one.id, user=somebody)
        page = client.responses.input_items.list(two.id, order="asc", limit=3, extra_query=who)
        assert [item.role for item in page.data] == ["user", "assistant", "developer"]  # type: ignore[union-attr]
        assert page.has_more
        ids = [item.id for item in client.responses.input_items.list(two.id, order="asc", limit=1, extra_query=who)]
        newest = [item.id for item in client.responses.input_items.list(two.id, extra_query=who)]
        assert newest == ids[::-1]
        assert len({*ids}) == 4

    def test_an_item_can_be_named_by_its_id(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        one = create(http, input=ask("One", say="1"), user=somebody)
        reference = {"type": "item_reference", "id": one["output"][0]["id"]}
        create(http, input=[reference, {"role": "user", "content": ask("Two", tag=tag, say="2")}], user=somebody)
        assert said_to(upstream, tag) == [("assistant", "1"), ("user", "Two")]
        unknown = [{"id": "msg_unknown"}, {"role": "user", "content": "x"}]
        assert refused(http, input=unknown, user=somebody) == (400, "invalid_value", "input[0].id")

    def test_a_stream_is_kept_before_its_end_is_told(self, http: httpx.Client) -> None:
        last = events_of(http, {"input": ask(say="A cat.")})[-1]["response"]
        assert http.get(f"{RESPONSES}/{last['id']}").json() == last

    def test_only_so_many_are_kept(self, http: httpx.Client, somebody: str) -> None:
        made = [create(http, input=ask(say=str(n)), user=somebody)["id"] for n in range(130)]
        codes = [http.get(f"{RESPONSES}/{one}", params={"user": somebody}).status_code for one in made]
        assert codes == [404] * 2 + [200] * 128


class TestCancel:
    @pytest.fixture
    def held(self, http: httpx.Client, upstream: Upstream, tag: str) -> Iterator[tuple[httpx.Response, Iterator[str]]]:
        """A stream whose LLM has said "one " and waits."""
        body = {"model": "cheshire-cat", "stream": True, "input": ask(tag=tag, say=["one ", "two"], delay=60)}
        with http.stream("POST", RESPONSES, json=body) as reply:
            yield reply, reply.iter_lines()

    @staticmethod
    def id_of(lines: Iterator[str]) -> str:
        found = ""
        for line in lines:
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                found = found or event["response"]["id"]
                if event["type"] == "response.output_text.delta":
                    return str(found)
        raise AssertionError("the stream has ended")

    def test_one_that_runs(
        self,
        held: tuple[httpx.Response, Iterator[str]],
        cat: Cat,
        upstream: Upstream,
        until: Callable[..., None],
        tag: str,
    ) -> None:
        stream, lines = held
        response_id = self.id_of(lines)
        place = f"{cat.url}/custom{RESPONSES}/{response_id}"
        key = {"Authorization": f"Bearer {KEY}"}
        running = httpx.get(place, headers=key).json()
        assert (running["status"], running["output"][0]["content"][0]["text"]) == ("in_progress", "one ")
        reply = httpx.post(f"{place}/cancel", headers=key, timeout=10)
        assert reply.status_code == 200, reply.text
        assert reply.json()["status"] == "cancelled"
        assert reply.json()["output"][0]["content"][0]["text"] == "one "
        *_, last = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        assert last["type"] == "response.incomplete"
        assert last["response"]["status"] == "cancelled"
        upstream.wait(tag, state="left")
        told = re.compile(rf'"request":"{stream.headers["x-request-id"]}".*"outcome":"ok"')
        until(lambda: bool(told.search(cat.log())), "the log says that nobody left")
        assert httpx.get(place, headers=key).json()["status"] == "cancelled"
        again = httpx.post(f"{place}/cancel", headers=key)
        assert (again.status_code, again.json()) == (200, reply.json())

    def test_the_next_one_goes_on_from_what_it_said(
        self,
        held: tuple[httpx.Response, Iterator[str]],
        cat: Cat,
        client: OpenAI,
        upstream: Upstream,
        tag: str,
    ) -> None:
        _, lines = held
        cancelled = client.responses.cancel(self.id_of(lines))
        client.responses.create(
            model="cheshire-cat", input=ask("Go on.", tag=f"{tag}2", say="ok"), previous_response_id=cancelled.id
        )
        assert said_to(upstream, f"{tag}2")[1:] == [("assistant", "one "), ("user", "Go on.")]

    def test_a_client_that_reads_nothing_holds_nobody_up(
        self,
        cat: Cat,
        http: httpx.Client,
        settings: Callable[..., None],
        until: Callable[..., None],
    ) -> None:
        settings(max_tokens=0)
        body = json.dumps({"model": "cheshire-cat", "stream": True, "input": ask(say=["word " * 200], repeat=20_000)})
        head = f"POST /custom{RESPONSES} HTTP/1.1\r\nHost: cat\r\nAuthorization: Bearer {KEY}\r\n"
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", cat.port))
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            begun = b""
            while b'"response.in_progress"' not in begun:
                begun += connection.recv(1000)
            place = f"{RESPONSES}/resp_{begun.partition(b'resp_')[2][:32].decode()}"
            sizes = [0, 0]

            def is_stuck() -> bool:
                sizes.append(len(http.get(place).content))
                return sizes[-1] == sizes[-2] == sizes[-3] > 1_000_000

            until(is_stuck, "no more is sent to it", timeout=60)
            reply = http.post(f"{place}/cancel", timeout=20)
            assert reply.json()["status"] == "cancelled"
            assert http.get(place).json()["status"] == "cancelled"

    def test_at_the_very_end_it_has_one_end(self, cat: Cat, client: OpenAI) -> None:
        """Whichever comes first, the stream, the answer and what is kept say the same."""

        def one(wait: float) -> tuple[str, str, str]:
            told = client.responses.create(model="cheshire-cat", input=ask(say=["a "] * 5, delay=0.01), stream=True)
            started = next(event for event in told if event.type == "response.created")
            time.sleep(wait)
            try:
                status = str(client.responses.cancel(started.response.id).status)
            except openai.BadRequestError:
                status = "completed"
            *_, last = told
            assert last.type in ("response.completed", "response.incomplete")
            return status, str(last.response.status), str(client.responses.retrieve(started.response.id).status)

        with ThreadPoolExecutor(4) as pool:
            for ends in pool.map(one, [n / 400 for n in range(40)]):
                assert len({*ends}) == 1

    def test_one_that_has_ended(self, http: httpx.Client) -> None:
        made = create(http, input=ask(say="x"))
        reply = http.post(f"{RESPONSES}/{made['id']}/cancel")
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_value")


class TestRefused:
    @pytest.mark.parametrize(
        "fields",
        [
            {"conversation": "conv_1"},
            {"prompt": {"id": "pmpt_1"}},
            {"top_logprobs": 2},
            {"include": ["message.output_text.logprobs"]},
            {"tool_choice": {"type": "web_search"}},
            {"input": [{"type": "telepathy_call", "id": "tp_1"}]},
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]},
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://example.org"}]}]},
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://example.org/a"}]}]},
        ],
        ids=lambda fields: next(iter(fields)),
    )
    def test_what_this_api_does_not_do(self, http: httpx.Client, fields: dict[str, Any]) -> None:
        assert refused(http, **{"input": "x", **fields})[:2] == (400, "unsupported_parameter")

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"input": ""}, "input"),
            ({"input": []}, "input"),
            ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "input[0].content[0].type"),
            ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input[0].call_id"),
            ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}]}, "input"),
            ({"temperature": 3}, "temperature"),
            ({"max_output_tokens": 0}, "max_output_tokens"),
            ({"metadata": {"a": 1}}, "metadata.a"),
            ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
            ({"tool_choice": {"type": "function", "name": "look"}}, "tool_choice.name"),
            ({"tools": [LOOK, LOOK]}, "tools"),
        ],
        ids=str,
    )
    def test_bad_input(self, http: httpx.Client, fields: dict[str, Any], param: str) -> None:
        status, code, named = refused(http, **{"input": "x", **fields})
        assert (status, named) == (400, param)
        assert code in ("invalid_value", "missing_required_parameter")

    def test_bad_queries(self, http: httpx.Client) -> None:
        made = create(http, input=ask(say="x"))
        reply = http.get(f"{RESPONSES}/{made['id']}/input_items", params={"limit": 0})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "limit")

    def test_a_model_that_is_not_there(self, http: httpx.Client) -> None:
        assert refused(http, model="gpt-0", input="x") == (404, "model_not_found", "model")

    def test_what_nobody_knows_is_ignored(self, http: httpx.Client) -> None:
        create(http, input=ask(say="x"), prompt_cache_key="k", include=["reasoning.encrypted_content"], unknown=1)


def test_the_cat_keeps_it_too(
    http: httpx.Client, settings: Callable[..., None], upstream: Upstream, tag: str, somebody: str
) -> None:
    """`history` = cat: one conversation, whichever way it is gone on with."""
    settings(history="cat")
    create(http, input=ask("One", say="1"), user=somebody)
    made_up = [{"role": "user", "content": "?"}, {"role": "user", "content": ask("Two", tag=tag, say="2")}]
    create(http, input=made_up, user=somebody)
    assert said_to(upstream, tag) == [("user", "One"), ("assistant", "1"), ("user", "Two")]


def test_it_counts_as_a_request(http: httpx.Client, settings: Callable[..., None], somebody: str) -> None:
    settings(rate_limit_per_minute=2)
    reply = http.post(RESPONSES, json={"model": "cheshire-cat", "input": ask(say="x"), "user": somebody})
    assert reply.headers["x-ratelimit-remaining-requests"] == "1"


def test_it_takes_a_place_while_it_runs(
    http: httpx.Client, settings: Callable[..., None], upstream: Upstream, tag: str
) -> None:
    settings(max_concurrent_requests=1)
    body = {"model": "cheshire-cat", "stream": True, "input": ask(tag=tag, say=["one ", "two"], delay=60)}
    with http.stream("POST", RESPONSES, json=body) as reply:
        lines = reply.iter_lines()
        place = f"{RESPONSES}/{TestCancel.id_of(lines)}"
        assert refused(http, input="x")[:2] == (503, "overloaded")
        assert http.get(place).json()["status"] == "in_progress"
        assert http.post(f"{place}/cancel").json()["status"] == "cancelled"
        assert [*lines]
    create(http, input=ask(say="x"))


def test_many_at_once_get_each_their_own(cat: Cat) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> Response:
        said = [f"{number} ", "and ", f"{number}"]
        return await client.responses.create(model="cheshire-cat", input=ask(say=said), user=f"many-{number}")

    async def all_of_them() -> list[Response]:
        async with openai.AsyncOpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0, timeout=60) as client:
            return await asyncio.gather(*(one(client, number) for number in range(20)))

    assert [made.output_text for made in asyncio.run(all_of_them())] == [f"{n} and {n}" for n in range(20)]
