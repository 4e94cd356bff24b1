"""Cancelling the work for a request when its client closes the connection."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

T = TypeVar("T")


class ClientDisconnected(Exception):
    """The client closed the connection before its response was ready."""


class Interrupted(Exception):
    """Work was cancelled, see `cancel_when`."""


async def cancel_when(stop: "asyncio.Future[Any]", work: Awaitable[T]) -> T:
    """Await `work` and return its result; cancel it when `stop` is done.

    What the caller does after that, such as releasing what the work needed, is not cancelled. Raises `Interrupted`, and
    what `work` raises.
    """
    task = asyncio.ensure_future(work)
    waiting: list[asyncio.Future[Any]] = [task, stop]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if task.cancelled():
        raise Interrupted
    return task.result()


async def cancel_on_disconnect(request: Request, work: Awaitable[T], timeout: float | None = None) -> T:
    """Await `work` and return its result. Raises `ClientDisconnected` and what `work` raises.

    If the client disconnects first, `work` is cancelled. After `timeout` seconds TimeoutError is raised; a task that
    was passed as `work` goes on then. The body of the request must have been read before.
    """
    task = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(_wait_for_disconnect(request))
    # The value of `done` if this coroutine is cancelled: the work is cancelled as well then.
    done: set[asyncio.Future[Any]] = {disconnect}
    try:
        done, _ = await asyncio.wait([task, disconnect], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        is_disconnected = disconnect in done and not task.done()
        disconnect.cancel()
        if is_disconnected:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    if is_disconnected:
        raise ClientDisconnected
    if not done:
        raise TimeoutError
    return task.result()


def is_disconnect(error: Exception) -> bool:
    """Whether `error` means that the client has disconnected.

    FastAPI wraps errors that are raised while it reads the body in an HTTPException.
    """
    return isinstance(error, (ClientDisconnected, ClientDisconnect)) or isinstance(error.__cause__, ClientDisconnect)


async def _wait_for_disconnect(request: Request) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await request.receive()
