"""What Prometheus reads: names, labels and buckets. No label has a value that a client makes up."""

from ..domain.usage import Usage

FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
DURATION_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
"""In seconds."""


class Meters:
    """All numbers of this plugin, from zero on, in a registry of their own: the process-wide one would still hold
    those of before the plugin was switched off and on. Raises ImportError."""

    def __init__(self) -> None:
        from prometheus_client import (  # noqa: PLC0415  it is there only where metrics are wanted
            CONTENT_TYPE_LATEST,
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            generate_latest,
        )

        self._content_type = CONTENT_TYPE_LATEST
        self._generate = generate_latest
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "openai_api_requests",
            "Requests that have ended. Outcomes: ok; refused, before the Cat was asked; failed; gone, the client "
            "left before the end.",
            ["route", "outcome"],
            registry=registry,
        )
        self._refused = Counter(
            "openai_api_refused", "Refused requests by the code of their error.", ["code"], registry=registry
        )
        self._rate_limited = Counter(
            "openai_api_rate_limited", "Requests refused by the rate limit.", registry=registry
        )
        self._duration = Histogram(
            "openai_api_request_duration_seconds",
            "From a request to the end of its reply, refused ones left out.",
            ["route"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._first_token = Histogram(
            "openai_api_time_to_first_token_seconds",
            "From a request to the first of its reply that the client may have.",
            buckets=FIRST_TOKEN_BUCKETS,
            registry=registry,
        )
        self._tokens = Counter(
            "openai_api_tokens",
            "Tokens, where the LLM reported them or the reply had to tell them.",
            ["kind"],
            registry=registry,
        )
        self.streams_open = Gauge("openai_api_streams_open", "Streams that are being sent.", registry=registry)

    def count(
        self,
        *,
        route: str,
        outcome: str,
        code: str,
        seconds: float,
        time_to_first_token: float | None,
        usage: Usage | None,
    ) -> None:
        """Count a request that has ended; `code`: of its error, if any."""
        self._requests.labels(route, outcome).inc()
        if outcome == "refused":
            self._refused.labels(code).inc()
            if code == "rate_limit_exceeded":
                self._rate_limited.inc()
        else:
            self._duration.labels(route).observe(seconds)
        if time_to_first_token is not None:
            self._first_token.observe(time_to_first_token)
        if usage is not None:
            self._tokens.labels("prompt").inc(usage.prompt)
            self._tokens.labels("completion").inc(usage.completion)

    def exposition(self) -> tuple[bytes, str]:
        """All of it in Prometheus' text format, and its content type."""
        return self._generate(self._registry), self._content_type
