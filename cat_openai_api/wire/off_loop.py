"""Work that would hold up the event loop, done in a thread."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

Result = TypeVar("Result")

LARGE = 64_000
"""Bytes of JSON. Python encodes or decodes so many in about a millisecond, which is what a thread costs."""


async def off_loop(size: int, work: Callable[[], Result], large: int = LARGE) -> Result:
    """The result of `work`, which is called in a thread where the JSON that it handles is large.

    `size`: of that JSON, in bytes. `large`: the size from which a thread is used. Raises what `work` raises.
    """
    return work() if size < large else await asyncio.to_thread(work)


def detached(coroutine: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
    """A task with an empty context, which holds nothing of the request that starts it. The caller keeps the task."""
    task: asyncio.Task[Result] = Context().run(asyncio.create_task, coroutine)
    return task
