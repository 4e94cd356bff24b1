"""Work for a client, cancelled when the client closes the connection."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection before its reply was ready."""


async def cancel_on_disconnect(request: Request, work: Awaitable[T], within: float | None = None) -> T:
    """The result of `work`, which is cancelled as soon as the client is gone (`ClientGone`).

    `within`: raises TimeoutError after so many seconds, and a task given as `work` goes on. The body must have been
    read: what comes after it is the end of the connection.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_wait_for_disconnect(request))
    done: set[asyncio.Future[Any]] = {leaving}
    try:
        done, _ = await asyncio.wait([working, leaving], timeout=within, return_when=asyncio.FIRST_COMPLETED)
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


def _has_left(error: Exception) -> bool:
    """FastAPI reads the body, and makes a 400 of whatever goes wrong then."""
    return isinstance(error, (ClientGone, ClientDisconnect)) or isinstance(error.__cause__, ClientDisconnect)


async def _wait_for_disconnect(request: Request) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await request.receive()
