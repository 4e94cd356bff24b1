"""Faults, each caused for real: what the client gets, what the log says, that the next request works, and that
nothing of it is left in the Cat."""

import contextlib
import json
import os
import re
import resource
import socket
import sqlite3
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import chat_body
from conftest import UNLIMITED
from host import KEY, WHICH, Cat, make_cat
from upstream import Upstream, script, text_of

AT_ONCE = 4
"""Requests that meet a fault side by side."""

FAILED = re.compile("OpenAI API: (the agent default|the Cat) failed")

RAISING_PLUGIN = """
from cat import hook


def fail_if_asked(task, name):
    if name in task.messages[-1].text:
        raise RuntimeError("SECRET-PLUGIN-DETAIL")


@hook("before_agent_run")
def fail_before(task):
    fail_if_asked(task, "[fail before]")


@hook("after_agent_run")
def fail_after(result):
    fail_if_asked(result, "[fail after]")


@hook("before_agent_execution")
def fail_before_before_2_0_22(task):
    fail_before.function(task)
    return task


@hook("after_agent_execution")
def fail_after_before_2_0_22(result):
    return fail_after.function(result)
"""

RAISING_PLUGIN_1 = """
from cat.mad_hatter.decorators import hook


@hook
def before_cat_reads_message(message, cat):
    if "[fail before]" in message.text:
        raise RuntimeError("SECRET-PLUGIN-DETAIL")


@hook
def before_cat_sends_message(message, cat):
    if "[fail after]" in message.text:
        raise RuntimeError("SECRET-PLUGIN-DETAIL")
"""


@pytest.fixture(scope="module")
def own_cat(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """A Cat for these tests alone, with a plugin that is off and whose hooks raise."""
    cat = make_cat(tmp_path_factory.mktemp("faults") / "home")
    plugin = cat.plugins / "raising"
    plugin.mkdir()
    (plugin / "raising.py").write_text(RAISING_PLUGIN if WHICH == "2" else RAISING_PLUGIN_1, "utf-8")
    cat.start(**FILES).use_llm(upstream.base_url)
    if WHICH == "2":
        cat.toggle("raising")
    yield cat
    cat.stop()


FILES = {"CCAT_CACHE_TYPE": "file_system", "CCAT_CACHE_DIR": "cat/data/cache"}
"""Cheshire Cat 1.9 has its cache, and in it the states of conversations, in memory unless it is told this."""


@pytest.fixture
def cat(own_cat: Cat) -> Cat:
    own_cat.put_settings(UNLIMITED).raise_for_status()
    return own_cat


def ask(cat: Cat, text: str = "hi", **fields: Any) -> httpx.Response:
    """On a connection of its own."""
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(f"{cat.base_url}/chat/completions", json=chat_body(text, **fields), headers=headers, timeout=30)


def ask_at_once(cat: Cat, text: str, count: int = AT_ONCE) -> list[httpx.Response]:
    """Whole replies and streams in turn."""
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(ask, cat, text, stream=bool(place % 2)) for place in range(count)]
        return [one.result() for one in asked]


def has_orderly_end(stream: str) -> bool:
    """The reply's, or an error's."""
    last, done = stream.removesuffix("\n\n").split("\n\n")[-2:]
    event = json.loads(last.removeprefix("data: "))
    ended = "error" in event or event["choices"][0]["finish_reason"] == "stop"
    return ended and done == "data: [DONE]"


NothingLeft = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def nothing_left(cat: Cat, upstream: Upstream, until: Callable[..., None]) -> NothingLeft:
    """What happens inside leaves nothing in the Cat."""

    def held() -> tuple[Counter[str], Counter[str]]:
        """What there may be no more of; and what may be kept to be used again, with the objects of the plugin's
        classes that it holds on to."""
        ended = {"tasks": len(cat.tasks()), "sockets": len(cat.sockets()), "LLM requests": upstream.open_requests()}
        return Counter(ended), Counter({**cat.objects(), "threads": cat.threads()})

    @contextmanager
    def measured() -> Iterator[None]:
        # As many connections as the Cat will need.
        ask_at_once(cat, script(say="x", first_delay=0.3), AT_ONCE + 2)
        ended, kept = held()
        left: dict[str, int] = {}

        def is_gone() -> bool:
            nonlocal left
            ended_now, kept_now = held()
            more_kept = {name: more for name, more in (kept_now - kept).items() if more > AT_ONCE}
            left = {**(ended_now - ended), **more_kept}
            return not left

        yield
        with contextlib.suppress(AssertionError):
            until(is_gone, "nothing is left")
        assert not left

    return measured


