"""The Prometheus metrics: names, labels and buckets. No label has a value that a client can choose."""

from ..domain.usage import Usage

TIME_TO_FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
DURATION_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
"""Upper bounds in seconds."""


class Meters:
    """All metrics of the plugin, in a registry of their own.

    The registry of the process would keep the metrics of an earlier instance after the plugin was switched off and on.
    Creating an instance raises ImportError if prometheus-client is not installed.
    """

    def __init__(self) -> None:
        from prometheus_client import (  # noqa: PLC0415  installed only where the setting is on
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
            "Requests that have ended. Outcomes: ok; refused, with a 4xx error or 503 overloaded; failed, with another "
            "error; gone, disconnected by the client before the end.",
            ["route", "outcome"],
            registry=registry,
        )
        self._refused = Counter("openai_api_refused", "Refused requests by error code.", ["code"], registry=registry)
        self._rate_limited = Counter(
            "openai_api_rate_limited", "Requests refused by the rate limit.", registry=registry
        )
        self._duration = Histogram(
            "openai_api_request_duration_seconds",
            "Time from a request to the end of its response, without refused requests.",
            ["route"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._time_to_first_token = Histogram(
            "openai_api_time_to_first_token_seconds",
            "Time from a request to the first part of its reply that can be sent.",
            buckets=TIME_TO_FIRST_TOKEN_BUCKETS,
            registry=registry,
        )
        self._tokens = Counter(
            "openai_api_tokens",
            "Tokens that the LLM reported, or that were counted for the usage in a response.",
            ["kind"],
            registry=registry,
        )
        self.streams_open = Gauge("openai_api_streams_open", "Streams that are open.", registry=registry)

    def count_request(
        self,
        *,
        route: str,
        outcome: str,
        code: str,
        seconds: float,
        time_to_first_token: float | None,
        usage: Usage | None,
    ) -> None:
        """Count a request that has ended.

        `code`: of its error; ignored unless the outcome is "refused". `seconds`: from the request to the end of its
        response.
        """
        self._requests.labels(route, outcome).inc()
        if outcome == "refused":
            self._refused.labels(code).inc()
            if code == "rate_limit_exceeded":
                self._rate_limited.inc()
        else:
            self._duration.labels(route).observe(seconds)
        if time_to_first_token is not None:
            self._time_to_first_token.observe(time_to_first_token)
        if usage is not None:
            self._tokens.labels("prompt").inc(usage.prompt)
            self._tokens.labels("completion").inc(usage.completion)

    def exposition(self) -> tuple[bytes, str]:
        """All metrics in Prometheus' text format, and its content type."""
        return self._generate(self._registry), self._content_type
