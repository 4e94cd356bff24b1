"""What is known of one request: a line of the log when it has ended, and numbers for the metrics.

Nothing here runs for each token, and nothing of it repeats what a person said, or who the person is.
"""

import time
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from ..domain.events import FinishReason
from ..domain.log import Log
from ..domain.usage import Usage
from ..errors import ApiError, Overloaded
from .meters import Meters

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that closed the connection: nobody reads it, it is for logs."""

Outcome: TypeAlias = Literal["ok", "refused", "failed", "gone"]


class RequestRecord:
    """One request, as far as it is known.

    `model`: the Cat's id of it, not the client's name. `status`: of the response, once it has begun. `stream`:
    whether the client asked for a stream. `usage`: None where it is not known and nobody asked for it. `error`: the
    one that the client gets, as a response or in a stream. `is_cancelled`: another request ended this one on purpose.
    `debug`: whether `details` (lengths and names, no texts) and the error's message go into the log too.
    """

    def __init__(self, request_id: str, route: str) -> None:
        self.request_id = request_id
        self.route = route
        self.model: str | None = None
        self.status: int | None = None
        self.stream: bool | None = None
        self.usage: Usage | None = None
        self.error: ApiError | None = None
        self.is_cancelled = False
        self.debug = False
        self.details: dict[str, Any] = {}
        self._started = time.monotonic()
        self._time_to_first_token: float | None = None
        self._finish_reason: FinishReason | None = None

    def add_generation(
        self, finish_reason: FinishReason | None, usage: Usage | None, first_token_at: float | None
    ) -> None:
        """Note a generation that was closed. `first_token_at`: by `time.monotonic`."""
        self._finish_reason = finish_reason
        self.usage = self.usage or usage
        if first_token_at is not None and self._time_to_first_token is None:
            self._time_to_first_token = round(first_token_at - self._started, 3)

    def end(self, log: Log, meters: Meters | None) -> None:
        """Write the line of the log and count the request. Call it once, when the request has ended."""
        status = self.status or CLIENT_CLOSED_REQUEST
        outcome, seconds = self._outcome(status), round(time.monotonic() - self._started, 3)
        code = self.error.reply.error.code if self.error else None
        if meters is not None:
            meters.count(
                route=self.route,
                outcome=outcome,
                code=str(code),
                seconds=seconds,
                time_to_first_token=self._time_to_first_token,
                usage=self.usage,
            )
        line: dict[str, Any] = {
            "request": self.request_id,
            "route": self.route,
            "status": status,
            "outcome": outcome,
            "code": code,
            "model": self.model,
            "stream": self.stream,
            "time_to_first_token": self._time_to_first_token,
            "seconds": seconds,
            "usage": self.usage and _tokens(self.usage),
            "finish_reason": self._finish_reason,
        }
        if self.debug:
            line |= self.details | (self.error.body() if self.error else {})
        log.log_request({name: value for name, value in line.items() if value is not None})

    def _outcome(self, status: int) -> Outcome:
        if self.error is not None:
            is_refused = self.error.status < 500 or isinstance(self.error, Overloaded)
            return "refused" if is_refused else "failed"
        was_left = self.stream and self._finish_reason is None and not self.is_cancelled
        return "gone" if status == CLIENT_CLOSED_REQUEST or was_left else "ok"


def _tokens(usage: Usage) -> Mapping[str, int]:
    tokens = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
    }
    return {name: count for name, count in tokens.items() if count is not None}