def check_next_request_works(cat: Cat) -> None:
    assert ask(cat).json()["choices"][0]["message"]["content"] == "hi"
    assert ask(cat, stream=True).text.endswith("data: [DONE]\n\n")


def test_replies_that_are_cut_as_their_llm_ends_leave_no_connection(cat: Cat, nothing_left: NothingLeft) -> None:
    said = script(say=["tea [st", "op] time"])
    with nothing_left(), ThreadPoolExecutor(AT_ONCE) as pool:
        for reply in pool.map(lambda _: ask(cat, said, stop="[stop]"), range(AT_ONCE * 10)):
            assert reply.json()["choices"][0]["message"]["content"] == "tea "


@pytest.mark.skipif(WHICH != "1.9", reason="the embedded database of vectors is Cheshire Cat 1.9's")
def test_many_who_search_the_memory_at_once_take_no_more_room_than_one(upstream: Upstream, tmp_path: Path) -> None:
    cat = make_cat(tmp_path / "home").start()

    def ask_often() -> None:
        for _ in range(4):
            for _ in range(6):
                ask_at_once(cat, "hi", 8)
            # The Cat has other collections then, and other code of the plugin.
            cat.use_llm(upstream.base_url)
            cat.toggle("cat_openai_api")
            cat.toggle("cat_openai_api")

    try:
        cat.use_llm(upstream.base_url)
        cat.put_settings(UNLIMITED).raise_for_status()
        ask_often()
        for number in range(500):
            point = {"content": f"tea {number}", "metadata": {"source": "user"}}
            cat.http.post("/memory/collections/episodic/points", json=point).raise_for_status()
        ask(cat)
        before = cat.memory()
        ask_often()
        assert cat.memory() - before < 45 * 2**20
    finally:
        cat.stop()


def test_off_and_on_again_leaves_no_routes_of_before(cat: Cat) -> None:
    before = cat.objects()["WriteRoute"]
    for _ in range(6):
        cat.toggle("cat_openai_api")
        cat.toggle("cat_openai_api")
        check_next_request_works(cat)
    assert cat.objects()["WriteRoute"] <= 3 * before


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (None, "upstream_error"),
        ({"fail_status": 401}, "upstream_error"),
        ({"fail_status": 429}, "upstream_error"),
        ({"fail_status": 500}, "upstream_error"),
        ({"rubbish": True}, "upstream_error"),
        ({"say": "x", "repeat": 9, "break_after": 3}, "upstream_error"),
        ({"say": "x", "repeat": 9, "error_after": 3}, "upstream_error"),
        ({"hang": True}, "timeout"),
    ],
    ids=["not there", "401", "429", "500", "rubbish", "breaks off", "fails in mid-stream", "hangs"],
)
def test_a_fault_of_the_llm(
    *,
    cat: Cat,
    upstream: Upstream,
    settings: Callable[..., None],
    nothing_left: NothingLeft,
    fault: dict[str, Any] | None,
    code: str,
) -> None:
    settings(request_timeout=1 if code == "timeout" else 20)
    start = len(cat.log())

    def cause() -> None:
        for reply in ask_at_once(cat, script("hi", **fault or {})):
            error, *done = reply.text.removesuffix("\n\n").split("\n\n")[-2:]
            assert json.loads(error.removeprefix("data: "))["error"]["code"] == code
            assert done == (["data: [DONE]"] if reply.status_code == 200 else [])

    with nothing_left():
        if fault is None:
            cat.use_llm("http://127.0.0.1:9/v1")
        try:
            cause()
            cause()
        finally:
            if fault is None:
                cat.use_llm(upstream.base_url)
    log = cat.log()[start:]
    assert f'"code":"{code}"' in log
    assert code == "timeout" or len(FAILED.findall(log)) == 2 * AT_ONCE
    check_next_request_works(cat)


