"""Work that would hold up the event loop, done in a thread."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

LARGE = 64_000
"""Bytes of JSON. Python encodes or decodes so many in about a millisecond, which is what a thread costs."""


async def off_loop(size: int, work: Callable[[], Result], large: int = LARGE) -> Result:
    """The result of `work`, which is called in a thread where the JSON that it handles is large.

    `size`: of that JSON, in bytes. `large`: the size from which a thread is used. Raises what `work` raises.
    """
    return work() if size < large else await asyncio.to_thread(work)
