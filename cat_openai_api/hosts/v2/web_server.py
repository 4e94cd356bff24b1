"""WebSockets in the web server of Cheshire Cat 2, which starts it without them (`ws="none"` in `cat/main.py`)."""

import signal
import sys
from collections.abc import Callable
from typing import Any


def accept_websockets() -> Callable[[], None]:
    """Have the server accept WebSockets on connections that are opened from now on. Returns what undoes that.

    The server is uvicorn, and its `Server` is found as the owner of the handler of SIGTERM. uvicorn reads the class of
    its protocol for WebSockets from its configuration at each connection. Where another server runs the Cat, or
    this one has WebSockets already, nothing is changed.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    config: Any = getattr(server, "config", None)
    if config is None or getattr(config, "ws_protocol_class", config) is not None:
        return lambda: None
    from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol  # noqa: PLC0415 (of that server)

    module = sys.modules[__name__]
    config.ws_protocol_class = AutoWebSocketsProtocol

    def undo() -> None:
        # Where the plugin was switched on again in the meantime, WebSockets are accepted for the new one.
        if sys.modules.get(__name__, module) is module:
            config.ws_protocol_class = None

    return undo
