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


def confine_vector_memory() -> None:
    """Have the Cat's embedded vector database used in one thread only, by the Cat's own chat too.

    It is not made for threads: two chats at once break it, for all users, until the Cat is started again. A lock
    would do, but a search takes room for several copies of all vectors, and glibc keeps such room for each of many
    threads: with 1,000 texts and nine chats at once some 180 MiB, for good.

    The host has one client of that database for as long as it runs, and so the guard stays when the plugin is
    switched off: runs that are under way still need it, and the same one as those that begin when it is on again.
    A database on a server is left alone.
    """
    vectors = CheshireCat().memory.vectors
    client = vectors.local_vector_db
    if client is None or client is not vectors.vector_db or "upsert" in vars(client):
        return
    thread = ThreadPoolExecutor(1, thread_name_prefix=THREAD)
    for name, _ in getmembers(type(client), isfunction):
        # It is closed when the interpreter ends, and no thread can be asked then.
        if not name.startswith("_") and name != "close":
            setattr(client, name, _in_thread(thread, getattr(client, name)))


def _in_thread(thread: ThreadPoolExecutor, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        if current_thread().name.startswith(THREAD):
            return method(*args, **kwargs)
        return thread.submit(method, *args, **kwargs).result()

    return call
