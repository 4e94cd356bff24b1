import logging
import sys
import traceback
from typing import Any

from cat.env import get_env


class Log:
    """Writes to the standard output, a line for each line of a message; errors with the traceback in hand."""

    def __init__(self) -> None:
        self._least = logging.getLevelName(get_env("CCAT_LOG_LEVEL"))

    def debug(self, msg: Any) -> None:
        self.log(msg, "DEBUG")

    def info(self, msg: Any) -> None:
        self.log(msg, "INFO")

    def warning(self, msg: Any) -> None:
        self.log(msg, "WARNING")

    def error(self, msg: Any) -> None:
        self.log(msg, "ERROR")
        if sys.exc_info()[0] is not None:
            traceback.print_exc()

    def log(self, msg: Any, level: str = "DEBUG") -> None:
        if logging.getLevelName(level) >= self._least:
            for line in str(msg).split("\n"):
                print(f"{level}:\t{line}", flush=True)


log = Log()
