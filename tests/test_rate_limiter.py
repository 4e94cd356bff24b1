"""The rate limiter as a unit: in memory, on a Redis, and during outages of that Redis."""

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from bridge.cat_openai_api.access import rate_limiter
from bridge.cat_openai_api.access.rate_limiter import (
    BoundedMemoryStorage,
    RateLimiter,
    RateStatus,
    SharedRateLimiter,
)
from bridge.cat_openai_api.errors import RateLimitExceeded
from bridge.cat_openai_api.packages import is_installed
from bridge.settings import Settings, parse_storage
from pydantic import ValidationError
from servers import Redis, ask_redis, needs_redis, pass_on


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rate_limiter, "time", clock)
    return clock


async def hits(limiter: RateLimiter | SharedRateLimiter, person: str, limit: int) -> list[Any]:
    """The results of so many hits: the remaining requests, or the seconds to wait."""
    answers: list[Any] = []
    for _ in range(limit):
        try:
            status = await limiter.hit(person, 3)
            answers.append(status.remaining if status else "uncounted")
        except RateLimitExceeded as refused:
            answers.append(f"wait {(refused.headers or {})['Retry-After']}")
    return answers


def test_the_window_moves(clock: Clock) -> None:
    async def story() -> None:
        limiter = RateLimiter(BoundedMemoryStorage())
        assert await hits(limiter, "alice", 1) == [2]
        clock.now += 40
        assert await hits(limiter, "alice", 3) == [1, 0, "wait 20"]
        clock.now += 19.5
        assert await hits(limiter, "alice", 1) == ["wait 1"]
        clock.now += 0.6
        assert await hits(limiter, "alice", 2) == [0, "wait 40"]
        clock.now += 60
        assert await hits(limiter, "alice", 1) == [2]

    asyncio.run(story())


def test_peek_does_not_count(clock: Clock) -> None:
    async def story() -> None:
        limiter = RateLimiter(BoundedMemoryStorage())
        for _ in range(5):
            status = await limiter.peek("alice", 3)
            assert (status.remaining, status.reset) == (3, 0)
        await limiter.hit("alice", 3)
        clock.now += 12.2
        assert (await limiter.peek("alice", 3)).headers() == {
            "x-ratelimit-limit-requests": "3",
            "x-ratelimit-remaining-requests": "2",
            "x-ratelimit-reset-requests": "48s",
        }

    asyncio.run(story())


def test_memory_is_bounded_for_a_million_names(clock: Clock) -> None:
    async def story() -> None:
        storage = BoundedMemoryStorage()
        limiter = RateLimiter(storage)
        for number in range(1_000_000):
            clock.now += 0.00001
            await storage.acquire_entry(str(number), 3, 60)
        assert len(storage) == rate_limiter.MAX_WINDOWS
        clock.now += 61
        await limiter.hit("one more", 3)
        assert len(storage) == 1

    asyncio.run(story())


