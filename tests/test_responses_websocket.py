"""`/v1/responses` as a WebSocket."""

import asyncio
import json
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from asking import said_to
from bridge.cat_openai_api.access.connections import MAX_CONNECTIONS, MAX_CONNECTIONS_OF_PERSON, Connections
from bridge.cat_openai_api.domain.people import Person
from bridge.cat_openai_api.errors import ApiError, CapacityReached, ShareExceeded
from bridge.cat_openai_api.http import websocket
from host import KEY, WHICH, Cat, make_cat, signed
from openai import OpenAI
from upstream import Upstream, script
from websockets.asyncio.client import ClientConnection as AsyncConnection
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

Event = dict[str, Any]

ENDS = {"error", "response.completed", "response.incomplete", "response.failed"}
SLOW = {"say": ["one ", "two ", "three "], "repeat": 40, "delay": 0.1}
"""A reply that takes twelve seconds."""

SAYS_WHY = WHICH != "1.9"
"""The server of the real Cheshire Cat 1.9 refuses a WebSocket with 403 and no body, whatever the reason."""


def url_of(cat: Cat) -> str:
    return cat.base_url.replace("http", "ws", 1) + "/responses"


def bearer(credential: str = KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


@contextmanager
def open_to(cat: Cat, headers: dict[str, str] | None = None) -> Iterator[ClientConnection]:
    with connect(url_of(cat), additional_headers=bearer() if headers is None else headers, proxy=None) as connection:
        yield connection


@pytest.fixture
def connection(cat: Cat) -> Iterator[ClientConnection]:
    with open_to(cat) as opened:
        yield opened


def send(connection: ClientConnection, **fields: Any) -> None:
    connection.send(json.dumps({"type": "response.create", "model": "cheshire-cat", **fields}))


def receive(connection: ClientConnection) -> list[Event]:
    """The events of one turn."""
    events: list[Event] = []
    while not events or events[-1]["type"] not in ENDS:
        events.append(json.loads(connection.recv(timeout=20)))
    return events


def turn(connection: ClientConnection, **fields: Any) -> Event:
    """The last event of a turn."""
    send(connection, **fields)
    return receive(connection)[-1]


def error_of(event: Event) -> tuple[int, str, str | None]:
    assert event["type"] == "error", event
    return event["status"], event["error"]["code"], event["error"]["param"]


def close_code(connection: ClientConnection) -> int | None:
    """That with which the Cat has closed the connection, with no message before it."""
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv(timeout=5)
    return closed.value.rcvd and closed.value.rcvd.code


class TestTurns:
    def test_the_events_are_those_of_a_stream(self, connection: ClientConnection, http: httpx.Client) -> None:
        send(connection, input=script(say=["one ", "two"]))
        events = receive(connection)
        assert [event["sequence_number"] for event in events] == [*range(len(events))]
        body = {"model": "cheshire-cat", "input": script(say=["one ", "two"]), "stream": True}
        lines = http.post("/v1/responses", json=body).text.split("\n")
        streamed = [json.loads(line.removeprefix("data: "))["type"] for line in lines if line.startswith("data: ")]
        kinds = [event["type"] for event in events]
        assert [kind for kind in kinds if kind != "response.output_text.delta"] == [
            kind for kind in streamed if kind != "response.output_text.delta"
        ]
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == "one two"

    def test_the_sdk(self, client: OpenAI) -> None:
        with client.responses.connect() as opened:
            for text in ("one", "two"):
                opened.response.create(model="cheshire-cat", input=script(say=text), store=False)
                for event in opened:
                    if event.type == "response.completed":
                        assert event.response.output_text == text
                        break

    def test_turns_that_are_sent_at_once_come_one_after_the_other(self, connection: ClientConnection) -> None:
        for number in range(3):
            send(connection, input=script(say=[f"{number} ", f"{number}"], delay=0.05))
        ends = [receive(connection)[-1] for _ in range(3)]
        texts = [end["response"]["output"][0]["content"][0]["text"] for end in ends]
        assert texts == ["0 0", "1 1", "2 2"]

    def test_fields_of_the_other_transport_are_ignored(self, connection: ClientConnection) -> None:
        end = turn(connection, input=script(say="x"), stream=True, stream_options=None, background=False)
        assert end["type"] == "response.completed"
        end = turn(connection, input=script(say="x"), stream=False)
        assert end["type"] == "response.completed"
        assert error_of(turn(connection, input="x", background=True)) == (400, "unsupported_parameter", "background")

    def test_a_stream_id_comes_back(self, connection: ClientConnection) -> None:
        send(connection, input=script(say="x"), stream_id="agent_1")
        assert {event["stream_id"] for event in receive(connection)} == {"agent_1"}
        send(connection, input=3, stream_id="agent_1")
        assert [event["stream_id"] for event in receive(connection)] == ["agent_1"]
        assert error_of(turn(connection, input="x", stream_id="no spaces")) == (400, "invalid_value", "stream_id")
        limits = [turn(connection, input=script(say="x"), stream_id=f"s{number}") for number in range(8)]
        assert error_of(limits[-1]) == (400, "websocket_stream_limit_reached", "stream_id")

    def test_functions(self, connection: ClientConnection) -> None:
        look = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
        calls = [{"name": "look", "arguments": "{}"}]
        text = script(turns=[{"tool_calls": calls}, {"say": "A cat."}])
        called = turn(connection, input=text, tools=[look], store=False)["response"]
        (call,) = called["output"]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "cat"}
        end = turn(connection, input=[result], tools=[look], store=False, previous_response_id=called["id"])
        assert end["response"]["output"][0]["content"][0]["text"] == "A cat."

    def test_a_failed_run(self, connection: ClientConnection) -> None:
        assert error_of(turn(connection, input=script(fail_status=500)))[:2] == (502, "upstream_error")
        late = turn(connection, input=script(say=["one ", "two "], delay=0.1, error_after=1))
        assert late["type"] == "response.failed"
        assert turn(connection, input=script(say="x"))["type"] == "response.completed"


