"""The record of one request, from which its log line is written and its metrics and tokens are counted.

It contains no texts of the request or the reply. What identifies a person or a key is neither in the log line nor in
the metrics. It is not updated per token.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from ..domain.events import FinishReason
from ..domain.log import Log
from ..domain.model_ids import EMBEDDER_MODEL
from ..domain.people import Person
from ..domain.usage import Usage, UsageKind, UsageLabels
from ..errors import ApiError, Overloaded
from ..wire.json import JsonObject
from ..wire.models import MAX_NAME_LENGTH
from .meters import Meters

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a request whose client closed the connection. It is used in the log only."""

Outcome: TypeAlias = Literal["ok", "refused", "failed", "gone"]


class RequestRecord:
    """The record of one request. Attributes are None until they are known.

    `request_id`: the value of the header `x-request-id`. `route`: its path. `began`: in seconds since the epoch.
    `model`: the Cat's id, not the client's name for it. `person`: whom the request is for. `key_id`: of the `Caller`.
    `status`: of the response. `stream`: whether the client requested a stream. `usage`: of all generations that have
    begun, also of those that failed or whose client left: as the LLM reported it, else counted. `error`: the error that
    the client got, as a response or in a stream. `left_out_tools`: names of the client's tools that the LLM is not
    offered. `is_cancelled`: whether another request cancelled this one. `debug`: whether `details` and the error are
    logged; `details` has lengths and names, no texts.
    """

    def __init__(self, request_id: str, route: str) -> None:
        self.request_id = request_id
        self.route = route
        self.model: str | None = None
        self.person: Person | None = None
        self.key_id = ""
        self.status: int | None = None
        self.stream: bool | None = None
        self.usage: Usage | None = None
        self.error: ApiError | None = None
        self.left_out_tools: Sequence[str] = ()
        self.began = time.time()
        self.is_cancelled = False
        self.is_background = False
        self.debug = False
        self.details: JsonObject = {}
        self._started = time.monotonic()
        self._time_to_first_token: float | None = None
        self._finish_reason: FinishReason | None = None

    def add_generation(
        self, finish_reason: FinishReason | None, usage: Usage | None, first_token_at: float | None
    ) -> None:
        """Add a generation that was closed. `usage`: None if nothing was used.

        `first_token_at`: by `time.monotonic`.
        """
        self._finish_reason = finish_reason
        if usage is not None:
            self.usage = usage if self.usage is None else self.usage + usage
        if first_token_at is not None and self._time_to_first_token is None:
            self._time_to_first_token = round(first_token_at - self._started, 3)

    def end(self, log: Log, meters: Meters | None) -> None:
        """Write the log line and count the request. To be called once, when the request has ended."""
        status = self.status or CLIENT_CLOSED_REQUEST
        outcome, seconds = self._outcome(status), round(time.monotonic() - self._started, 3)
        code = self.error.reply.error.code if self.error else None
        if meters is not None:
            meters.count_request(
                route=self.route,
                outcome=outcome,
                code=str(code),
                seconds=seconds,
                time_to_first_token=self._time_to_first_token,
                usage=self.usage,
            )
        line: JsonObject = {
            "request": self.request_id,
            "route": self.route,
            "status": status,
            "outcome": outcome,
            "code": code,
            "model": self.model,
            "stream": self.stream,
            "left_out_tools": self.left_out_tools or None,
            "background": self.is_background or None,
            "time_to_first_token": self._time_to_first_token,
            "seconds": seconds,
            "usage": self.usage and _usage_fields(self.usage),
            "finish_reason": self._finish_reason,
        }
        if self.debug:
            line |= self.details | (self.error.body() if self.error else {})
        log.log_request({name: value for name, value in line.items() if value is not None})

    def usage_labels(self) -> UsageLabels | None:
        """By what the usage of the request is counted; None where nobody's or no model's was used."""
        if self.person is None or self.model is None:
            return None
        kind: UsageKind = "embeddings" if self.model == EMBEDDER_MODEL else "completions"
        return UsageLabels(kind, self.key_id, self.person.key, self.person.name[:MAX_NAME_LENGTH], self.model)

    def _outcome(self, status: int) -> Outcome:
        if self.error is not None:
            is_refused = self.error.status < 500 or isinstance(self.error, Overloaded)
            return "refused" if is_refused else "failed"
        is_aborted = self.stream and self._finish_reason is None and not self.is_cancelled
        return "gone" if status == CLIENT_CLOSED_REQUEST or is_aborted else "ok"


def _usage_fields(usage: Usage) -> Mapping[str, int]:
    fields = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
    }
    return {name: count for name, count in fields.items() if count is not None}
