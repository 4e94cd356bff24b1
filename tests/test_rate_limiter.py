"""The rate limiter by itself: the window moves, and memory is bounded."""

import asyncio
from typing import Any

import pytest
from bridge.cat_openai_api import rate_limiter
from bridge.cat_openai_api.errors import RateLimitExceeded
from bridge.cat_openai_api.rate_limiter import BoundedMemoryStorage, RateLimiter


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


async def hits(limiter: RateLimiter, person: str, limit: int) -> list[Any]:
    """What so many hits answer: what remains, or the seconds to wait."""
    answers: list[Any] = []
    for _ in range(limit):
        try:
            answers.append((await limiter.hit(person, 3)).remaining)
        except RateLimitExceeded as refused:
            answers.append(f"wait {(refused.headers or {})['Retry-After']}")
    return answers


def test_the_window_moves_with_the_first_request(clock: Clock) -> None:
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


def test_peeking_counts_nothing(clock: Clock) -> None:
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


def test_memory_stays_bounded_when_a_million_names_come_by(clock: Clock) -> None:
    async def story() -> None:
        storage = BoundedMemoryStorage()
        limiter = RateLimiter(storage)
        for number in range(1_000_000):
            clock.now += 0.00001
            await storage.acquire_entry(str(number), 3, 60)
        assert len(storage) == rate_limiter.MAX_PEOPLE
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