@pytest.mark.parametrize("name", ["x" * 1_000_000, "a/b/../c", "\0", "name\nname", "🐱"])
def test_a_name_may_be_any_text(name: str) -> None:
    async def story() -> None:
        storage = BoundedMemoryStorage()
        limiter = RateLimiter(storage)
        assert await hits(limiter, name, 4) == [2, 1, 0, "wait 60"]
        assert all(len(key) < 200 for key in storage._windows)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("memory://", None),
        ("", None),
        ("redis://localhost:6379", "async+redis://localhost:6379"),
        (" redis://localhost:6379/2?protocol=3 ", "async+redis://localhost:6379/2?protocol=3"),
        ("async+redis://[::1]:6379", "async+redis://[::1]:6379"),
        ("rediss://me:p%40ss@redis.example:6380", "async+rediss://me:p%40ss@redis.example:6380"),
        ("redis+unix:///run/redis.sock", "async+redis+unix:///run/redis.sock"),
        ("redis+cluster://one:1,two:2", "async+redis+cluster://one:1,two:2"),
        ("redis+sentinel://one:1,two:2/mymaster", "async+redis+sentinel://one:1,two:2/mymaster"),
        ("valkey://localhost:6379", "async+redis://localhost:6379"),
        ("valkeys://localhost:6379", "async+rediss://localhost:6379"),
    ],
)
def test_valid_redis_urls_are_accepted(url: str, uri: str | None) -> None:
    assert parse_storage(Settings(rate_limit_storage=url).rate_limit_storage) == uri
    if uri and is_installed("redis"):
        rate_limiter._open(uri)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "redis",
        "memory://hush",
        "memcached://hush@localhost:11211",
        "redis://",
        "redis://:hush@localhost",
        "redis://:hush@localhost:port",
        "redis://:hush@localhost:70000",
        "redis://me:12/hush@localhost:6379",
        "redis://me:12#hush@localhost:6379",
        "redis+unix://",
        "redis+sentinel://:hush@localhost:26379",
        "redis+cluster://one:1,:hush@two",
    ],
)
def test_an_invalid_url_is_refused_and_not_quoted_in_the_message(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(rate_limit_storage=url)
    (error,) = refused.value.errors()
    assert "redis" in error["msg"]
    assert "hush" not in error["msg"]


class Log:
    """Collects log messages."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.infos: list[str] = []

    def log_error(self, message: str) -> None:
        self.errors.append(message)

    def log_info(self, message: str) -> None:
        self.infos.append(message)


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[Redis]:
    server = Redis()
    yield server
    server.remove()


@pytest.fixture
def redis(shared_redis: Redis) -> Redis:
    """A running Redis with nothing in it."""
    if shared_redis.is_running():
        shared_redis.go_on()
    else:
        shared_redis.start()
    shared_redis.ask("FLUSHALL")
    return shared_redis


def on(redis: Redis, story: Callable[[SharedRateLimiter], Coroutine[Any, Any, None]]) -> Log:
    """Run `story` with a limiter on that Redis; return the log."""
    log = Log()

    async def whole() -> None:
        limiter = SharedRateLimiter(parse_storage(redis.url) or "", log)
        try:
            await story(limiter)
        finally:
            await limiter.close()

    asyncio.run(whole())
    assert Redis.PASSWORD not in str(vars(log))
    return log


async def wait_until_counted(limiter: SharedRateLimiter) -> RateStatus:
    """Hit until Redis answers; return that status."""
    deadline = time.monotonic() + 5
    while not (status := await limiter.peek("nobody", 3)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    return status


class FastClock:
    """A clock that is the same in all processes and runs sixty times as fast."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._real = time.time

    def __call__(self) -> float:
        return self._start + (self._real() - self._start) * 60


LIMIT = 20
RACERS = 4


def race(url: str, clock: FastClock, minutes: float) -> list[tuple[float, float]]:
    """Hit as fast as possible; return the earliest and the latest time of each admitted request, in seconds."""
    admitted: list[tuple[float, float]] = []
    time.time = clock

    async def ask(limiter: SharedRateLimiter, end: float) -> None:
        while clock() < end:
            before = clock()
            try:
                assert await limiter.hit("alice", LIMIT) is not None
            except RateLimitExceeded:
                continue
            admitted.append((before, clock()))

    async def run_all() -> None:
        log = Log()
        limiter = SharedRateLimiter(parse_storage(url) or "", log)
        await limiter.peek("alice", LIMIT)
        end = clock() + 60 * minutes
        await asyncio.gather(*(ask(limiter, end) for _ in range(4)))
        await limiter.close()
        assert log.errors == []

    ask_redis(url, "INCR", "ready")
    while int(ask_redis(url, "GET", "ready")) < RACERS:
        time.sleep(0.01)
    asyncio.run(run_all())
    return admitted


@needs_redis
class TestOnRedis:
    @pytest.fixture(autouse=True)
    def _patient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wait longer for Redis: a busy machine may be slow, which these tests do not check."""
        monkeypatch.setattr(rate_limiter, "CALL_TIMEOUT", 5)

    def test_redis_counts_like_memory(self, redis: Redis) -> None:
        async def story(limiter: SharedRateLimiter) -> None:
            assert (await limiter.peek("alice", 3)) == RateStatus(3, 3, 0)
            assert await hits(limiter, "alice", 4) == [2, 1, 0, "wait 60"]
            assert await hits(limiter, "bob", 1) == [2]
            headers = (await wait_until_counted(limiter)).headers()
            assert headers["x-ratelimit-remaining-requests"] == "3"

        assert vars(on(redis, story)) == {"errors": [], "infos": []}

    def test_several_processes_together_never_exceed_the_limit_in_a_window(self, redis: Redis) -> None:
        clock = FastClock(time.time())
        with ProcessPoolExecutor(RACERS, multiprocessing.get_context("fork")) as processes:
            racing = [processes.submit(race, redis.url, clock, 4.5) for _ in range(RACERS)]
            admitted = [one for racer in racing for one in racer.result()]
        # The moment lies between the two: by its rank among all that were let in, it is no later and no earlier.
        before, after = (sorted(times) for times in zip(*admitted, strict=True))
        assert all(late - early >= 60 for early, late in zip(before, after[LIMIT:], strict=False))
        assert len(admitted) > 2 * LIMIT

    def test_each_outage_is_logged(self, redis: Redis) -> None:
        async def story(limiter: SharedRateLimiter) -> None:
            for _ in range(2):
                await wait_until_counted(limiter)
                redis.kill()
                assert await hits(limiter, "alice", 2) == ["uncounted"] * 2
                redis.start()
                await wait_until_counted(limiter)

        log = on(redis, story)
        assert (len(log.errors), len(log.infos)) == (2, 2)

    def test_a_redis_that_never_answers_is_logged_once(self, redis: Redis) -> None:
        redis.kill()

        async def story(limiter: SharedRateLimiter) -> None:
            assert await hits(limiter, "alice", 4) == ["uncounted"] * 4

        assert len(on(redis, story).errors) == 1

    def test_a_wrong_password_leaves_requests_uncounted_and_is_not_logged(self, redis: Redis) -> None:
        async def story(limiter: SharedRateLimiter) -> None:
            limiter._uri = limiter._uri.replace(Redis.PASSWORD, f"not-{Redis.PASSWORD}")
            assert await hits(limiter, "alice", 4) == ["uncounted"] * 4

        assert len(on(redis, story).errors) == 1

    def test_a_cancelled_request_does_not_break_the_connection(self, redis: Redis) -> None:
        async def story(limiter: SharedRateLimiter) -> None:
            await wait_until_counted(limiter)
            redis.pause()
            asking = asyncio.create_task(limiter.hit("alice", 3))
            await asyncio.sleep(0.05)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            redis.go_on()
            assert await hits(limiter, "bob", 3) == [2, 1, 0]

        assert on(redis, story).errors == []

    def test_close_waits_for_pending_requests_and_closes_the_connections(self, redis: Redis) -> None:
        async def story(limiter: SharedRateLimiter) -> None:
            asked = asyncio.gather(*(hits(limiter, str(number), 1) for number in range(20)))
            await asyncio.sleep(0)
            await limiter.close()
            assert await asked == [[2]] * 20

        assert on(redis, story).errors == []
        assert redis.connections() == 0

    def test_the_package_is_installed_without_blocking_requests(
        self, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[tuple[str, str]] = []
        may_end = threading.Event()
        installed = threading.Event()

        def ensure_installed(module: str, requirement: str) -> None:
            asked.append((module, requirement))
            may_end.wait()
            installed.set()

        monkeypatch.setattr(rate_limiter, "is_installed", lambda _: installed.is_set())
        monkeypatch.setattr(rate_limiter, "ensure_installed", ensure_installed)

        async def story(limiter: SharedRateLimiter) -> None:
            begun = time.monotonic()
            assert await hits(limiter, "alice", 100) == ["uncounted"] * 100
            assert time.monotonic() - begun < 0.5
            may_end.set()
            await wait_until_counted(limiter)
            assert await hits(limiter, "alice", 1) == [2]

        log = on(redis, story)
        assert asked == [("redis", "redis>=5.2,<8")]
        assert (len(log.errors), len(log.infos)) == (1, 1)

    def test_requests_are_let_through_if_the_package_cannot_be_installed(
        self, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def ensure_installed(module: str, requirement: str) -> None:
            raise ImportError(f"no {requirement} to be had")

        monkeypatch.setattr(rate_limiter, "is_installed", lambda _: False)
        monkeypatch.setattr(rate_limiter, "ensure_installed", ensure_installed)
        monkeypatch.setattr(rate_limiter, "RETRY_INTERVAL", 0.01)

        async def story(limiter: SharedRateLimiter) -> None:
            for _ in range(10):
                assert await hits(limiter, "alice", 1) == ["uncounted"]
                await asyncio.sleep(0.02)

        log = on(redis, story)
        assert "its client is being installed" in log.errors[0]
        assert "no redis>=5.2,<8 to be had" in log.errors[1]
        assert len(log.errors) == 2


@needs_redis
class TestWhileRedisIsSlowOrGone:
    @pytest.mark.parametrize("trouble", ["slow", "gone"])
    def test_requests_are_uncounted_during_an_outage_and_counted_again_after_it(
        self, redis: Redis, trouble: str
    ) -> None:
        async def story(limiter: SharedRateLimiter) -> None:
            assert await hits(limiter, "alice", 2) == [2, 1]
            (redis.pause if trouble == "slow" else redis.kill)()
            begun = time.monotonic()
            assert await asyncio.gather(*(hits(limiter, "alice", 5) for _ in range(50))) == [["uncounted"] * 5] * 50
            assert time.monotonic() - begun < 2
            for _ in range(3):
                begun = time.monotonic()
                assert await hits(limiter, "alice", 1) == ["uncounted"]
                assert time.monotonic() - begun < 0.5
                await asyncio.sleep(rate_limiter.RETRY_INTERVAL / 2)
            (redis.go_on if trouble == "slow" else redis.start)()
            await wait_until_counted(limiter)
            # What waited in a slow one is counted there; one that was gone has forgotten.
            if trouble == "gone":
                assert await hits(limiter, "alice", 4) == [2, 1, 0, "wait 60"]
            assert await hits(limiter, "bob", 1) == [2]

        log = on(redis, story)
        assert len(log.errors) == len(log.infos) == 1
        assert f"redis://127.0.0.1:{redis.port} does not answer" in log.errors[0]
        assert "requests are counted" in log.infos[0]

    def test_a_slow_connection_is_used_once_it_is_established(self, redis: Redis) -> None:
        async def story(limiter: SharedRateLimiter) -> None:
            async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await asyncio.sleep(2 * rate_limiter.CALL_TIMEOUT)
                answers, questions = await asyncio.open_connection("127.0.0.1", redis.port)
                await asyncio.gather(pass_on(reader, questions), pass_on(answers, writer))

            async with await asyncio.start_server(connect, "127.0.0.1", 0) as line:
                port = line.sockets[0].getsockname()[1]
                limiter._uri = limiter._uri.replace(str(redis.port), str(port))
                assert await hits(limiter, "alice", 1) == ["uncounted"]
                await wait_until_counted(limiter)
                # The first one has come to be counted too.
                assert await hits(limiter, "alice", 1) == [1]
                await limiter.close()

        log = on(redis, story)
        assert (len(log.errors), len(log.infos)) == (1, 1)

    def test_a_busy_event_loop_is_not_taken_for_an_outage(self, redis: Redis) -> None:
        async def story(limiter: SharedRateLimiter) -> None:
            await wait_until_counted(limiter)
            asking = asyncio.create_task(hits(limiter, "alice", 1))
            for _ in range(3):
                await asyncio.sleep(0)
            time.sleep(2 * rate_limiter.CALL_TIMEOUT)  # noqa: ASYNC251  # that is the trouble
            assert await asking == [2]

        assert on(redis, story).errors == []
