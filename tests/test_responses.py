"""The Responses API: the same Cat, spoken to as the newest SDKs and agent frameworks do."""

import asyncio
import json
from collections.abc import Callable, Iterator
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
    def held(
        self, http: httpx.Client, upstream: Upstream, tag: str
    ) -> Iterator[tuple[httpx.Response, Iterator[str]]]:
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
        self, held: tuple[httpx.Response, Iterator[str]], cat: Cat, upstream: Upstream, tag: str
    ) -> None:
        _, lines = held
        response_id = self.id_of(lines)
        place = f"{cat.url}/custom{RESPONSES}/{response_id}"
        key = {"Authorization": f"Bearer {KEY}"}
        assert httpx.get(place, headers=key).json()["status"] == "in_progress"
        reply = httpx.post(f"{place}/cancel", headers=key, timeout=10)
        assert reply.status_code == 200, reply.text
        assert reply.json()["status"] == "cancelled"
        assert reply.json()["output"][0]["content"][0]["text"] == "one "
        *_, last = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        assert last["type"] == "response.incomplete"
        assert last["response"]["status"] == "cancelled"
        upstream.wait(tag, state="left")
        assert httpx.get(place, headers=key).json()["status"] == "cancelled"

    def test_one_that_has_ended(self, http: httpx.Client) -> None:
        made = create(http, input=ask(say="x"))
        reply = http.post(f"{RESPONSES}/{made['id']}/cancel")
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_value")


class TestRefused:
    @pytest.mark.parametrize(
        "kind", ["web_search", "file_search", "computer_use_preview", "mcp", "code_interpreter"]
    )
    def test_tools_that_are_no_functions(self, http: httpx.Client, kind: str) -> None:
        reply = http.post(RESPONSES, json={"model": "cheshire-cat", "input": "x", "tools": [{"type": kind}]})
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["param"]) == (400, "unsupported_parameter", "tools[0]")
        assert kind in error["message"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"background": True},
            {"conversation": "conv_1"},
            {"prompt": {"id": "pmpt_1"}},
            {"top_logprobs": 2},
            {"include": ["message.output_text.logprobs"]},
            {"tool_choice": {"type": "web_search"}},
            {"input": [{"type": "web_search_call", "id": "ws_1"}]},
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]},
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://example.org"}]}]},
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "image_url": "https://example.org/a"}]}
                ]
            },
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
            ({"input": [{"role": "assistant", "content": "x"}]}, "input[0]"),
            ({"input": [{"role": "system", "content": "x"}]}, "input"),
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


def test_many_at_once_get_each_their_own(cat: Cat) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> Response:
        said = [f"{number} ", "and ", f"{number}"]
        return await client.responses.create(model="cheshire-cat", input=ask(say=said), user=f"many-{number}")

    async def all_of_them() -> list[Response]:
        async with openai.AsyncOpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0, timeout=60) as client:
            return await asyncio.gather(*(one(client, number) for number in range(20)))

    assert [made.output_text for made in asyncio.run(all_of_them())] == [f"{n} and {n}" for n in range(20)]