class Wire:
    """A client of the chat route down at its socket. `room`: bytes that the system takes ahead of it."""

    def __init__(self, cat: Cat, room: int | None = None) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(30)
        if room:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self._socket.connect(("127.0.0.1", cat.port))

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self, most: int = 65536) -> bytes:
        return self._socket.recv(most)

    def read_until(self, mark: bytes, times: int = 1) -> None:
        read = b""
        while read.count(mark) < times:
            got = self.read()
            assert got, read
            read += got

    def make_room(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MEGABYTE)

    def break_off(self) -> None:
        """Without a farewell, as a client does that crashes."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


def on_the_wire(text: str, **fields: Any) -> tuple[bytes, bytes]:
    """The head and the body of a request for a stream."""
    body = json.dumps(chat_body(text, stream=True, **fields)).encode()
    lines = [
        "POST /custom/v1/chat/completions HTTP/1.1",
        "Host: cat",
        f"Authorization: Bearer {KEY}",
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode(), body


TICKS: dict[str, Any] = {"say": "tick ", "repeat": 12, "delay": 0.1}


@pytest.mark.parametrize(
    ("when", "reply"),
    [
        ("in the head", TICKS),
        ("in the body", TICKS),
        ("before the first token", {"hang": True}),
        ("at the first token", TICKS),
        ("after the first token", TICKS),
        ("at the last token", {**TICKS, "repeat": 3}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_client_that_leaves(
    *,
    cat: Cat,
    upstream: Upstream,
    nothing_left: NothingLeft,
    until: Callable[..., None],
    tag: str,
    when: str,
    reply: dict[str, Any],
) -> None:
    """Half of them close their connections, the others crash."""
    head, body = on_the_wire(script("hi", tag=tag, **reply))

    def come(client: Wire) -> None:
        if when == "in the head":
            client.send(head[: len(head) // 2])
        elif when == "in the body":
            client.send(head + body[: len(body) // 2])
        else:
            client.send(head + body)
        if when == "at the first token":
            client.read_until(b"tick")
        if when in ("after the first token", "at the last token"):
            client.read_until(b"tick", times=3)

    def cause() -> None:
        with contextlib.ExitStack() as leaving, ThreadPoolExecutor(AT_ONCE) as pool:
            clients = [leaving.enter_context(Wire(cat)) for _ in range(AT_ONCE)]
            list(pool.map(come, clients))
            if when == "before the first token":
                until(lambda: upstream.open_requests() == AT_ONCE, "the LLM is asked")
            for client in clients[::2]:
                client.break_off()
        until(lambda: upstream.open_requests() == 0, "the LLM's connections are closed", timeout=2)

    with nothing_left():
        start = len(cat.log())
        cause()
        cause()
    if when in ("in the body", "before the first token", "at the first token", "after the first token"):
        assert cat.log()[start:].count('"outcome":"gone"') == 2 * AT_ONCE
    assert not re.search("Traceback|ERROR", cat.log()[start:])
    check_next_request_works(cat)


def test_a_client_that_sends_its_body_slowly_takes_no_place_and_gets_its_reply(
    cat: Cat, settings: Callable[..., None], nothing_left: NothingLeft, tag: str
) -> None:
    settings(max_concurrent_requests=1)
    head, body = on_the_wire(script(tag=tag, say=["at ", "last"]))
    check_next_request_works(cat)
    with nothing_left(), Wire(cat) as slow, Wire(cat) as stopped:
        stopped.send(head + body[:-1])
        slow.send(head)
        for place in range(len(body)):
            slow.send(body[place : place + 1])
            if place % 40 == 0:
                assert ask(cat).status_code == 200
        slow.read_until(b"data: [DONE]")
    check_next_request_works(cat)


MEGABYTE = 1024 * 1024
ROOM = 4096
"""The least that the system keeps for a client that does not read."""


def test_a_client_whose_body_never_ends_is_told_so(
    cat: Cat, settings: Callable[..., None], nothing_left: NothingLeft
) -> None:
    settings(request_timeout=1)
    head, body = on_the_wire("hi")
    check_next_request_works(cat)
    with nothing_left(), Wire(cat) as stopped:
        stopped.send(head + body[:-1])
        stopped.read_until(b'"code":"request_timeout"')
        assert stopped.read() == b""
    check_next_request_works(cat)


def test_a_client_that_reads_slowly_slows_its_llm_and_nobody_else(
    cat: Cat, upstream: Upstream, settings: Callable[..., None], nothing_left: NothingLeft, tag: str
) -> None:
    settings(max_tokens=0)
    chunks, piece = 12_000, "word " * 400
    head, body = on_the_wire(script("hi", tag=tag, say=piece, repeat=chunks))
    check_next_request_works(cat)
    with nothing_left(), Wire(cat, ROOM) as slow:
        memory = cat.memory()
        slow.send(head + body)
        for _ in range(12):
            slow.read(256)
            began = time.monotonic()
            assert ask(cat).status_code == 200
            # A kilobyte a second.
            time.sleep(max(0.0, 0.25 - (time.monotonic() - began)))
        (paused,) = upstream.requests(tag)
        assert paused["state"] == "running"
        assert paused["chunks_sent"] < chunks
        assert cat.memory() - memory < chunks * len(piece) * 0.75
        slow.make_room()
        rest = bytearray()
        while not rest.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
            rest += slow.read()
        assert rest.count(piece.encode()) > chunks * 0.99


def test_a_client_that_stops_reading_keeps_its_llm_no_longer_than_the_time_out(
    cat: Cat, upstream: Upstream, settings: Callable[..., None], nothing_left: NothingLeft, tag: str
) -> None:
    settings(request_timeout=2, max_tokens=0)
    head, body = on_the_wire(script("hi", tag=tag, say="word " * 400, repeat=50_000))
    check_next_request_works(cat)
    with nothing_left(), Wire(cat, ROOM) as stopped:
        stopped.send(head + body)
        upstream.wait(tag, state="left", timeout=5)
        check_next_request_works(cat)


@contextmanager
def streams(cat: Cat, upstream: Upstream, tag: str, **reply: Any) -> Iterator[list[str]]:
    """Streams that are under way inside; what they gave is there afterwards."""
    texts: list[str] = []

    def read() -> None:
        texts.append(ask(cat, script("hi", tag=tag, **reply), stream=True).text)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        reading = [pool.submit(read) for _ in range(AT_ONCE)]
        upstream.wait(tag, AT_ONCE, "running")
        time.sleep(0.3)
        yield texts
        for one in reading:
            one.result()


def test_the_plugin_is_switched_off_and_on_with_streams_open(
    cat: Cat, upstream: Upstream, nothing_left: NothingLeft, tag: str
) -> None:
    # FastAPI remembers the functions of routes that are gone, and so their modules: once for each time.
    with nothing_left():
        with streams(cat, upstream, tag, **TICKS) as texts:
            cat.toggle(cat.folder or "")
            assert ask(cat).status_code == 404
            cat.toggle(cat.folder or "")
            check_next_request_works(cat)
        assert all(has_orderly_end(text) for text in texts)


def test_the_plugin_stays_off_with_streams_open(
    cat: Cat, upstream: Upstream, until: Callable[..., None], tag: str
) -> None:
    try:
        with streams(cat, upstream, tag, **TICKS) as texts:
            cat.toggle(cat.folder or "")
        assert all(has_orderly_end(text) for text in texts)
        assert ask(cat).status_code == 404
        until(lambda: upstream.open_requests() == 0, "the LLM's connections are closed")
    finally:
        cat.toggle(cat.folder or "")
    check_next_request_works(cat)


def test_settings_and_llm_are_changed_with_streams_open(
    cat: Cat, upstream: Upstream, settings: Callable[..., None], nothing_left: NothingLeft, tag: str
) -> None:
    with nothing_left():
        with streams(cat, upstream, tag, **TICKS) as texts:
            settings(max_tokens=1, max_concurrent_requests=1, enable_streaming=False, request_timeout=1)
            assert ask(cat, "one two").status_code == 503
        assert {text.count('"content":"tick "') for text in texts} == {TICKS["repeat"]}
        assert ask(cat, "one two").json()["choices"][0]["finish_reason"] == "length"
        settings()
        with streams(cat, upstream, tag + "-llm", **TICKS) as texts:
            cat.use_llm(upstream.base_url)
            check_next_request_works(cat)
        assert all(has_orderly_end(text) for text in texts)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_hook_that_raises(cat: Cat, settings: Callable[..., None], nothing_left: NothingLeft, where: str) -> None:
    """The Cat goes on without it."""
    cat.toggle("raising")
    start = len(cat.log())

    def cause() -> None:
        for reply in ask_at_once(cat, f"[fail {where}]"):
            assert reply.status_code == 200
            assert "fail" in reply.text
            assert "SECRET" not in reply.text

    try:
        with nothing_left():
            cause()
            cause()
        check_next_request_works(cat)
    finally:
        cat.toggle("raising")
    assert cat.log()[start:].count("Error in plugin raising::") == 2 * AT_ONCE


@pytest.fixture
def full_disk(cat: Cat) -> AbstractContextManager[None]:
    """Inside, no file of the Cat's grows by more than its log may need."""

    @contextmanager
    def full() -> Iterator[None]:
        # What the Cat prints counts too, and Cheshire Cat 1.9 prints its replies.
        os.truncate(cat.home / "log", 0)
        written = (path for path in cat.home.rglob("*") if path.name == "log" or path.match("*.db"))
        written = [*written, *cat.home.rglob("*.sqlite")]
        biggest = max(path.stat().st_size for path in written if path.is_file())
        soft, hard = resource.prlimit(cat.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(cat.pid, resource.RLIMIT_FSIZE, (biggest + MEGABYTE // 2, hard))
        try:
            yield
        finally:
            resource.prlimit(cat.pid, resource.RLIMIT_FSIZE, (soft, hard))

    return full()


TOO_MUCH = 7 * MEGABYTE
"""More than there is room for."""


def told_again(cat: Cat, upstream: Upstream, user: str) -> list[str]:
    """The earlier user messages that reach the LLM with the next message of `user`."""
    tag = user + "-again"
    ask(cat, script("again", tag=tag, say="ok"), user=user)
    (record,) = upstream.wait(tag)
    return [text_of(message) for message in record["body"]["messages"] if message["role"] == "user"][:-1]


def test_a_full_disk_where_the_cat_keeps_a_conversation(
    *,
    cat: Cat,
    upstream: Upstream,
    settings: Callable[..., None],
    full_disk: AbstractContextManager[None],
    until: Callable[..., None],
    tag: str,
) -> None:
    settings(history="cat", max_tokens=0)
    ask(cat, "first", user=tag)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * TOO_MUCH}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}, picture]}]
    body = {"model": "cheshire-cat", "user": tag, "messages": messages}
    with full_disk:
        for stream in (False, True):
            reply = cat.http.post("/custom/v1/chat/completions", json={**body, "stream": stream})
            assert reply.status_code == 200
            assert '"content":"hi"' in reply.text
        told = "a conversation cannot be stored, the next message will not find this one"
        until(lambda: cat.log().count(told) == 2, "the log says so for both")
    assert told_again(cat, upstream, tag) == ["first"]
    check_next_request_works(cat)


