"""Work for a client that is cancelled when the client closes its connection."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection before its response was ready."""


async def cancel_on_disconnect(request: Request, work: Awaitable[T], timeout: float | None = None) -> T:
    """The result of `work`, which is cancelled as soon as the client has disconnected (raises `ClientGone`).

    `timeout`: raises TimeoutError after so many seconds; a task that was given as `work` goes on. The request's body
    must have been read before: the next message of the connection is then its end.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_wait_for_disconnect(request))
    done: set[asyncio.Future[Any]] = {leaving}
    try:
        done, _ = await asyncio.wait([working, leaving], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left = leaving in done and not working.done()
        leaving.cancel()
        if left:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
    if left:
        raise ClientGone
    if not done:
        raise TimeoutError
    return working.result()


def is_disconnect(error: Exception) -> bool:
    """Whether the client is gone. FastAPI makes an HTTPException of what is raised while it reads the body."""
    return isinstance(error, (ClientGone, ClientDisconnect)) or isinstance(error.__cause__, ClientDisconnect)


async def _wait_for_disconnect(request: Request) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await request.receive()