class TestContinuation:
    def test_what_is_not_stored_continues_on_its_connection(
        self, cat: Cat, connection: ClientConnection, http: httpx.Client, upstream: Upstream, tag: str
    ) -> None:
        last: Event = {"response": {"id": None}}
        for number in range(3):
            text = script(f"question {number}", tag=f"{tag} {number}", say=f"answer {number}")
            previous = last["response"]["id"]
            last = turn(connection, input=text, store=False, previous_response_id=previous)
        assert said_to(upstream, f"{tag} 2") == [
            ("user", "question 0"),
            ("assistant", "answer 0"),
            ("user", "question 1"),
            ("assistant", "answer 1"),
            ("user", "question 2"),
        ]
        response_id = last["response"]["id"]
        assert http.get(f"/v1/responses/{response_id}").status_code == 404
        with open_to(cat) as other:
            unknown = turn(other, input="x", store=False, previous_response_id=response_id)
        assert error_of(unknown) == (400, "previous_response_not_found", "previous_response_id")

    def test_only_from_the_last_one(self, connection: ClientConnection) -> None:
        first = turn(connection, input=script(say="1"), store=False)["response"]["id"]
        turn(connection, input=script(say="2"), store=False)
        forked = turn(connection, input="x", store=False, previous_response_id=first)
        assert error_of(forked)[1] == "previous_response_not_found"

    def test_what_is_stored_continues_anywhere_unless_it_shall_not_be_stored(
        self, cat: Cat, connection: ClientConnection, http: httpx.Client, upstream: Upstream, tag: str
    ) -> None:
        made = http.post("/v1/responses", json={"model": "cheshire-cat", "input": script("One", say="1")}).json()
        refused = turn(connection, input="x", store=False, previous_response_id=made["id"])
        assert error_of(refused)[1] == "previous_response_not_found"
        end = turn(connection, input=script("Two", say="2"), previous_response_id=made["id"])["response"]
        body = {"model": "cheshire-cat", "input": script("Three", tag=tag, say="3"), "previous_response_id": end["id"]}
        http.post("/v1/responses", json=body).raise_for_status()
        assert said_to(upstream, tag)[0] == ("user", "One")
        assert said_to(upstream, tag)[-2] == ("assistant", "2")

    @pytest.mark.parametrize("failure", ["refused", "failed"])
    def test_a_failed_turn_forgets_what_it_continued(self, connection: ClientConnection, failure: str) -> None:
        first = turn(connection, input=script(say="1"), store=False)["response"]["id"]
        wrong: Any = [{"type": "function_call_output", "call_id": "call_none", "output": "x"}]
        given = wrong if failure == "refused" else script(fail_status=500)
        assert turn(connection, input=given, store=False, previous_response_id=first)["type"] == "error"
        again = turn(connection, input=script(say="2"), store=False, previous_response_id=first)
        assert error_of(again) == (400, "previous_response_not_found", "previous_response_id")

    def test_another_end_user_does_not_continue_it(self, connection: ClientConnection, somebody: str) -> None:
        first = turn(connection, input=script(say="1"), store=False, user=somebody)["response"]["id"]
        other = turn(connection, input="x", store=False, user=f"{somebody}2", previous_response_id=first)
        assert error_of(other)[1] == "previous_response_not_found"

    def test_a_turn_without_output_prepares_the_next(
        self, connection: ClientConnection, upstream: Upstream, tag: str
    ) -> None:
        text = script("One", tag=f"{tag} 1", say="1")
        end = turn(connection, input=text, store=False, generate=False)
        assert (end["type"], end["response"]["output"]) == ("response.completed", [])
        assert upstream.requests(f"{tag} 1") == []
        previous = end["response"]["id"]
        turn(connection, input=script("Two", tag=tag, say="2"), store=False, previous_response_id=previous)
        assert said_to(upstream, tag) == [("user", "One"), ("user", "Two")]