@pytest.mark.skipif(WHICH == "double", reason="the double has its cache in memory")
def test_a_full_disk_where_the_state_of_a_conversation_is_kept(
    cat: Cat,
    settings: Callable[..., None],
    full_disk: AbstractContextManager[None],
    until: Callable[..., None],
    tag: str,
) -> None:
    """What the Cat's own tool said on the way to the reply; for 1.9 also what a plugin keeps."""
    settings(max_tokens=0)
    if WHICH == "2":
        turns = [{"tool_calls": [{"name": "clock"}]}, {"say": "x" * 1024, "repeat": TOO_MUCH // 1024}]
        body = {**chat_body(script("hi", turns=turns), user=tag), "model": "cheshire-cat:alice"}
    else:
        body = chat_body(f"[keep:{TOO_MUCH}]", user=tag)
    with full_disk:
        for stream in (False, True):
            reply = cat.http.post("/custom/v1/chat/completions", json={**body, "stream": stream})
            assert reply.status_code == 200
            said = "x" * 1024 if WHICH == "2" else f"[keep:{TOO_MUCH}]"
            assert said in reply.text
        told = "the next turn begins without it"
        until(lambda: cat.log().count(told) == 2, "the log says so for both")
    messages = [*body["messages"], {"role": "assistant", "content": said}, {"role": "user", "content": "hi"}]
    reply = cat.http.post("/custom/v1/chat/completions", json={**body, "messages": messages})
    assert reply.json()["choices"][0]["message"]["content"] == "hi"


@contextmanager
def database_that_takes_nothing(cat: Cat) -> Iterator[None]:
    """Inside, each change of what is saved fails, as on a full disk."""
    (path,) = cat.home.rglob("*.db")
    changes = ("INSERT", "UPDATE", "DELETE")
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
        for change in changes:
            fails = "SELECT RAISE(FAIL, 'database or disk is full');"
            database.execute(f"CREATE TRIGGER no_{change} BEFORE {change} ON openai_api_rows BEGIN {fails} END")
        database.commit()
        try:
            yield
        finally:
            for change in changes:
                database.execute(f"DROP TRIGGER no_{change}")
            database.commit()


def test_a_database_that_takes_nothing(
    *, cat: Cat, upstream: Upstream, settings: Callable[..., None], nothing_left: NothingLeft, tag: str
) -> None:
    settings(history="cat")
    ask(cat, "first", user=tag)
    kept = cat.http.post("/custom/v1/responses", json={"model": "cheshire-cat", "input": "hi"}).json()
    place = f"/custom/v1/responses/{kept['id']}"
    with nothing_left(), database_that_takes_nothing(cat):
        for stream in (False, True):
            reply = ask(cat, "second", user=tag, stream=stream)
            assert reply.status_code == 200
            assert '"content":"second"' in reply.text
        body = {"model": "cheshire-cat", "input": "hi", "previous_response_id": kept["id"]}
        reply = cat.http.post("/custom/v1/responses", json=body, timeout=10)
        assert (reply.status_code, reply.json()["store"]) == (200, False)
        reply = cat.http.delete(place, timeout=10)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "storage_failed")
    assert "internal error in" not in cat.log()
    assert told_again(cat, upstream, tag) == ["first"]
    assert cat.http.get(place).json() == kept


@pytest.mark.parametrize(
    "text", ["\N{GRINNING FACE}" * 100_000, "x" * 1_000_000, "<|endoftext|>"], ids=["emoji", "letters", "special"]
)
def test_a_text_whose_tokens_are_hard_to_count(cat: Cat, text: str) -> None:
    assert ask(cat, script(text, say="ok")).json()["choices"][0]["message"]["content"] == "ok"


@pytest.mark.skipif(WHICH != "1.9", reason="files are Cheshire Cat 1.9's")
def test_files_that_were_half_written(cat: Cat, upstream: Upstream, settings: Callable[..., None], tag: str) -> None:
    settings(history="cat")
    ask(cat, "Count me.", user=tag)
    for path in cat.home.glob("cat/data/cache/openai_api_*"):
        path.write_bytes(path.read_bytes()[:20])
    start = len(cat.log())
    assert told_again(cat, upstream, tag) == ["Count me."]
    assert "a value in the Cat's cache cannot be read, the conversation goes on without it" in cat.log()[start:]
    settings()
    count = {"role": "user", "content": "Count me."}
    messages = [count, {"role": "assistant", "content": "Visits: [1]"}, count]
    reply = ask(cat, user=tag, messages=messages)
    assert reply.json()["choices"][0]["message"]["content"] == "Visits: [1]"


def test_the_cat_is_shut_down_with_requests_open(cat: Cat, upstream: Upstream, tag: str) -> None:
    """Cheshire Cat 1.9 waits for them."""
    reply = {"say": "tick ", "repeat": 20 if WHICH == "1.9" else 100, "delay": 0.1}
    with streams(cat, upstream, tag, **reply) as texts, ThreadPoolExecutor(1) as pool:
        whole = pool.submit(ask, cat, script(tag=tag + "-whole", say="whole", first_delay=1))
        upstream.wait(tag + "-whole", state="running")
        began = time.monotonic()
        cat.stop()
        assert time.monotonic() - began < 6
    try:
        assert all(has_orderly_end(text) for text in texts)
        assert {'"code":"upstream_error"' in text for text in texts} == {WHICH != "1.9"}
        assert whole.result().json()["choices"][0]["message"]["content"] == "whole"
        assert upstream.open_requests() == 0
        assert "Traceback" not in cat.log().rpartition("Shutting down")[2]
    finally:
        cat.restart(**FILES)
    check_next_request_works(cat)
