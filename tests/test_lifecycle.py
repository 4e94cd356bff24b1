"""What the plugin has while it is on ends when it is switched off, and when the Cat stops."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from asking import chat_body
from host import Cat, make_cat
from servers import Redis, needs_redis
from upstream import Upstream, script

pytestmark = needs_redis

Until = Callable[..., None]

STOP_SECONDS = 6


@pytest.fixture
def redis() -> Iterator[Redis]:
    server = Redis()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def cat(upstream: Upstream, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """A Cat that counts requests in a Redis."""
    cat = make_cat(tmp_path_factory.mktemp("lifecycle") / "home").start()
    cat.use_llm(upstream.base_url)
    count_in(redis, cat)
    yield cat
    cat.stop()


def count_in(redis: Redis, cat: Cat) -> None:
    cat.put_settings({"rate_limit_per_minute": 1000, "rate_limit_storage": redis.url}).raise_for_status()


def ask(cat: Cat, stream: bool = False) -> None:
    body = chat_body(script(say="Hello."), stream=stream)
    assert "Hello." in cat.http.post("/custom/v1/chat/completions", json=body).raise_for_status().text


def ask_both_ways(cat: Cat) -> None:
    ask(cat)
    ask(cat, stream=True)


def test_connections_threads_and_tasks_end_with_the_plugin(cat: Cat, redis: Redis, until: Until) -> None:
    plugin = cat.folder or ""

    def off_and_on() -> None:
        ask_both_ways(cat)
        assert redis.connections() > 0
        cat.toggle(plugin)
        until(lambda: redis.connections() == 0, "Redis has no client any more")
        cat.toggle(plugin)

    # The threads that a Cat has for all its plugins come with the first requests.
    off_and_on()
    ask_both_ways(cat)
    # Among these may be tasks that end by themselves, such as one that writes what has been counted.
    tasks, threads = cat.tasks(), cat.threads()
    for _ in range(3):
        off_and_on()
    ask_both_ways(cat)
    until(lambda: Counter(cat.tasks()) <= Counter(tasks), "there are no tasks of before")
    until(lambda: cat.threads() <= threads, "there are no threads of before")

    cat.toggle(plugin)
    until(lambda: redis.connections() == 0, "Redis has no client any more")
    until(lambda: not [task for task in cat.tasks() if "Runtime" in task], "its tasks have ended")
    assert len(cat.tasks()) < len(tasks)


def test_what_a_request_needs_stays_until_it_has_ended(
    cat: Cat, upstream: Upstream, redis: Redis, until: Until, tag: str
) -> None:
    """The plugin is switched off while one is under way."""
    body = chat_body(script(tag=tag, say="tick ", repeat=10, delay=0.1))
    with cat.http.stream("POST", "/custom/v1/chat/completions", json={**body, "stream": True}) as reply:
        upstream.wait(tag, state="running")
        cat.toggle(cat.folder or "")
        assert reply.read().endswith(b"data: [DONE]\n\n")
    until(lambda: redis.connections() == 0, "Redis has no client any more")
    until(lambda: upstream.open_requests() == 0, "neither has the LLM")


@pytest.mark.parametrize("twice", [False, True], ids=["at once", "after it was switched off and on"])
def test_a_cat_that_stops_does_so_promptly(cat: Cat, redis: Redis, until: Until, twice: bool) -> None:
    if twice:
        cat.toggle(cat.folder or "")
        cat.toggle(cat.folder or "")
    ask_both_ways(cat)
    assert redis.connections() > 0
    began = time.monotonic()
    assert cat.stop() in (0, -signal.SIGTERM)
    assert time.monotonic() - began < STOP_SECONDS
    until(lambda: redis.connections() == 0, "Redis has no client any more")
    assert "Traceback" not in cat.log()
    assert "was never retrieved" not in cat.log()
    assert "was destroyed but it is pending" not in cat.log()