class TestWhoMay:
    @pytest.mark.parametrize(
        "headers", [{}, bearer("wrong"), {"Cookie": f"access_token={KEY}"}, {"Cookie": f"ccat_user_token={KEY}"}]
    )
    def test_without_a_valid_credential(self, cat: Cat, headers: dict[str, str]) -> None:
        with pytest.raises(InvalidStatus) as refused, open_to(cat, headers):
            pass
        response = refused.value.response
        assert response.status_code == (401 if SAYS_WHY else 403)
        if SAYS_WHY:
            assert json.loads(response.body)["error"]["code"] == "invalid_api_key"
            assert response.headers["x-request-id"].startswith("req_")

    def test_a_user_with_a_token_is_that_person(self, cat: Cat, upstream: Upstream, tag: str) -> None:
        with open_to(cat, bearer(cat.token("alice"))) as opened:
            end = turn(opened, input=script(say="x"), user="somebody else")
        place = f"{cat.base_url}/responses/{end['response']['id']}"
        assert httpx.get(place, headers=bearer(cat.token("alice"))).status_code == 200
        assert httpx.get(place, params={"user": "somebody else"}, headers=bearer()).status_code == 404

    def test_a_token_that_has_expired_since_then(self, cat: Cat) -> None:
        claims = jwt.decode(cat.token("alice"), options={"verify_signature": False})
        with open_to(cat, bearer(signed(claims, expires=4))) as opened:
            assert turn(opened, input=script(say="x"))["type"] == "response.completed"
            end = turn(opened, input=script(say=["x "] * 50, delay=0.1))
            assert end["type"] == "response.completed"
            assert error_of(turn(opened, input="x"))[:2] == (401, "invalid_api_key")
            assert close_code(opened) == 1008

    def test_end_users_have_a_conversation_each(
        self, cat: Cat, connection: ClientConnection, settings: Callable[..., None], upstream: Upstream, tag: str
    ) -> None:
        settings(history="cat")
        for name in ("alice", "bob", "alice"):
            turn(connection, input=script(name, tag=f"{tag} {name}", say="x"), user=f"{tag} {name}")
        assert said_to(upstream, f"{tag} bob") == [("user", "bob")]
        assert len(said_to(upstream, f"{tag} alice")) == 3


