"""`/message`: one message and one reply in a conversation that the Cat stores."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from host import Cat
from upstream import Upstream, script, text_of


def roles_and_texts(record: dict) -> list[tuple[str, str]]:
    return [(message["role"], text_of(message).split("\n")[0]) for message in record["body"]["messages"][1:]]


def test_a_message_gets_a_reply_with_the_time_in_whole_seconds(http: httpx.Client, somebody: str) -> None:
    reply = http.post("/message", json={"text": script(say=[" Meow\n", "🐱"]), "user_id": somebody}).json()
    assert set(reply) == {"text", "user_id", "timestamp"}
    assert reply["text"] == " Meow\n🐱"
    assert reply["user_id"] == somebody
    assert isinstance(reply["timestamp"], int)
    assert abs(reply["timestamp"] - time.time()) < 5


def test_each_user_has_a_stored_conversation(http: httpx.Client, upstream: Upstream, tag: str, somebody: str) -> None:
    http.post("/message", json={"text": script("I am Alice.", say="Hello Alice."), "user_id": somebody})
    http.post("/message", json={"text": script("I am Bob.", say="Hello Bob."), "user_id": somebody + " not"})
    http.post("/message", json={"text": script("Who am I?", tag=tag, say="Alice."), "user_id": somebody})
    (record,) = upstream.wait(tag)
    assert roles_and_texts(record) == [
        ("user", "I am Alice."),
        ("assistant", "Hello Alice."),
        ("user", "Who am I?"),
    ]


def test_without_a_user_id_the_conversation_is_the_callers_own(
    cat: Cat, upstream: Upstream, tag: str, somebody: str
) -> None:
    headers = {"Authorization": f"Bearer {cat.token(somebody)}"}
    with httpx.Client(base_url=f"{cat.url}/custom", headers=headers) as person:
        first = person.post("/message", json={"text": script("One", say="first")}).json()
        person.post("/message", json={"text": script("Two", tag=tag, say="second"), "user_id": somebody})
    assert first["user_id"] == somebody
    (record,) = upstream.wait(tag)
    assert roles_and_texts(record) == [("user", "One"), ("assistant", "first"), ("user", "Two")]


def test_two_concurrent_messages_are_both_stored_in_order(
    http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    def send(number: int) -> None:
        text = script(f"question {number}", say=f"answer {number}", first_delay=0.02)
        http.post("/message", json={"text": text, "user_id": somebody}).raise_for_status()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(send, range(6)))
    http.post("/message", json={"text": script("and now?", tag=tag, say="done"), "user_id": somebody})
    (record,) = upstream.wait(tag)
    texts = [text for _, text in roles_and_texts(record)][:-1]
    assert sorted(texts[::2]) == [f"question {number}" for number in range(6)]
    assert [text.replace("question", "answer") for text in texts[::2]] == texts[1::2]


def test_a_failed_message_is_not_stored(http: httpx.Client, upstream: Upstream, tag: str, somebody: str) -> None:
    assert http.post("/message", json={"text": script(fail_status=400), "user_id": somebody}).status_code == 502
    http.post("/message", json={"text": script("hello", tag=tag, say="ok"), "user_id": somebody})
    (record,) = upstream.wait(tag)
    assert roles_and_texts(record) == [("user", "hello")]


def test_a_stored_conversation_is_bounded(http: httpx.Client, upstream: Upstream, tag: str, somebody: str) -> None:
    for number in range(25):
        http.post("/message", json={"text": script(f"question {number}", say="yes"), "user_id": somebody})
    http.post("/message", json={"text": script("last", tag=tag, say="ok"), "user_id": somebody})
    (record,) = upstream.wait(tag)
    said = roles_and_texts(record)
    assert len(said) == 41
    assert said[0] == ("user", "question 5")


def test_a_client_that_disconnects_ends_the_run(
    http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        http.post("/message", json={"text": script(tag=tag, hang=True), "user_id": somebody}, timeout=0.5)
    upstream.wait(tag, state="left", timeout=1)
    assert http.post("/message", json={"text": script(say="ok"), "user_id": somebody}).json()["text"] == "ok"
