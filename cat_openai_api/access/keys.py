"""The keys of this API: stored as rows, and held in memory for the requests.

The storage is never read for a request whose key is known: the keys in memory are refreshed behind the requests. A
change by this Cat is in force at the next request, one by another Cat on the same database within `REFRESH_INTERVAL`.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..domain.keys import ApiKey
from ..errors import InvalidRequest, KeyNotFound, StorageFailed
from ..hosts.collections import KEY_CHANGES, KEY_USES, KEYS, NOBODY
from ..hosts.port import Host
from ..wire.off_loop import detached

PREFIX = "sk-cat-"

VALUE = re.compile(rf"{PREFIX}([0-9a-f]{{16}})_[0-9a-f]{{64}}")
"""The public part, and 256 random bits."""

NO_DIGEST = hashlib.sha256(secrets.token_bytes(32)).hexdigest()
"""Compared in place of the digest of a key that does not exist."""

MAX_KEYS = 1000

LOAD_SIZE = 250
"""Rows that are loaded at once."""

REFRESH_INTERVAL = 0.5
"""Seconds between two looks into the storage while keys are used."""

MAX_AGE = 1.0
"""Seconds after which keys that were not refreshed, because none was used, are refreshed before one is."""

MISS_INTERVAL = 0.1
"""Seconds between two looks into the storage for keys that are not known: another Cat may just have made them. All
requests that wait share one look."""

REFRESH_TIMEOUT = 1.0
"""Seconds that a request waits for the storage."""

RETRY_INTERVAL = 5.0
"""Seconds between two attempts at a storage that fails."""

RELOAD_INTERVAL = 60.0
"""Seconds after which all keys are loaded although no change is known."""

IDLE_SECONDS = 600.0
"""After so many seconds without a request with a key, the storage is not looked into any more."""

USE_INTERVAL = 60.0
"""Seconds between two writes of when a key was used last."""


class KeyStore:
    """All keys. Methods that change or list keys raise `StorageFailed`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._keys: dict[str, ApiKey] = {}
        self._version: int | None = None
        self._has_loaded = False
        self._is_failing = False
        self._read_at = self._loaded_at = self._next_attempt = float("-inf")
        self._used_at = self._looked_at = self._refresh_until = float("-inf")
        self._lock = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._uses: dict[str, int] = {}
        self._written_uses: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def find(self, value: str) -> ApiKey | None:
        """The key with that value, also a disabled or expired one.

        A key that does not exist takes as long as a wrong secret. Raises `StorageFailed` if no keys have been loaded.
        """
        found = VALUE.fullmatch(value)
        key_id = f"key_{found[1]}" if found else ""
        digest = _digest(value)
        self._used_at = time.monotonic()
        self._keep_fresh()
        if self._age() > MAX_AGE:
            await self._refresh()
        key = self._match(key_id, digest)
        if key is None:
            await self._refresh_after_miss()
            key = self._match(key_id, digest)
        if not self._has_loaded:
            raise StorageFailed
        return key

    def note_use(self, key: ApiKey) -> None:
        """Remember that the key is used now. It is written behind the request, at most once in `USE_INTERVAL`."""
        self._uses[key.id] = int(time.time())
        if time.monotonic() - self._written_uses.get(key.id, float("-inf")) > USE_INTERVAL:
            self._written_uses[key.id] = time.monotonic()
            self._start(self._write_use(key.id))

    async def create(self, key: ApiKey) -> tuple[ApiKey, str]:
        """Store a new key with what is given in `key` but its id and digest. Returns it, and its value.

        Raises `InvalidRequest` where there are `MAX_KEYS`.
        """
        async with self._lock:
            await self._read()
            if len(self._keys) >= MAX_KEYS:
                raise InvalidRequest(f"There are {MAX_KEYS} keys. Delete some that are not used any more.")
            public = secrets.token_hex(8)
            value = f"{PREFIX}{public}_{secrets.token_hex(32)}"
            created = replace(key, id=f"key_{public}", digest=_digest(value), redacted_value=f"{PREFIX}{public}_…")
            await self._host.storage.insert(KEYS, NOBODY, created.id, _stored(created))
            self._keys[created.id] = created
            await self._note_change()
        self._host.log_info(f"OpenAI API: the key {created.id} was made")
        return created, value

    async def change(self, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey:
        """Replace a key by what `change` returns for it. Raises `KeyNotFound`."""

        def change_row(stored: Any) -> Any:
            # None where another Cat has just deleted it: such a row is no key.
            return _stored(change(_key(stored))) if stored else None

        async with self._lock:
            await self._read()
            if key_id not in self._keys:
                raise KeyNotFound(key_id)
            await self._host.storage.update(KEYS, NOBODY, key_id, change_row)
            changed = self._keys[key_id] = change(self._keys[key_id])
            await self._note_change()
        self._host.log_info(f"OpenAI API: the key {key_id} was changed")
        return changed

    async def delete(self, key_id: str) -> None:
        """Raises `KeyNotFound`."""
        async with self._lock:
            await self._read()
            if key_id not in self._keys:
                raise KeyNotFound(key_id)
            await self._host.storage.delete(KEYS, NOBODY, key_id)
            del self._keys[key_id]
            await self._note_change()
        self._uses.pop(key_id, None)
        self._written_uses.pop(key_id, None)
        self._host.log_info(f"OpenAI API: the key {key_id} was deleted")
        with suppress(StorageFailed):  # The key is gone, and the error is in the log.
            await self._host.storage.delete(KEY_USES, NOBODY, key_id)

    async def delete_of_end_user(self, name: str) -> int:
        """Delete the keys that are for that end user. Returns how many there were."""
        keys = [key for key in await self.list_all() if key.end_user == name]
        for key in keys:
            with suppress(KeyNotFound):
                await self.delete(key.id)
        return len(keys)

    async def list_all(self) -> list[ApiKey]:
        """Oldest first."""
        async with self._lock:
            await self._read()
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.id))

    async def get(self, key_id: str) -> ApiKey:
        """Raises `KeyNotFound`."""
        async with self._lock:
            await self._read()
        if key := self._keys.get(key_id):
            return key
        raise KeyNotFound(key_id)

    async def last_uses(self, key_ids: Sequence[str]) -> Mapping[str, int]:
        """In seconds since the epoch, of those keys that were used."""
        rows = await self._host.storage.load_many(KEY_USES, NOBODY, key_ids)
        written = {key_id: int(row.value) for key_id, row in rows.items()}
        uses = {key_id: max(written.get(key_id, 0), self._uses.get(key_id, 0)) for key_id in key_ids}
        return {key_id: used_at for key_id, used_at in uses.items() if used_at}

    async def close(self) -> None:
        """What is being written is written."""
        self._is_closed = True
        if self._refresher:
            self._refresher.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = detached(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _match(self, key_id: str, digest: str) -> ApiKey | None:
        key = self._keys.get(key_id)
        is_equal = hmac.compare_digest(digest, key.digest if key else NO_DIGEST)
        return key if is_equal else None

    def _age(self) -> float:
        """Seconds since the keys were refreshed; 0 while the storage fails, which would only fail again."""
        now = time.monotonic()
        return now - self._read_at if now >= self._next_attempt else 0.0

    def _keep_fresh(self) -> None:
        if not self._is_closed and (self._refresher is None or self._refresher.done()):
            self._refresher = self._start(self._refresh_while_used())

    async def _refresh_while_used(self) -> None:
        while self._keys and time.monotonic() - self._used_at < IDLE_SECONDS:
            await asyncio.sleep(REFRESH_INTERVAL)
            if time.monotonic() >= self._next_attempt:
                await self._refresh()

    async def _refresh(self) -> None:
        """Refresh the keys, for all who wait at once. Raises nothing; waits no longer than `REFRESH_TIMEOUT`."""
        if self._is_closed and self._has_loaded:
            return
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = self._start(self._try_to_read())
            self._refresh_until = time.monotonic() + REFRESH_TIMEOUT
        # A storage that is locked is not waited for by each request anew.
        await asyncio.wait([self._refreshing], timeout=max(0.0, self._refresh_until - time.monotonic()))

    async def _refresh_after_miss(self) -> None:
        """Wait for a look into the storage that begins from now on."""
        if time.monotonic() < self._next_attempt or self._is_closed:
            return
        if self._looking is None or self._looking.done():
            self._looking = self._start(self._look())
        await asyncio.wait([self._looking], timeout=REFRESH_TIMEOUT)

    async def _look(self) -> None:
        """All requests that have come by the time of the look share it."""
        await asyncio.sleep(max(0.0, self._looked_at + MISS_INTERVAL - time.monotonic()))
        self._looking, self._looked_at = None, time.monotonic()
        await self._try_to_read()

    async def _try_to_read(self) -> None:
        async with self._lock:
            with suppress(StorageFailed):
                await self._read()

    async def _read(self) -> None:
        """To be called with the lock. Raises `StorageFailed`."""
        try:
            read_at = time.monotonic()
            row = await self._host.storage.load(KEY_CHANGES, NOBODY, "keys")
            version = row.version if row else 0
            if version != self._version or read_at - self._loaded_at > RELOAD_INTERVAL:
                self._keys = await self._load()
                self._version, self._loaded_at, self._has_loaded = version, read_at, True
        except StorageFailed:
            self._next_attempt = time.monotonic() + RETRY_INTERVAL
            if not self._is_failing:
                self._is_failing = True
                self._host.log_error("OpenAI API: keys cannot be read, the known ones stay in force")
            raise
        self._read_at = read_at
        if self._is_failing:
            self._is_failing = False
            self._host.log_info("OpenAI API: keys can be read again")

    async def _load(self) -> dict[str, ApiKey]:
        storage = self._host.storage
        ids = await storage.keys(KEYS, NOBODY)
        keys: dict[str, ApiKey] = {}
        for first in range(0, len(ids), LOAD_SIZE):
            rows = await storage.load_many(KEYS, NOBODY, ids[first : first + LOAD_SIZE])
            keys |= {key_id: _key(row.value) for key_id, row in rows.items() if row.value}
        return keys

    async def _note_change(self) -> None:
        """Have the other Cats load the keys."""
        await self._host.storage.update(KEY_CHANGES, NOBODY, "keys", lambda _: int(time.time()))

    async def _write_use(self, key_id: str) -> None:
        used_at = self._uses[key_id]
        with suppress(StorageFailed):  # The error is in the log, and the next use is written again.
            await self._host.storage.update(KEY_USES, NOBODY, key_id, lambda stored: max(used_at, stored or 0))


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def _stored(key: ApiKey) -> dict[str, Any]:
    """The row of a key."""
    return {
        "id": key.id,
        "name": key.name,
        "digest": key.digest,
        "redacted_value": key.redacted_value,
        "created_at": key.created_at,
        "end_user": key.end_user,
        "service": key.is_service,
        "models": key.models and [*key.models],
        "rate_limit_per_minute": key.rate_limit_per_minute,
        "tokens_per_day": key.tokens_per_day,
        "expires_at": key.expires_at,
        "enabled": key.is_enabled,
    }


def _key(stored: Mapping[str, Any]) -> ApiKey:
    return ApiKey(
        id=stored["id"],
        name=stored["name"],
        digest=stored["digest"],
        redacted_value=stored["redacted_value"],
        created_at=stored["created_at"],
        end_user=stored["end_user"],
        is_service=stored["service"],
        models=stored["models"] and tuple(stored["models"]),
        rate_limit_per_minute=stored["rate_limit_per_minute"],
        tokens_per_day=stored["tokens_per_day"],
        expires_at=stored["expires_at"],
        is_enabled=stored["enabled"],
    )
