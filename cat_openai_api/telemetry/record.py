"""What is told of a request to one of the POST routes when it has ended: a line of the log, and numbers while they
are wanted. Nothing of it runs for a token, and nothing of it repeats what a person said, or who.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..domain.usage import Usage
from ..errors import ApiError, Overloaded
from ..hosts.current import host
from .metrics import metrics

if TYPE_CHECKING:
    from ...settings import Settings
    from ..generation.reply import Reply

CLIENT_GONE = 499
"""nginx's status for a client that left: nobody is there to read it, it is for logs."""

Outcome: TypeAlias = Literal["ok", "refused", "failed", "gone"]


class RequestRecord:
    """One request, as far as it is known.

    `model`: the Cat's id of it, not the client's name. `error`: the one that the client gets, in whichever way.
    `is_cancelled`: ended on purpose, by another request.
    `usage`: None where it is not known and nobody asked for it. `debug`: whether `path` is told too, what is no
    more than lengths and names of parts, and the error with its message.
    """

    def __init__(self, request_id: str, route: str) -> None:
        self.model: str | None = None
        self.stream: bool | None = None
        self.usage: Usage | None = None
        self.error: ApiError | None = None
        self.is_cancelled = False
        self.debug = False
        self.path: dict[str, Any] = {}
        self._request_id = request_id
        self._route = route
        self._began = time.monotonic()
        self._time_to_first_token: float | None = None
        self._finish_reason: str | None = None

    def follow(self, settings: "Settings") -> None:
        """Tell what the settings want."""
        self.debug = settings.debug_mode
        metrics.follow(settings)

    def take(self, reply: "Reply") -> None:
        """What a reply that was closed tells of itself."""
        self._finish_reason = reply.finish_reason
        self.usage = self.usage or reply.end.usage
        if reply.time_to_first_token is not None and self._time_to_first_token is None:
            before = self._age() - reply.age()
            self._time_to_first_token = round(max(0.0, before) + reply.time_to_first_token, 3)

    @contextmanager
    def of_stream(self, status: int) -> Iterator[None]:
        """While the stream is being sent; with it the request has ended."""
        meters = metrics.meters
        if meters is not None:
            meters.streams_open.inc()
        try:
            yield
        finally:
            if meters is not None:
                meters.streams_open.dec()
            self.end(status)

    def end(self, status: int) -> None:
        """Tell it: once, with the status that the client got."""
        outcome, seconds = self._outcome(status), round(self._age(), 3)
        code = self.error.reply.error.code if self.error else None
        if metrics.meters is not None:
            metrics.meters.count(
                route=self._route,
                outcome=outcome,
                code=str(code),
                seconds=seconds,
                time_to_first_token=self._time_to_first_token,
                usage=self.usage,
            )
        line = {
            "request": self._request_id,
            "route": self._route,
            "status": status,
            "outcome": outcome,
            "code": code,
            "model": self.model,
            "stream": self.stream,
            "seconds_to_first_words": self._time_to_first_token,
            "seconds": seconds,
            "usage": self.usage and _tokens(self.usage),
            "finish_reason": self._finish_reason,
        }
        if self.debug:
            line |= self.path | (self.error.body() if self.error else {})
        host.log_request({name: value for name, value in line.items() if value is not None})

    def _outcome(self, status: int) -> Outcome:
        if self.error is not None:
            is_refused = self.error.status < 500 or isinstance(self.error, Overloaded)
            return "refused" if is_refused else "failed"
        was_left = self.stream and self._finish_reason is None and not self.is_cancelled
        return "gone" if status == CLIENT_GONE or was_left else "ok"

    def _age(self) -> float:
        return time.monotonic() - self._began


def _tokens(usage: Usage) -> dict[str, int]:
    tokens = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
    }
    return {name: count for name, count in tokens.items() if count is not None}
