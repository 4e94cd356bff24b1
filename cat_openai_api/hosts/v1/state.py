"""What Cat 1.9 keeps beside the messages: it belongs to the conversation, which is the client's.

That is a form that is being filled in, and what plugins put into the working memory. A turn that stops for
calls of the client's functions goes on with it too, and with what the Cat's own tools said before the calls.
"""

import copy
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ..detect import IS_CAT_1

if IS_CAT_1 or TYPE_CHECKING:
    from cat.cache.cache_item import CacheItem
    from cat.log import log

DERIVED = {"agent_input"}
"""What the Cat puts into the working memory anew in each turn, beside the fields of its class."""


def state_of(memory: Any) -> dict[str, Any]:
    """A copy of what the memory holds beside the messages.

    Raises whatever a value of a plugin raises that cannot be copied.
    """
    state = {name: value for name, value in (memory.model_extra or {}).items() if name not in DERIVED}
    if memory.active_form is not None:
        state["active_form"] = memory.active_form
    return _copy(state, session=None)


def restore(state: dict[str, Any], memory: Any, session: Any) -> None:
    """Put a copy of the state into the memory of a session."""
    for name, value in _copy(state, session).items():
        setattr(memory, name, value)


def update_in(cache: Any, key: str, change: Callable[[Any], Any], seconds: float) -> None:
    """Keep in the Cat's cache what `change` makes of what is kept; -1 is for ever.

    Raises whatever the cache raises, and then has what it had before, where there is room for that.
    """
    kept = kept_in(cache, key)
    changed = change(kept)
    try:
        _keep_in(cache, key, changed, seconds)
    except Exception:
        if kept is not None:
            with suppress(Exception):
                _keep_in(cache, key, kept, seconds)
        raise


def _keep_in(cache: Any, key: str, value: Any, seconds: float) -> None:
    """All or nothing: a full disk may take half a file, and what was in the file before is lost."""
    item = CacheItem(_name(key), value, seconds)
    try:
        cache.insert(item)
    except Exception:
        with suppress(Exception):
            cache.delete(item.key)
        raise


def kept_in(cache: Any, key: str) -> Any:
    """None also where what is kept cannot be read: a Cat that was killed may have written half of it."""
    try:
        return cache.get_value(_name(key))
    except Exception:  # that of unpickling, whichever it is
        log.error("OpenAI API: what was kept cannot be read, the conversation goes on without it")
        return None


def _name(key: str) -> str:
    """The Cat may make the name of a file of it, and the names of people are in it."""
    return f"openai_api_{sha256(key.encode()).hexdigest()}"


def _copy(state: dict[str, Any], session: Any) -> dict[str, Any]:
    """A deep copy, in which a form belongs to `session`: each run has one of its own."""
    form = copy.copy(state.get("active_form"))
    if form is None:
        return copy.deepcopy(state)
    form._cat = None
    copied = copy.deepcopy({**state, "active_form": form})
    copied["active_form"]._cat = session
    return copied
