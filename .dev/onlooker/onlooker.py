"""A plugin for the Cat of `make soak`, on Cat 1.9 and 2: frees unused memory, and lists the Cat's threads."""

import ctypes
import gc
import re
import threading
from collections import Counter
from contextlib import suppress

from cat.mad_hatter.decorators import endpoint


@endpoint.get("/onlooker/tidy", prefix="")
async def tidy() -> None:
    """Collect garbage, and have glibc return unused memory to the system (other C libraries have no such function)."""
    gc.collect()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@endpoint.get("/onlooker/threads", prefix="")
def threads() -> dict[str, int]:
    """How many threads there are, by name without number.

    It is a synchronous endpoint, because AnyIO ends its idle threads when a worker thread is requested.
    """
    return Counter(re.sub(r"[-_]?\d+", "", thread.name) for thread in threading.enumerate())
