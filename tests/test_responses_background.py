"""Responses in the background: generated without their client."""

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import said_to
from host import KEY, Cat, make_cat
from openai import APIStatusError, OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from upstream import Upstream, script

RESPONSES = "/v1/responses"
SLOW = {"say": ["one ", "two ", "three "], "repeat": 40, "delay": 0.1}
"""A reply that takes twelve seconds."""

ENDS = {"response.completed", "response.incomplete", "response.failed"}


def create(client: OpenAI, **fields: Any) -> Response:
    options: dict[str, Any] = {"model": "cheshire-cat", "background": True}
    made = client.responses.create(**{**options, **fields})
    assert isinstance(made, Response)
    return made


def ended(client: OpenAI, response_id: str, until: Callable[..., None], timeout: float = 15) -> Response:
    until(
        lambda: client.responses.retrieve(response_id).status not in {"queued", "in_progress"},
        "the response has ended",
        timeout=timeout,
    )
    return client.responses.retrieve(response_id)


def code_of(call: Callable[[], object]) -> tuple[int, str | None, str | None]:
    with pytest.raises(APIStatusError) as refused:
        call()
    return refused.value.status_code, refused.value.code, refused.value.param


def events_of(client: OpenAI, response_id: str, after: int | None = None) -> list[ResponseStreamEvent]:
    options: dict[str, Any] = {} if after is None else {"starting_after": after}
    return list(client.responses.retrieve(response_id, stream=True, include_obfuscation=False, **options))


class TestPolled:
    def test_it_is_queued_at_once_and_then_shows_what_there_is(
        self, client: OpenAI, upstream: Upstream, until: Callable[..., None], tag: str
    ) -> None:
        made = create(client, input=script(tag=tag, say=["one ", "two ", "three"], delay=0.3))
        assert (made.status, made.background, made.output, made.store) == ("queued", True, [], True)
        seen: list[str] = []

        def is_over() -> bool:
            now = client.responses.retrieve(made.id)
            if now.status == "in_progress":
                seen.append(now.output_text)
            return now.status not in {"queued", "in_progress"}

        until(is_over, "the response has ended")
        assert "one " in seen
        assert all(later.startswith(earlier) for earlier, later in pairwise(seen))
        final = client.responses.retrieve(made.id)
        assert (final.status, final.output_text, final.background) == ("completed", "one two three", True)
        assert final.usage is not None
        assert upstream.requests(tag)[0]["state"] == "finished"

    def test_the_next_response_continues_it(
        self, client: OpenAI, upstream: Upstream, until: Callable[..., None], tag: str
    ) -> None:
        first = create(client, input=script("One", say="1"))
        ended(client, first.id, until)
        second = create(client, input=script("Two", tag=tag, say="2"), previous_response_id=first.id)
        ended(client, second.id, until)
        assert said_to(upstream, tag) == [("user", "One"), ("assistant", "1"), ("user", "Two")]
        items = client.responses.input_items.list(second.id, order="asc").data
        assert [item.type for item in items] == ["message"] * 3

    def test_one_that_runs_cannot_be_continued(self, client: OpenAI, upstream: Upstream, tag: str) -> None:
        made = create(client, input=script(tag=tag, **SLOW))
        upstream.wait(tag, state="running")
        continued = code_of(lambda: create(client, input="x", previous_response_id=made.id))
        assert continued == (400, "invalid_value", "previous_response_id")
        client.responses.cancel(made.id)

    def test_a_failure_is_told_and_kept(self, client: OpenAI, until: Callable[..., None]) -> None:
        made = create(client, input=script(fail_status=500))
        final = ended(client, made.id, until)
        assert final.status == "failed"
        assert final.error is not None
        assert final.error.code == "server_error"
        assert [event.type for event in events_of(client, made.id)][-1] == "response.failed"
        assert code_of(lambda: create(client, input="x", previous_response_id=made.id))[0] == 400

    def test_the_time_limit_ends_it(
        self, client: OpenAI, settings: Callable[..., None], upstream: Upstream, until: Callable[..., None], tag: str
    ) -> None:
        settings(request_timeout=1)
        made = create(client, input=script(tag=tag, hang=True))
        final = ended(client, made.id, until)
        assert final.status == "failed"
        assert "1 seconds" in (final.error.message if final.error else "")
        upstream.wait(tag, state="left")

    def test_it_must_be_stored(self, client: OpenAI) -> None:
        assert code_of(lambda: create(client, input="x", store=False)) == (400, "invalid_value", "background")

    def test_bad_input_is_refused_before_it_is_queued(self, client: OpenAI) -> None:
        assert code_of(lambda: create(client, input="x", model="gpt-0"))[:2] == (404, "model_not_found")

    def test_deleted_while_it_runs(self, client: OpenAI, upstream: Upstream, tag: str) -> None:
        made = create(client, input=script(tag=tag, **SLOW))
        upstream.wait(tag, state="running")
        client.responses.delete(made.id)
        upstream.wait(tag, state="left", timeout=2)
        for call in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
            assert code_of(lambda call=call: call(made.id))[0] == 404  # type: ignore[misc]
        assert code_of(lambda: events_of(client, made.id))[0] == 404

    def test_nobody_else_sees_it(self, client: OpenAI, http: httpx.Client, somebody: str) -> None:
        made = create(client, input=script(**SLOW), user=somebody)
        place = f"{RESPONSES}/{made.id}"
        other = {"user": f"{somebody}2"}
        codes = [
            http.get(place, params=other).status_code,
            http.get(place, params={**other, "stream": "true"}).status_code,
            http.post(f"{place}/cancel", params=other).status_code,
            http.delete(place, params=other).status_code,
            http.get(f"{place}/input_items", params=other).status_code,
        ]
        assert codes == [404] * 5
        assert http.post(f"{place}/cancel", params={"user": somebody}).json()["status"] == "cancelled"


