"""The database of Cat 2, for what the plugin keeps in it: several Cats may have the same one."""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

from ..detect import IS_CAT_2

if IS_CAT_2 or TYPE_CHECKING:
    from cat import db
    from cat.db import KeyValueDB

    # Called DB before 2.0.21.
    Store = getattr(db, "Store", None) or db.DB

PAUSES = (0.1, 0.5)
"""Seconds between attempts: a SQLite file that others write to is busy at times."""

LOCK_SECONDS = 5.0
"""A lock that is older was left by a Cat that is no more. One is held for milliseconds."""

WAIT_SECONDS = 15.0

NOBODYS_SECONDS = 1.0
"""A lock that cannot be taken and that nobody has for so long is one that cannot be written."""

_updating: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
"""A lock for each key that this Cat updates."""


async def load(key: str) -> Any:
    """None where nothing is saved. Raises what the database raises."""
    return await _patiently(lambda: Store.load(key))


async def update(key: str, change: Callable[[Any], Any]) -> None:
    """Save what `change` makes of what is saved, with nothing lost that another Cat saves at the same time.

    Raises what the database raises, and TimeoutError.
    """
    async with _updating.setdefault(key, asyncio.Lock()), _for_one_cat(f"{key}_lock"):
        changed = change(await load(key))
        await _patiently(lambda: Store.save(key, changed))


async def _patiently(access: Callable[[], Awaitable[Any]]) -> Any:
    for pause in PAUSES:
        with suppress(Exception):
            return await access()
        await asyncio.sleep(pause)
    return await access()


@asynccontextmanager
async def _for_one_cat(lock: str) -> AsyncGenerator[None, None]:
    """The lock is a row: the database lets one Cat insert it."""
    began = seen = time.monotonic()
    while (whose := await _attempt(lock)) != "ours":
        now = time.monotonic()
        seen = now if whose == "another's" else seen
        if now - seen > NOBODYS_SECONDS:
            raise TimeoutError(f"nobody has {lock}: the database cannot be written to")
        if now - began > WAIT_SECONDS:
            raise TimeoutError(f"no other Cat gives back {lock}")
        await asyncio.sleep(random.uniform(0.01, 0.05))
    try:
        yield
    finally:
        await _patiently(lambda: _remove(lock))


async def _attempt(lock: str) -> Literal["ours", "another's", "nobody's"]:
    try:
        await KeyValueDB.insert(KeyValueDB(key=lock, value=json.dumps(time.time())))
    except Exception:  # each database has one of its own for a row that is there, or for being busy
        held_since = await load(lock)
        if held_since is not None and time.time() - held_since > LOCK_SECONDS:
            await _remove(lock)
        return "nobody's" if held_since is None else "another's"
    return "ours"


async def _remove(lock: str) -> None:
    await KeyValueDB.delete().where(KeyValueDB.key == lock)
