"""The state of a conversation beside its messages on Cat 1.9, and the Cat's cache, where it is stored.

The state is a form that is being filled in, and what plugins put into the working memory: any Python objects. Where a
turn stops for calls of the client's functions, the output of the Cat's own tools before those calls belongs to it too.
"""

import copy
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ..collections import STATES
from ..detect import IS_CAT_1

if IS_CAT_1 or TYPE_CHECKING:
    from cat.cache.cache_item import CacheItem
    from cat.log import log

DERIVED = {"agent_input"}
"""Values that the Cat itself sets in the working memory in each turn, and that are no fields of its class."""


def state_of(memory: Any) -> dict[str, Any]:
    """A copy of what the working memory contains beside the messages.

    Raises what a plugin's value raises that cannot be copied.
    """
    state = {name: value for name, value in (memory.model_extra or {}).items() if name not in DERIVED}
    if memory.active_form is not None:
        state["active_form"] = memory.active_form
    return _copy(state, session=None)


def restore(state: dict[str, Any], memory: Any, session: Any) -> None:
    """Put a copy of the state into the working memory of a session."""
    for name, value in _copy(state, session).items():
        setattr(memory, name, value)


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


def _copy(state: dict[str, Any], session: Any) -> dict[str, Any]:
    """A deep copy, in which a form belongs to `session`: each run has a session of its own."""
    form = copy.copy(state.get("active_form"))
    if form is None:
        return copy.deepcopy(state)
    form._cat = None
    copied = copy.deepcopy({**state, "active_form": form})
    copied["active_form"]._cat = session
    return copied