class TestErrors:
    @pytest.mark.parametrize(
        ("message", "code", "param"),
        [
            ("{", "invalid_json", None),
            ("[]", "invalid_value", None),
            ("NaN", "invalid_json", None),
            ("{}", "missing_required_parameter", "type"),
            ('{"type": "response.cancel"}', "invalid_value", "type"),
            ('{"type": ["response.create"]}', "invalid_value", "type"),
            ('{"type": "response.create"}', "missing_required_parameter", "model"),
            ('{"type": "response.create", "model": "cheshire-cat", "input": 3}', "invalid_value", "input"),
            ('{"type": "response.create", "model": "gpt-0", "input": "x"}', "model_not_found", "model"),
        ],
    )
    def test_a_bad_message(self, connection: ClientConnection, message: str, code: str, param: str | None) -> None:
        connection.send(message)
        (event,) = receive(connection)
        assert error_of(event)[1:] == (code, param)
        assert event["error"]["type"] == "invalid_request_error"
        assert turn(connection, input=script(say="x"))["type"] == "response.completed"

    def test_bytes_are_as_good_as_text(self, connection: ClientConnection) -> None:
        connection.send(b'{"type": "response.create", "model": "cheshire-cat", "input": "hi"}')
        assert receive(connection)[-1]["type"] == "response.completed"

    def test_the_rate_limit_counts_turns(self, cat: Cat, settings: Callable[..., None], somebody: str) -> None:
        with open_to(cat) as opened:
            settings(rate_limit_per_minute=2)
            ends = [turn(opened, input=script(say="x"), user=somebody) for _ in range(3)]
        assert [end["type"] for end in ends] == ["response.completed"] * 2 + ["error"]
        assert error_of(ends[-1])[:2] == (429, "rate_limit_exceeded")
        assert 0 < int(ends[-1]["error"]["headers"]["retry-after"]) <= 60

    def test_a_turn_takes_a_place(self, cat: Cat, settings: Callable[..., None], upstream: Upstream, tag: str) -> None:
        settings(max_concurrent_requests=1)
        with open_to(cat) as one, open_to(cat) as two:
            send(one, input=script(tag=tag, **SLOW))
            upstream.wait(tag, state="running")
            assert error_of(turn(two, input="x"))[:2] == (503, "overloaded")

    def test_too_many_waiting_messages_end_it(self, connection: ClientConnection, upstream: Upstream, tag: str) -> None:
        send(connection, input=script(tag=tag, **SLOW))
        upstream.wait(tag, state="running")
        connection.recv(timeout=20)
        for _ in range(17):
            send(connection, input="x")
        assert receive(connection)[-1]["type"] == "response.failed"
        assert close_code(connection) == 1008
        upstream.wait(tag, state="left", timeout=1)

    def test_each_turn_has_a_line_of_the_log(
        self, cat: Cat, connection: ClientConnection, until: Callable[..., None]
    ) -> None:
        start = len(cat.log())
        turn(connection, input=script(say="x"))
        turn(connection, input=3)
        until(lambda: cat.log()[start:].count('"route":"/custom/v1/responses"') == 2, "two lines")
        assert cat.log()[start:].count('"outcome":"refused","code":"invalid_value"') == 1