class TestStreamed:
    def test_every_event_once_in_order_wherever_a_client_comes_back(
        self, client: OpenAI, upstream: Upstream, tag: str
    ) -> None:
        stream = client.responses.create(
            model="cheshire-cat",
            input=script(tag=tag, say=["a ", "b ", "c "], repeat=4, delay=0.1),
            background=True,
            stream=True,
        )
        seen: list[ResponseStreamEvent] = []
        for event in stream:
            seen.append(event)
            if len(seen) == 7:
                break
        stream.close()
        first = seen[0]
        assert first.type == "response.created"
        assert [event.type for event in seen[:3]] == ["response.created", "response.queued", "response.in_progress"]
        assert first.response.status == "queued"
        response_id = first.response.id
        seen += events_of(client, response_id, after=6)
        assert [event.sequence_number for event in seen] == [*range(len(seen))]
        assert seen[-1].type == "response.completed"
        text = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
        assert text == "a b c " * 4
        assert upstream.requests(tag)[0]["state"] == "finished"
        # After its end, from the storage.
        again = events_of(client, response_id)
        assert [event.to_dict() for event in again] == [event.to_dict() for event in seen]
        assert [event.sequence_number for event in events_of(client, response_id, after=len(seen) - 3)] == [
            len(seen) - 2,
            len(seen) - 1,
        ]
        assert events_of(client, response_id, after=len(seen) + 5) == []

    def test_several_clients_read_it_at_the_same_time(self, client: OpenAI) -> None:
        made = create(client, input=script(say=["a ", "b "], repeat=5, delay=0.05))
        found: list[list[int]] = [[] for _ in range(4)]

        def read(number: int) -> None:
            found[number] = [event.sequence_number for event in events_of(client, made.id)]

        threads = [threading.Thread(target=read, args=[number]) for number in range(len(found))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found[0] == [*range(len(found[0]))]
        assert found.count(found[0]) == len(found)
        assert len(found[0]) > 10

    def test_only_one_in_the_background_is_streamed_again(self, client: OpenAI) -> None:
        made = client.responses.create(model="cheshire-cat", input=script(say="x"))
        assert code_of(lambda: events_of(client, made.id)) == (400, "unsupported_parameter", "stream")
        assert code_of(lambda: events_of(client, "resp_none"))[0] == 404


class TestCancelled:
    def test_the_llm_is_left_within_a_second(self, client: OpenAI, upstream: Upstream, tag: str) -> None:
        made = create(client, input=script(tag=tag, **SLOW))
        upstream.wait(tag, state="running")
        cancelled = client.responses.cancel(made.id)
        upstream.wait(tag, state="left", timeout=1)
        assert cancelled.status == "cancelled"
        assert client.responses.cancel(made.id).to_dict() == cancelled.to_dict()
        assert client.responses.retrieve(made.id).to_dict() == cancelled.to_dict()
        last = events_of(client, made.id)[-1]
        assert last.type == "response.incomplete"
        assert last.response.status == "cancelled"

    def test_one_that_waits_for_its_turn(
        self, client: OpenAI, settings: Callable[..., None], upstream: Upstream, tag: str, somebody: str
    ) -> None:
        """With the Cat's own history one request of a person waits for the other."""
        settings(history="cat")
        first = create(client, input=script(tag=tag, **SLOW), user=somebody)
        upstream.wait(tag, state="running")
        second = create(client, input=script(tag=f"{tag} 2", say="x"), user=somebody)
        query: Any = {"extra_query": {"user": somebody}}
        assert client.responses.retrieve(second.id, **query).status == "queued"
        assert client.responses.cancel(second.id, **query).status == "cancelled"
        assert client.responses.cancel(first.id, **query).status == "cancelled"
        assert upstream.requests(f"{tag} 2") == []

    def test_one_that_has_ended(self, client: OpenAI, until: Callable[..., None]) -> None:
        made = create(client, input=script(say="x"))
        ended(client, made.id, until)
        assert code_of(lambda: client.responses.cancel(made.id))[0] == 400


class TestLimits:
    def test_it_takes_a_place_until_it_ends(
        self, client: OpenAI, settings: Callable[..., None], until: Callable[..., None]
    ) -> None:
        settings(max_concurrent_requests=1)
        made = create(client, input=script(**SLOW))
        assert code_of(lambda: create(client, input="x"))[:2] == (503, "overloaded")
        client.responses.cancel(made.id)
        until(lambda: create(client, input=script(say="x")) is not None, "there is a place again")

    def test_it_counts_for_the_rate(self, http: httpx.Client, settings: Callable[..., None], somebody: str) -> None:
        settings(rate_limit_per_minute=2)
        body = {"model": "cheshire-cat", "input": script(say="x"), "background": True, "user": somebody}
        replies = [http.post(RESPONSES, json=body) for _ in range(3)]
        assert [reply.status_code for reply in replies] == [200, 200, 429]
        assert replies[0].headers["x-ratelimit-remaining-requests"] == "1"

    def test_one_person_has_so_many(self, http: httpx.Client, upstream: Upstream, somebody: str) -> None:
        body = {"model": "cheshire-cat", "input": script(hang=True), "background": True, "user": somebody}
        made = [http.post(RESPONSES, json=body) for _ in range(33)]
        try:
            assert [reply.status_code for reply in made] == [200] * 32 + [429]
            assert made[-1].json()["error"]["code"] == "rate_limit_exceeded"
            other = {**body, "input": script(say="x"), "user": f"{somebody}2"}
            assert http.post(RESPONSES, json=other).status_code == 200
        finally:
            for reply in made[:-1]:
                http.post(f"{RESPONSES}/{reply.json()['id']}/cancel", params={"user": somebody})

    def test_its_line_of_the_log_comes_with_its_end(
        self, cat: Cat, http: httpx.Client, log_line: Callable[[httpx.Response], str], until: Callable[..., None]
    ) -> None:
        body = {"model": "cheshire-cat", "input": script(say=["a ", "b"], delay=0.5), "background": True}
        reply = http.post(RESPONSES, json=body)
        assert reply.headers["x-request-id"] not in cat.log()
        line = log_line(reply)
        assert '"background":true' in line
        assert '"outcome":"ok"' in line
        assert '"finish_reason":"stop"' in line


class TestInterrupted:
    @pytest.fixture(scope="class")
    @staticmethod
    def own_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
        cat = make_cat(Path(tmp_path_factory.mktemp("interrupted")) / "home").start()
        cat.use_llm(upstream.base_url)
        cat.put_settings({"rate_limit_per_minute": 0}).raise_for_status()
        yield cat
        cat.stop()

    @pytest.mark.parametrize("way", ["switched off and on", "stopped and started", "killed and started"])
    def test_it_has_failed(
        self, own_cat: Cat, upstream: Upstream, until: Callable[..., None], tag: str, way: str
    ) -> None:
        client = OpenAI(base_url=own_cat.base_url, api_key=KEY, max_retries=0, timeout=30)
        made = create(client, input=script(tag=tag, **SLOW))
        until(lambda: client.responses.retrieve(made.id).output_text.count("three") > 5, "it says something")
        if way == "switched off and on":
            own_cat.toggle(own_cat.folder or "")
            upstream.wait(tag, state="left", timeout=2)
            own_cat.toggle(own_cat.folder or "")
        elif way == "stopped and started":
            own_cat.restart()
        else:
            own_cat.kill()
            own_cat.start_again()
        final = ended(client, made.id, until, timeout=5)
        assert final.status == "failed"
        assert final.error is not None
        assert "interrupted" in final.error.message
        assert final.output_text.startswith("one two three ")
        events = events_of(client, made.id)
        assert events[-1].type == "response.failed"
        assert [event.sequence_number for event in events] == [*range(len(events))]
        assert "Traceback" not in own_cat.log()
