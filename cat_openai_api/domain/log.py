"""Where the plugin writes its log lines: the Cat's own log."""

from collections.abc import Mapping
from typing import Any, Protocol


class Log(Protocol):
    """A `Host` is one."""

    def log_info(self, message: str) -> None: ...

    def log_error(self, message: str) -> None:
        """In an `except` block the traceback is logged too."""

    def log_request(self, request: Mapping[str, Any]) -> None:
        """One line of JSON for a request that has ended."""
