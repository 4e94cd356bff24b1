"""Cheshire Cat 1.9's vector memory, which many runs use at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from inspect import getmembers, isfunction
from threading import current_thread
from typing import TYPE_CHECKING, Any

from ..detect import IS_CAT_1

if IS_CAT_1 or TYPE_CHECKING:
    from cat.looking_glass.cheshire_cat import CheshireCat

THREAD = "openai-api-memory"
"""Beginning of the name of the thread in which the vector database is used."""


def confine_vector_memory() -> None:
    """Have the Cat's embedded vector database used in one thread only, by the Cat's own chat too.

    The database is not made for threads: two chats at once break it, for all users, until the Cat is started again.
    A lock would prevent that as well. But a search allocates several copies of all vectors, and glibc keeps that
    memory for each of many threads: with 1,000 texts and nine chats at once some 180 MiB, for good.

    The host has one client of the database for as long as it runs. Its methods stay wrapped when the plugin is
    switched off: runs that are under way still need that, and need the same thread as runs that begin when the plugin
    is on again. A database on a server is left alone.
    """
    vectors = CheshireCat().memory.vectors
    client = vectors.local_vector_db
    if client is None or client is not vectors.vector_db or "upsert" in vars(client):
        return
    thread = ThreadPoolExecutor(1, thread_name_prefix=THREAD)
    for name, _ in getmembers(type(client), isfunction):
        # `close` is called when the interpreter ends; an executor takes no calls then.
        if not name.startswith("_") and name != "close":
            setattr(client, name, _in_thread(thread, getattr(client, name)))


def forget(user_id: str) -> int:
    """Delete what the Cat remembers of a user's words. Returns how many memories. Raises what the database raises."""
    confine_vector_memory()
    episodic = CheshireCat().memory.vectors.collections["episodic"]
    of_user = {"source": user_id}
    selected = episodic._qdrant_filter_from_dict(of_user)
    count = episodic.client.count(episodic.collection_name, selected, exact=True).count
    if count:
        episodic.delete_points_by_metadata_filter(of_user)
    return int(count)


def _in_thread(thread: ThreadPoolExecutor, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        if current_thread().name.startswith(THREAD):
            return method(*args, **kwargs)
        return thread.submit(method, *args, **kwargs).result()

    return call