class TestEnds:
    def test_a_client_that_leaves_ends_its_run(
        self, cat: Cat, upstream: Upstream, until: Callable[..., None], tag: str
    ) -> None:
        with open_to(cat) as opened:
            send(opened, input=script(tag=tag, **SLOW))
            upstream.wait(tag, state="running")
            opened.recv(timeout=5)
            start = len(cat.log())
            opened.socket.shutdown(socket.SHUT_RDWR)
            upstream.wait(tag, state="left", timeout=1)
            until(lambda: '"outcome":"gone"' in cat.log()[start:], "the log says so")

    def test_it_is_open_for_so_many_minutes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is answered then is answered to its end."""
        monkeypatch.setattr(websocket, "MAX_MINUTES", 0.001)
        sent: list[Event] = []
        answered: list[Any] = []

        class Handler(websocket.MessageHandler):
            def begin(self) -> None: ...

            async def answer(self, message: Any, turn: websocket.Turn) -> None:
                raise AssertionError("nobody has sent a message")

            def error_frames(self, error: ApiError) -> list[bytes]:
                return []

            def close(self) -> None:
                answered.append("closed")

        async def receive() -> Event:
            if not answered:
                answered.append("connect")
                return {"type": "websocket.connect"}
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Event) -> None:
            sent.append(message)

        async def serve() -> None:
            opened = websocket.WebSocket({"type": "websocket", "headers": []}, receive, send)
            options = websocket.WebSocketOptions(Handler, "bucket", 1000)
            await asyncio.wait_for(websocket.WebSocketConnection(opened, "/", options).serve("req_1"), 5)

        asyncio.run(serve())
        assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
        assert json.loads(sent[1]["text"])["error"]["code"] == "websocket_connection_limit_reached"
        assert sent[2]["code"] == 1000
        assert answered == ["connect", "closed"]

    def test_one_caller_and_all_together_have_so_many(self) -> None:
        class Opened:
            async def shut_down(self) -> None: ...

        connections, alice, bob = Connections(), Person("alice", "alice"), Person("bob", "bob")
        opened = [Opened() for _ in range(MAX_CONNECTIONS_OF_PERSON)]
        for each in opened:
            connections.add(each, alice)
        with pytest.raises(ShareExceeded):
            connections.add(Opened(), alice)
        connections.add(Opened(), bob)
        connections.remove(opened[0])
        connections.add(Opened(), alice)
        for number in range(MAX_CONNECTIONS - MAX_CONNECTIONS_OF_PERSON - 1):
            connections.add(Opened(), Person(str(number), ""))
        with pytest.raises(CapacityReached):
            connections.add(Opened(), bob)

    @pytest.fixture(scope="class")
    @staticmethod
    def own_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
        cat = make_cat(Path(tmp_path_factory.mktemp("websockets")) / "home").start()
        cat.use_llm(upstream.base_url)
        cat.put_settings({"rate_limit_per_minute": 0, "max_concurrent_requests": 0}).raise_for_status()
        yield cat
        cat.stop()

    def test_the_plugin_is_switched_off(self, own_cat: Cat, upstream: Upstream, tag: str) -> None:
        with open_to(own_cat) as idle, open_to(own_cat) as busy:
            turn(idle, input=script(say="x"))
            send(busy, input=script(tag=tag, **SLOW))
            upstream.wait(tag, state="running")
            json.loads(busy.recv(timeout=5))
            own_cat.toggle(own_cat.folder or "")
            assert receive(busy)[-1]["type"] == "response.failed"
            assert [close_code(opened) for opened in (idle, busy)] == [1001, 1001]
            upstream.wait(tag, state="left", timeout=1)
        with pytest.raises(InvalidStatus), open_to(own_cat):
            pass
        own_cat.toggle(own_cat.folder or "")
        with open_to(own_cat) as again:
            assert turn(again, input=script(say="x"))["type"] == "response.completed"

    def test_nothing_stays_of_200_that_leave_in_the_middle_of_a_turn(
        self, own_cat: Cat, upstream: Upstream, until: Callable[..., None], tag: str
    ) -> None:
        """Files that are open on both sides: two for each connection, here and in the Cat."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

        async def one(stack: list[AsyncConnection], text: str) -> None:
            opened = await connect_async(
                url_of(own_cat), additional_headers=bearer(), proxy=None, open_timeout=60, compression=None
            )
            stack.append(opened)
            message = {"type": "response.create", "model": "cheshire-cat", "input": text, "store": False}
            await opened.send(json.dumps(message))
            while json.loads(await opened.recv())["type"] != "response.output_text.delta":
                pass

        async def crowd(number: int, text: str) -> None:
            stack: list[AsyncConnection] = []
            await asyncio.gather(*(one(stack, text) for _ in range(number)))
            for opened in stack:
                opened.transport.abort()

        asyncio.run(crowd(5, script(tag=tag, say="one ", repeat=600, delay=0.1)))
        until(lambda: upstream.open_requests() == 0, "the LLM has nobody")
        tasks, threads, sockets = len(own_cat.tasks()), own_cat.threads(), len(own_cat.sockets())
        asyncio.run(crowd(200, script(tag=tag, say="one ", repeat=600, delay=0.1)))
        until(lambda: upstream.open_requests() == 0, "the LLM has nobody", timeout=5)
        until(lambda: len(own_cat.tasks()) <= tasks, "no task stays")
        until(lambda: own_cat.threads() <= threads, "no thread stays")
        until(lambda: len(own_cat.sockets()) <= sockets, "no connection stays", timeout=10)
        objects = own_cat.objects()
        left = {name: count for name, count in objects.items() if "WebSocketConnection" in name and count}
        assert not left
        assert "Traceback" not in own_cat.log()
