"""The state of a conversation beside its messages on Cat 1.9, and the Cat's cache, where it is stored.

The state is a form that is being filled in, and what plugins put into the working memory: any Python objects. Where a
turn stops for calls of the client's functions, the output of the Cat's own tools before those calls belongs to it too.
"""

import asyncio
import copy
import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from ...errors import StorageFailed
from ..collections import STATES
from ..detect import IS_CAT_1
from ..port import Run
from ..shared.erasures import Erasures
from ..storage import Storage, request_began
from .llm_bridge import LLMOfRun

if IS_CAT_1 or TYPE_CHECKING:
    from cat.cache.cache_item import CacheItem
    from cat.cache.in_memory_cache import InMemoryCache
    from cat.log import log
    from cat.looking_glass.stray_cat import StrayCat

MEMORY, SESSION, LLM = "memory", "session", "llm"

ValueName: TypeAlias = tuple[str, str]
"""Where a value is, in the working memory or in the session, and its name there."""

DERIVED = {"agent_input"}
"""Values that the Cat itself sets in the working memory in each turn, and that are no fields of its class."""


DeepCopy: TypeAlias = tuple[object, object, dict[ValueName, Any]]
"""What stands in the values for a session and for its working memory, and copies of the values."""


NOTE_TIMEOUT = 20.0
"""Seconds. A storage that takes longer has failed, with a line in the Cat's log."""


class StoredOfRun:
    """What a run leaves behind in the Cat's cache, by transcript key. Used in the thread of the run.

    The cache cannot list what it has of a person. So each entry has a row in the storage, without the state itself.
    """

    def __init__(self, storage: Storage, erasures: Erasures, run: Run, loop: asyncio.AbstractEventLoop) -> None:
        self._storage = storage
        self._erasures = erasures
        self._person = run.person
        self._loop = loop
        self._began = request_began.get()

    def is_erased(self) -> bool:
        """Whether the person was erased while the run was under way."""
        return self._erasures.has(self._person.key, self._began)

    def update(self, cache: Any, key: str, change: Callable[[Any], Any]) -> None:
        """See `update_cache`."""
        if self.is_erased():
            return
        # The row is there before the entry: an erasure finds the entry by it.
        noting = asyncio.run_coroutine_threadsafe(self._note(key), self._loop)
        with suppress(futures.TimeoutError):
            noting.result(NOTE_TIMEOUT)
        update_cache(cache, key, change)
        if self.is_erased():
            delete_from_cache(cache, key)

    async def _note(self, key: str) -> None:
        with suppress(StorageFailed):  # The error is in the log already, and the entry ends after a day.
            await self._storage.update(STATES, self._person.key, key, lambda _: None)


@dataclass(frozen=True)
class Snapshot:
    """A copy of a state, in plain types: the Cat's cache may pickle it.

    `pickled`: the values that can be pickled, by place and name, all together. `each`: the same values one by one, for
    where some cannot be loaded any more. `copied`: the other values, where the cache is in memory.
    """

    pickled: bytes = b""
    each: Mapping[ValueName, bytes] = field(default_factory=dict)
    copied: Sequence[DeepCopy] = ()

    @property
    def stored(self) -> Any:
        return [self.pickled, self.each, self.copied]

    def has_values(self) -> bool:
        return bool(self.pickled or self.copied)


def take_snapshot(memory: Any, session: Any) -> Snapshot:
    """Of what the working memory contains beside the messages, and of the methods of the session that a plugin has
    replaced.

    A session, its working memory and its LLM are left out of the values that refer to them: `restore` puts those of
    another session there. A value that cannot be copied is left out, with a line in the Cat's log.
    """
    values = _values(memory, session)
    each = {name: pickled for name, value in values.items() if (pickled := _pickle(value, memory))}
    together = _pickle({name: values[name] for name in each}, memory) if each else b""
    others = {name: value for name, value in values.items() if name not in each}
    copied: list[DeepCopy | None] = []
    if others and isinstance(session.cache, InMemoryCache):
        whole = _deep_copy(others, memory, session)
        copied = [whole] if whole else [_deep_copy({name: value}, memory, session) for name, value in others.items()]
    present = {name for copy in copied if copy for name in copy[2]}
    for (place, name), value in others.items():
        if (place, name) not in present and place == MEMORY:
            kind = type(value).__name__
            log.error(
                f"OpenAI API: a plugin's {kind} in the working memory cannot be copied, the next turn is without it"
            )
    return Snapshot(together or b"", each if len(each) > 1 else {}, [copy for copy in copied if copy])


