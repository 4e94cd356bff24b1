"""Failures of a Cat's storage: what is tried again, and what becomes of the rest."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ...errors import StorageFailed

Result = TypeVar("Result")

PAUSES = (0.1, 0.5)
"""Seconds between the attempts at what fails. A full disk fails each time, so it is reported within a second."""

BUSY_TIMEOUT = 15.0
"""Seconds that an SQLite file may be locked by others, who write to it one after the other."""


@contextmanager
def storage_failures(log_error: Callable[[str], object]) -> Iterator[None]:
    """Any exception inside becomes `StorageFailed`, with a line in the Cat's log."""
    try:
        yield
    except Exception as error:  # each database has classes of its own
        log_error(f"OpenAI API: the Cat's storage failed: {type(error).__name__}")
        raise StorageFailed from error


async def retry(access: Callable[[], Awaitable[Result]]) -> Result:
    """The result of `access`, which is tried again for a while when it fails. Raises what its last attempt raises."""
    busy_until = time.monotonic() + BUSY_TIMEOUT
    pauses = iter(PAUSES)
    while True:
        try:
            return await access()
        except Exception as error:
            if _is_busy(error):
                pause = random.uniform(0.02, 0.1) if time.monotonic() < busy_until else None
            else:
                pause = next(pauses, None)
            if pause is None:
                raise
        await asyncio.sleep(pause)


def _is_busy(error: Exception) -> bool:
    """Whether SQLite reports that somebody else has locked the file. It waits by itself, but not where waiting could be
    a deadlock."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
