"""The interface of the log that the plugin writes to, which is the Cat's own."""

from collections.abc import Mapping
from typing import Any, Protocol


class Log(Protocol):
    """Implemented by `Host`. A `message` is one line."""

    def log_info(self, message: str) -> None: ...

    def log_warning(self, message: str) -> None: ...

    def log_error(self, message: str) -> None:
        """Log an error. Called in an `except` block, the traceback is logged as well."""

    def log_request(self, request: Mapping[str, Any]) -> None:
        """Log a request that has ended, as one line of JSON. `request`: a JSON object."""