def restore(state: Any, memory: Any, session: Any) -> None:
    """Put the values of a snapshot into the working memory of a session, and into the session."""
    if isinstance(state, dict):  # of a version of the plugin that stored the values themselves
        state = [b"", {}, [(None, None, {(MEMORY, name): value for name, value in state.items()})]]
    pickled, each, copied = state
    values: dict[ValueName, Any] = {}
    if pickled:
        together = _unpickle(pickled, memory, session)
        one_by_one = ((name, _unpickle(value, memory, session)) for name, value in each.items())
        values = together if together is not None else {name: value for name, value in one_by_one if value is not None}
    for session_stand_in, memory_stand_in, others in copied:
        values |= copy.deepcopy(others, {id(session_stand_in): session, id(memory_stand_in): memory})
    for (place, name), value in values.items():
        setattr(memory if place == MEMORY else session, name, value)
    if (form := memory.active_form) is not None:
        form._cat = session


def _values(memory: Any, session: Any) -> dict[ValueName, Any]:
    values = {(MEMORY, name): value for name, value in (memory.model_extra or {}).items() if name not in DERIVED}
    if memory.active_form is not None:
        values[MEMORY, "active_form"] = memory.active_form
    for name, value in vars(session).items():
        if callable(value) and callable(getattr(StrayCat, name, None)):
            values[SESSION, name] = value
    return values


class _Pickler(pickle.Pickler):
    def __init__(self, file: IO[bytes], memory: Any) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._memory = memory

    def persistent_id(self, value: Any) -> str | None:
        """What stands in a pickle for a part of the session that it was made in."""
        if isinstance(value, StrayCat):
            return SESSION
        if value is self._memory:
            return MEMORY
        return LLM if isinstance(value, LLMOfRun) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], memory: Any, session: Any) -> None:
        super().__init__(file)
        self._parts = {SESSION: lambda: session, MEMORY: lambda: memory, LLM: lambda: session._llm}

    def persistent_load(self, name: str) -> Any:
        return self._parts[name]()


def _pickle(value: Any, memory: Any) -> bytes | None:
    """None where it cannot be pickled, or not read again: a class may pickle what it does not accept."""
    file = io.BytesIO()
    try:
        _Pickler(file, memory).dump(value)
    except Exception:  # a plugin's value raises any
        return None
    return file.getvalue()


def _unpickle(pickled: bytes, memory: Any, session: Any) -> Any:
    """None where a value cannot be loaded any more, such as when its plugin is no longer there."""
    try:
        return _Unpickler(io.BytesIO(pickled), memory, session).load()
    except Exception:  # a plugin's value raises any
        log.error("OpenAI API: a plugin's value of the working memory cannot be loaded, the turn begins without it")
        return None


def _deep_copy(values: dict[ValueName, Any], memory: Any, session: Any) -> DeepCopy | None:
    session_stand_in, memory_stand_in = object(), object()
    try:
        copied = copy.deepcopy(values, {id(session): session_stand_in, id(memory): memory_stand_in})
    except Exception:  # a plugin's value raises any
        return None
    return session_stand_in, memory_stand_in, copied


def update_cache(cache: Any, key: str, change: Callable[[Any], Any]) -> None:
    """Store in the Cat's cache what `change` returns for the value that is there, for the lifetime of a state.

    Raises what the cache raises. The cache then has the value of before, where there is room for it.
    """
    before = load_from_cache(cache, key)
    changed = change(before)
    try:
        _insert(cache, key, changed)
    except Exception:
        if before is not None:
            with suppress(Exception):
                _insert(cache, key, before)
        raise


def _insert(cache: Any, key: str, value: Any) -> None:
    """Insert the whole value or nothing: the file of a cache on a full disk is cut, and its value of before is lost."""
    item = CacheItem(_name(key), value, STATES.lifetime)
    try:
        cache.insert(item)
    except Exception:
        with suppress(Exception):
            cache.delete(item.key)
        raise


def load_from_cache(cache: Any, key: str) -> Any:
    """None where there is no value, and where it cannot be read, as after a crash while its file was written."""
    try:
        return cache.get_value(_name(key))
    except Exception:  # unpickling raises any
        log.error("OpenAI API: a value in the Cat's cache cannot be read, the conversation goes on without it")
        return None


def is_in_cache(cache: Any, key: str) -> bool:
    """Whether there is a value, which need not be readable."""
    try:
        return cache.get_item(_name(key)) is not None
    except Exception:  # unpickling raises any
        return True


def delete_from_cache(cache: Any, key: str) -> None:
    cache.delete(_name(key))


def _name(key: str) -> str:
    """A digest, because keys contain the names of people and the Cat may make the name of a file of it."""
    return f"openai_api_{sha256(key.encode()).hexdigest()}"
