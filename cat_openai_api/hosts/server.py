"""The web server that the Cat runs in."""

import signal
from collections.abc import Awaitable, Callable


def when_server_stops(close: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Have `close` awaited when the server has ended its last request and is about to stop. Returns what undoes that.

    Neither Cat has a hook for that, and FastAPI has entered the Cat's lifespan before it loads plugins. uvicorn from
    0.29 repeats the signal that stopped it before its event loop ends, so that SIGTERM kills the process with whatever
    its tasks would still do. Before that it awaits the method `shutdown` of its lifespan. Where the owner of the
    handler of SIGTERM is no such server, nothing happens here: older ones end their event loop, which cancels tasks.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    lifespan = getattr(server, "lifespan", None)
    original = getattr(lifespan, "shutdown", None)
    if lifespan is None or original is None:
        return lambda: None

    async def shutdown() -> None:
        await close()
        await original()

    def undo() -> None:
        if vars(lifespan).get("shutdown") is shutdown:
            del lifespan.shutdown

    lifespan.shutdown = shutdown
    return undo
