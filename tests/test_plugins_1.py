"""Other people's plugins on Cheshire Cat 1.9: what they keep beside the messages, and what they do in threads."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import body, user
from host import WHICH, Cat, make_cat
from test_questions import Chat
from upstream import Upstream, script
from websockets.sync.client import connect

pytestmark = pytest.mark.skipif(WHICH == "2", reason="plugins of Cheshire Cat 1.9")

needs_forms = pytest.mark.skipif(WHICH == "double", reason="the double has no forms")

CHAT = "/v1/chat/completions"

MEET = script("Meet everybody.", say="Hello.")


class TestState:
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    def test_what_refers_to_the_session_refers_to_that_of_the_next_run(
        self, cat: Cat, http: httpx.Client, somebody: str, *, stream: bool
    ) -> None:
        chat = Chat(http, somebody)
        for turn in range(1, 4):
            chat = chat.say(MEET, stream=stream)
            assert chat.reply == f"{turn} True abracadabra False Hello."
        lost = [line for line in cat.log().split("\n") if "in the working memory cannot be copied" in line]
        assert lost
        assert all("a plugin's Door in the working memory" in line for line in lost)

    def test_methods_of_the_session_that_a_plugin_has_replaced_stay_replaced(
        self, http: httpx.Client, somebody: str
    ) -> None:
        taught = Chat(http, somebody).say("Teach the Cat.")
        assert taught.reply == "Hello, Hello! True"
        assert taught.say("Ask the Cat.").reply == "Hello, Hello! False"
        assert Chat(http, somebody).say(script("Ask the Cat.", say="x")).reply == "Hello False"

    @needs_forms
    def test_a_form_with_handlers_agents_and_an_llm_of_its_own(self, http: httpx.Client, somebody: str) -> None:
        begin = script("[procedures] prepare a banquet", say='{"action": "banquet", "action_input": null}')
        begun = Chat(http, somebody).say(begin)
        assert begun.reply == "guests? (asked 1)"
        five = begun.say("5").say(script("Tell me a joke", say="no joke"))
        assert five.reply == "dish? (asked 3)"
        assert five.say("Soup").reply == "5 guests have Soup (asked 4), Hello, Hello!"
        assert begun.say("7").say("Pie").reply == "7 guests have Pie (asked 3), Hello, Hello!"
        assert five.say("Tart").reply == "5 guests have Tart (asked 4), Hello, Hello!"

    @needs_forms
    def test_the_same_with_a_cache_of_files(self, upstream: Upstream, tmp_path: Path, somebody: str) -> None:
        cat = make_cat(tmp_path / "home").start(CCAT_CACHE_TYPE="file_system", CCAT_CACHE_DIR=str(tmp_path / "cache"))
        try:
            cat.use_llm(upstream.base_url)
            with httpx.Client(base_url=f"{cat.url}/custom", headers=cat.http.headers, timeout=30) as http:
                self.test_a_form_with_handlers_agents_and_an_llm_of_its_own(http, somebody)
                chat = Chat(http, somebody).say(MEET).say(MEET)
                assert chat.reply == "2 True None False Hello."
        finally:
            cat.stop()


@pytest.fixture
def late(cat: Cat, until: Callable[..., None]) -> Callable[[str], list[str]]:
    """Lets the late work of a tag go on, and returns what it did when it has ended."""

    def go_on(tag: str) -> list[str]:
        cat.http.post("/wonderland/late", params={"tag": tag}).raise_for_status()
        results: list[str] = []

        def has_ended() -> bool:
            results[:] = cat.http.get("/wonderland/late", params={"tag": tag}).json()
            return results[-1:] == ["end"]

        until(has_ended, "the thread of the plugin has ended", timeout=15)
        return results

    return go_on


ALL_DONE = ["thought", "thought", "None", "None", "None", "tea", "end"]


def question(kind: str, tag: str, *, thoughts: dict[str, Any], **reply: Any) -> dict[str, Any]:
    """A message that starts a thread with a prompt of its own, for which the LLM says "thought"."""
    own = script(tag=f"{tag}-late", say="thought", **thoughts)
    # The prompt of the thread comes first: the LLM does what the last script of the message says.
    return {"role": "user", "content": f"{kind}: {tag}: x\n---\n{own}\n{script(tag=tag, **reply)}"}


class TestWorkThatOutlivesTheRun:
    @pytest.fixture(params=["ended", "left", "limit"])
    def ran(self, request: pytest.FixtureRequest, http: httpx.Client, upstream: Upstream, tag: str) -> Iterator[str]:
        """The tag of a run that has ended, well or not, and whose plugin has begun to work."""
        message = {"role": "user", "content": f"Late: {tag}: x\n---\n{script(say='thought')}"}
        yield from self.run(request.param, http, upstream, tag, message)

    @staticmethod
    def run(how: str, http: httpx.Client, upstream: Upstream, tag: str, message: dict[str, Any]) -> Iterator[str]:
        request = body(message, stream=how == "left", **({"max_tokens": 1} if how == "limit" else {}))
        if how == "left":
            with http.stream("POST", CHAT, json=request) as stream:
                next(line for line in stream.iter_lines() if line)
        else:
            http.post(CHAT, json=request).raise_for_status()
        yield tag

    def test_it_goes_on_as_in_the_cats_own_chat(self, ran: str, late: Callable[[str], list[str]]) -> None:
        assert late(ran) == ALL_DONE

    def test_its_messages_go_to_the_persons_web_socket(
        self, cat: Cat, http: httpx.Client, tag: str, somebody: str, late: Callable[[str], list[str]]
    ) -> None:
        message = {"role": "user", "content": f"Late: {tag}: x\n---\n{script(say='thought')}"}
        http.post(CHAT, json=body(message, user=somebody)).raise_for_status()
        with connect(f"ws://127.0.0.1:{cat.port}/ws/{somebody}") as socket:
            late(tag)
            received: list[Any] = []
            while not received or received[-1]["type"] != "notification":
                received.append(json.loads(socket.recv(timeout=10)))
        assert [(message["type"], message["content"]) for message in received if message["content"]] == [
            ("chat_token", "thought"),
            ("chat", f"Late work of {tag}."),
            ("notification", "It is done."),
        ]

    @pytest.mark.parametrize("how", ["ended", "left", "limit"])
    def test_a_request_to_the_llm_that_is_under_way_goes_on(
        self, *, http: httpx.Client, upstream: Upstream, tag: str, late: Callable[[str], list[str]], how: str
    ) -> None:
        slow = script(tag=f"{tag}-late", say=["thou", "ght"], delay=1)
        message = {"role": "user", "content": f"Now: {tag}: x\n---\n{slow}\n."}
        with_reply = {**message, "content": f"{message['content']}"}
        for _ in self.run(how, http, upstream, tag, with_reply):
            assert late(tag) == ALL_DONE

    def test_a_pipeline_that_waits_for_threads_ends_all_the_same(
        self, http: httpx.Client, upstream: Upstream, tag: str
    ) -> None:
        request = body(user("Together: now", tag=tag, hang=True), stream=True)
        with http.stream("POST", CHAT, json=request, timeout=30) as stream:
            upstream.wait(tag, count=2, state="running")
            assert stream.status_code == 200
        upstream.wait(tag, count=2, state="left", timeout=3)
