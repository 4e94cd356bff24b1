"""Conversations: the client's transcript is the truth, or the Cat keeps them (`history` = cat); and what leaves no
trace."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from asking import body, said_to, user
from host import KEY, WHICH, Cat, make_cat, needs_agents, needs_memory
from openai import AsyncOpenAI, OpenAI
from upstream import Upstream, script, text_of

CHAT = "/v1/chat/completions"
LOOK = {"type": "function", "function": {"name": "look"}}


class TestTheCatKeepsIt:
    """`history` = cat."""

    @pytest.fixture(autouse=True)
    def history(self, settings: Callable[..., None]) -> None:
        settings(history="cat")

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    def test_only_the_last_message_counts_and_the_cat_knows_the_rest(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str, stream: bool
    ) -> None:
        made_up = [
            {"role": "system", "content": "Be rude."},
            user("I am Bob."),
            {"role": "assistant", "content": "?"},
        ]
        first = body(*made_up, user("I am Alice.", say="Hello Alice."), user=somebody, stream=stream)
        http.post(CHAT, json=first).raise_for_status()
        second = body(*made_up, user("Who am I?", tag=tag, say="Alice."), user=somebody, stream=stream)
        http.post(CHAT, json=second).raise_for_status()
        assert said_to(upstream, tag) == [
            ("user", "I am Alice."),
            ("assistant", "Hello Alice."),
            ("user", "Who am I?"),
        ]
        (record,) = upstream.wait(tag)
        assert "Be rude." not in text_of(record["body"]["messages"][0])

    def test_an_error_names_the_place_in_the_clients_own_messages(self, http: httpx.Client, somebody: str) -> None:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,%"}}
        asked = [user("One"), {"role": "assistant", "content": "1"}, {"role": "user", "content": [picture]}]
        answer = http.post(CHAT, json=body(*asked, user=somebody))
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "messages[2].content[0].image_url.url"

    def test_it_is_the_conversation_of_messages_too(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        http.post("/message", json={"text": script("One", say="first"), "user_id": somebody}).raise_for_status()
        http.post(CHAT, json=body(user("Two", say="second"), user=somebody)).raise_for_status()
        http.post("/message", json={"text": script("Three", tag=tag, say="ok"), "user_id": somebody})
        assert said_to(upstream, tag) == [
            ("user", "One"),
            ("assistant", "first"),
            ("user", "Two"),
            ("assistant", "second"),
            ("user", "Three"),
        ]

    def test_each_end_user_has_one(self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str) -> None:
        http.post(CHAT, json=body(user("I am Alice.", say="Hello."), user=somebody)).raise_for_status()
        http.post(CHAT, json=body(user("Who?", tag=tag, say="?"), user=somebody + "2")).raise_for_status()
        assert said_to(upstream, tag) == [("user", "Who?")]

    @needs_agents
    def test_each_model_has_one(self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str) -> None:
        http.post(CHAT, json=body(user("I am Alice.", say="Hello."), user=somebody)).raise_for_status()
        other = {**body(user("Who?", tag=tag, say="?"), user=somebody), "model": "cheshire-cat:hatter"}
        http.post(CHAT, json=other).raise_for_status()
        assert said_to(upstream, tag) == [("user", "Who?")]

    def test_calls_and_their_results_are_part_of_it(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        question = user("Look!", turns=[{"tool_calls": [{"name": "look", "arguments": "{}"}]}, {"say": "A cat."}])
        asked = http.post(CHAT, json=body(question, user=somebody, tools=[LOOK])).raise_for_status().json()
        called = asked["choices"][0]["message"]
        result = {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": "cat"}
        answered = http.post(CHAT, json=body(question, called, result, user=somebody, tools=[LOOK]))
        assert answered.json()["choices"][0]["message"]["content"] == "A cat."
        http.post(CHAT, json=body(user("And now?", tag=tag, say="ok"), user=somebody)).raise_for_status()
        assert said_to(upstream, tag) == [
            ("user", "Look!"),
            ("assistant", ""),
            ("tool", "cat"),
            ("assistant", "A cat."),
            ("user", "And now?"),
        ]

    def test_a_call_whose_result_never_comes_is_given_up(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        called = user("Look!", say=["Wait."], tool_calls=[{"name": "look", "arguments": "{}"}])
        http.post(CHAT, json=body(called, user=somebody, tools=[LOOK])).raise_for_status()
        http.post(CHAT, json=body(user("Never mind.", tag=tag, say="ok"), user=somebody)).raise_for_status()
        assert said_to(upstream, tag) == [("user", "Look!"), ("assistant", "Wait."), ("user", "Never mind.")]
        (record,) = upstream.wait(tag)
        assert not any(message.get("tool_calls") for message in record["body"]["messages"])

    def test_two_at_once_end_in_one_order_with_nothing_lost(
        self, async_client: AsyncOpenAI, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        async def ask(number: int) -> None:
            text = script(f"question {number}", say=f"answer {number}", first_delay=0.02)
            chunks = await async_client.chat.completions.create(
                model="cheshire-cat", messages=[{"role": "user", "content": text}], user=somebody, stream=True
            )
            async for _ in chunks:
                pass

        async def all_at_once() -> None:
            await asyncio.gather(*map(ask, range(6)))

        asyncio.run(all_at_once())
        http.post(CHAT, json=body(user("and now?", tag=tag, say="done"), user=somebody)).raise_for_status()
        texts = [text for _, text in said_to(upstream, tag)][:-1]
        assert sorted(texts[::2]) == [f"question {number}" for number in range(6)]
        assert [text.replace("question", "answer") for text in texts[::2]] == texts[1::2]

    def test_what_the_client_got_of_a_reply_that_was_cut_is_kept(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        http.post(CHAT, json=body(user("Count", say=["one", " two", " three"]), user=somebody, max_tokens=2))
        http.post(CHAT, json=body(user("Go on", tag=tag, say="ok"), user=somebody)).raise_for_status()
        assert said_to(upstream, tag)[:2] == [("user", "Count"), ("assistant", "one two")]

    def test_a_failed_one_is_not_kept(self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str) -> None:
        for stream in (False, True):
            broken = user("Break", say=["one", " two"], break_after=1)
            http.post(CHAT, json=body(broken, user=somebody, stream=stream))
        http.post(CHAT, json=body(user("Hello", tag=tag, say="ok"), user=somebody)).raise_for_status()
        assert said_to(upstream, tag) == [("user", "Hello")]

    def test_it_is_bounded(self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str) -> None:
        for number in range(25):
            http.post(CHAT, json=body(user(f"question {number}", say="yes"), user=somebody)).raise_for_status()
        http.post(CHAT, json=body(user("last", tag=tag, say="ok"), user=somebody)).raise_for_status()
        said = said_to(upstream, tag)
        assert len(said) == 41
        assert said[0] == ("user", "question 5")

    def test_without_store_it_is_read_and_not_written(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        http.post(CHAT, json=body(user("One", say="first"), user=somebody)).raise_for_status()
        secretly = user("Secretly", tag=f"{tag} secret", say="hush")
        http.post(CHAT, json=body(secretly, user=somebody, store=False)).raise_for_status()
        assert said_to(upstream, f"{tag} secret")[0] == ("user", "One")
        http.post(CHAT, json=body(user("Two", tag=tag, say="ok"), user=somebody)).raise_for_status()
        assert said_to(upstream, tag) == [("user", "One"), ("assistant", "first"), ("user", "Two")]

    def test_a_background_task_is_no_part_of_it(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        http.post(CHAT, json=body(user("One", say="first"), user=somebody)).raise_for_status()
        http.post(CHAT, json=body(user("### Task:\nGenerate a title.", say="A title"), user=somebody))
        http.post(CHAT, json=body(user("Two", tag=tag, say="ok"), user=somebody)).raise_for_status()
        assert said_to(upstream, tag) == [("user", "One"), ("assistant", "first"), ("user", "Two")]


def test_a_conversation_goes_on_after_a_restart(
    upstream: Upstream, tmp_path_factory: pytest.TempPathFactory, tag: str
) -> None:
    cat = make_cat(tmp_path_factory.mktemp("restart") / "home").start()
    try:
        cat.use_llm(upstream.base_url)
        cat.put_settings({"history": "cat"}).raise_for_status()
        with OpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0) as client:
            client.chat.completions.create(
                model="cheshire-cat",
                messages=[user("I am Alice.", say="Hello.")],
                user="alice",  # type: ignore[list-item]
            )
            cat.restart()
            client.chat.completions.create(
                model="cheshire-cat",
                messages=[user("Who am I?", tag=tag, say="Alice.")],
                user="alice",  # type: ignore[list-item]
            )
    finally:
        cat.stop()
    assert said_to(upstream, tag)[0] == ("user", "I am Alice.")


def test_by_default_nothing_is_kept(http: httpx.Client, upstream: Upstream, tag: str, somebody: str) -> None:
    http.post(CHAT, json=body(user("I am Alice.", say="Hello."), user=somebody)).raise_for_status()
    http.post(CHAT, json=body(user("Who am I?", tag=tag, say="?"), user=somebody)).raise_for_status()
    assert said_to(upstream, tag) == [("user", "Who am I?")]


OPEN_WEBUI = "### Task:\nGenerate a concise, 3-5 word title.\n### Chat History:\nUSER: The secret is {secret}."
LIBRECHAT = "Provide a concise, 5-word-or-less title for the conversation.\n\nConversation:\nUser: It is {secret}."
LIBRECHAT_JSON = (
    "Analyze this conversation and provide:\n1. The detected language of the conversation\n2. A title\n\n{secret}"
)


@needs_memory
@pytest.mark.parametrize(
    ("messages", "more", "remembered"),
    [
        ([user("The secret is {secret}.")], {}, True),
        ([user("The secret is {secret}.")], {"store": False}, False),
        ([user(OPEN_WEBUI)], {}, False),
        ([user(LIBRECHAT)], {}, False),
        ([user(LIBRECHAT_JSON)], {}, False),
        ([{"role": "system", "content": "Today is Sunday."}, user(OPEN_WEBUI)], {}, False),
        ([user("Based on the chat history, give this conversation a name.\nIt is {secret}.")], {}, False),
        ([{"role": "system", "content": "You are a professional conversation summarizer. Be brief."},
          user("user: The secret is {secret}.")], {}, False),
        ([user("Hello"), {"role": "assistant", "content": "Hi"}, user(OPEN_WEBUI)], {}, True),
        ([user("What does '### Task:\n' mean? {secret}")], {}, True),
    ],
    ids=["plain", "store", "open webui", "librechat", "json", "system", "chatbox", "lobechat", "chat", "quoted"],
)  # fmt: skip
def test_background_tasks_and_unstored_requests_leave_nothing_in_memory(  # noqa: PLR0917
    http: httpx.Client,
    upstream: Upstream,
    tag: str,
    somebody: str,
    messages: list[dict[str, Any]],
    more: dict[str, Any],
    remembered: bool,
) -> None:
    model = "cheshire-cat:mirror" if WHICH == "2" else "cheshire-cat"
    told = [{**message, "content": message["content"].replace("{secret}", tag)} for message in messages]
    reply = http.post(CHAT, json={**body(*told, user=somebody, **more), "model": model})
    assert reply.status_code == 200, reply.text
    asked = body(user("[memories] What do you know?", tag=tag, say="ok"), user=somebody)
    http.post(CHAT, json={**asked, "model": model}).raise_for_status()
    (record,) = upstream.wait(tag)
    assert (tag in text_of(record["body"]["messages"][0])) is remembered


@needs_memory
def test_background_tasks_may_be_remembered(
    http: httpx.Client, upstream: Upstream, settings: Callable[..., None], tag: str, somebody: str
) -> None:
    settings(skip_background_tasks=False)
    model = "cheshire-cat:mirror" if WHICH == "2" else "cheshire-cat"
    told = body(user(OPEN_WEBUI.replace("{secret}", tag)), user=somebody)
    http.post(CHAT, json={**told, "model": model}).raise_for_status()
    asked = body(user("[memories] What do you know?", tag=tag, say="ok"), user=somebody)
    http.post(CHAT, json={**asked, "model": model}).raise_for_status()
    (record,) = upstream.wait(tag)
    assert tag in text_of(record["body"]["messages"][0])


@needs_agents
class TestWhatAnAgentsToolsSaidIsFoundAgain:
    """On Cat 2 that is what the Cat keeps beside the messages."""

    CLOCK = user(
        "What time is it?",
        turns=[
            {"say": ["Let me see."], "tool_calls": [{"name": "clock", "arguments": {}}]},
            {"say": ["Tea", " time."]},
        ],
    )

    @staticmethod
    def ask(http: httpx.Client, *messages: dict[str, Any], **more: Any) -> str:
        asked = {**body(*messages, **more), "model": "cheshire-cat:alice"}
        reply = http.post(CHAT, json=asked).raise_for_status().json()
        text: str = reply["choices"][0]["message"]["content"]
        return text

    def roles(self, upstream: Upstream, tag: str) -> list[str]:
        return [role for role, _ in said_to(upstream, tag)]

    def test_in_the_next_turns(self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str) -> None:
        reply = self.ask(http, self.CLOCK, user=somebody)
        messages: list[Any] = [self.CLOCK, {"role": "assistant", "content": reply}]
        for number in range(2):
            messages.append(user(f"Sure {number}?", tag=f"{tag} {number}", say="Yes."))
            self.ask(http, *messages, user=somebody)
            assert self.roles(upstream, f"{tag} {number}")[:4] == ["user", "assistant", "tool", "assistant"]
            messages.append({"role": "assistant", "content": "Yes."})

    def test_also_where_the_client_has_trimmed_or_the_limit_has_cut_the_reply(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        cut = self.ask(http, self.CLOCK, user=somebody, max_tokens=5)
        for number, reply in enumerate([cut, f"\n{cut}  "]):
            now = user("Sure?", tag=f"{tag} {number}", say="Yes.")
            self.ask(http, self.CLOCK, {"role": "assistant", "content": reply}, now, user=somebody)
            assert self.roles(upstream, f"{tag} {number}") == ["user", "assistant", "tool", "assistant", "user"]

    @pytest.mark.parametrize("changed", ["question", "reply", "person"])
    def test_not_in_another_conversation(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str, changed: str
    ) -> None:
        reply = self.ask(http, self.CLOCK, user=somebody)
        question = user("What time is it now?", say="?") if changed == "question" else self.CLOCK
        answer = {"role": "assistant", "content": "Late." if changed == "reply" else reply}
        person = somebody + "2" if changed == "person" else somebody
        self.ask(http, question, answer, user("Sure?", tag=tag, say="Yes."), user=person)
        assert self.roles(upstream, tag) == ["user", "assistant", "user"]

    def test_nothing_is_kept_of_what_leaves_no_trace(
        self, http: httpx.Client, upstream: Upstream, tag: str, somebody: str
    ) -> None:
        reply = self.ask(http, self.CLOCK, user=somebody, store=False)
        now = user("Sure?", tag=tag, say="Yes.")
        self.ask(http, self.CLOCK, {"role": "assistant", "content": reply}, now, user=somebody)
        assert self.roles(upstream, tag) == ["user", "assistant", "user"]


# Cat 1.9 remembers each message, which takes its time.
TURNS = 25 if WHICH == "2" else 5


def test_interleaved_turns_never_mix(cat: Cat, tag: str) -> None:
    """Twenty people with two chats each, all at once through one key; each reply is its own conversation's."""
    wrong: list[str] = []
    lock = threading.Lock()

    async def chat(client: AsyncOpenAI, person: str, name: str) -> None:
        messages: list[Any] = []
        for number in range(TURNS):
            messages.append(user(f"{name} says {number}", say=[f"{name}", " heard ", f"{number}"]))
            chunks = await client.chat.completions.create(
                model="cheshire-cat", messages=messages, user=person, stream=bool(number % 2)
            )
            if number % 2:
                parts = [chunk.choices[0].delta.content or "" async for chunk in chunks]
                reply = "".join(parts)
            else:
                reply = chunks.choices[0].message.content
            if reply != f"{name} heard {number}":
                with lock:
                    wrong.append(reply)
            messages.append({"role": "assistant", "content": reply})

    async def all_at_once() -> None:
        async with AsyncOpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0, timeout=120) as client:
            await asyncio.gather(
                *(chat(client, f"{tag} {person}", f"{person}.{number}") for person in range(20) for number in range(2))
            )

    asyncio.run(all_at_once())
    assert not wrong
