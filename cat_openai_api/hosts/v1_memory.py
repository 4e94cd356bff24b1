"""Cheshire Cat 1.9's vector memory, which many runs use at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from .detect import IS_CAT_1

if IS_CAT_1 or TYPE_CHECKING:
    from cat.looking_glass.cheshire_cat import CheshireCat

GUARDED = (
    "add_point",
    "recall_memories_from_embedding",
    "get_points",
    "get_all_points",
    "delete_points",
    "delete_points_by_metadata_filter",
)
"""Methods of the vector memory's collections that use its database."""

_here = threading.local()

_memory_thread = ThreadPoolExecutor(1, "openai-api-memory", lambda: setattr(_here, "is_memory_thread", True))


def guard_memory() -> None:
    """Have the Cat's embedded memory used by one thread only, for the Cat's own chat too.

    The embedded vector database is not made for threads: two chats at once break it, for all users, until the
    Cat is started again. A lock would do, but a search takes room for several copies of all vectors, and glibc
    keeps such room for each of many threads: with 1,000 texts and nine chats at once some 180 MiB, for good.

    A database on a server is left alone. The collections are new ones after the embedder was changed, so each run
    looks. The guard stays when the plugin is switched off: runs that are under way then still need it, and the
    same one as those that begin when it is on again.
    """
    for collection in CheshireCat().memory.vectors.collections.values():
        if collection.db_is_remote():
            continue
        for name in GUARDED:
            if name not in vars(collection) and hasattr(collection, name):
                setattr(collection, name, _in_memory_thread(getattr(collection, name)))


def _in_memory_thread(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if getattr(_here, "is_memory_thread", False):
            return method(*args, **kwargs)
        return _memory_thread.submit(method, *args, **kwargs).result()

    return call
