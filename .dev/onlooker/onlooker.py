"""A plugin of the soak's own Cat, on both generations: it tidies up, and tells which threads there are."""

import ctypes
import gc
import re
import threading
from collections import Counter
from contextlib import suppress

from cat.mad_hatter.decorators import endpoint


@endpoint.get("/onlooker/tidy", prefix="")
async def tidy() -> None:
    """Drop what nobody holds, and give the system what the C library keeps of it (as glibc does)."""
    gc.collect()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@endpoint.get("/onlooker/threads", prefix="")
def threads() -> dict[str, int]:
    """Names without their numbers. Not on the event loop: AnyIO ends its idle threads when one is asked for."""
    return Counter(re.sub(r"[-_]?\d+", "", thread.name) for thread in threading.enumerate())
