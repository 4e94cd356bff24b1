"""Whether requests are counted, and where the counts are."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..domain.log import Log
from ..errors import MetricsUnavailable
from ..packages import ensure
from .meters import Meters

if TYPE_CHECKING:
    from ...settings import Settings

REQUIREMENT = "prometheus-client>=0.17,<1"

INSTALL_TIMEOUT = 5.0
"""Seconds that a response waits for the package to be installed. Prometheus itself gives up after ten."""

RETRY_SECONDS = 300.0
"""Between two attempts to install it."""


class Metrics:
    """`meters` is None while the setting is off, and until prometheus-client is there."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.meters: Meters | None = None
        self._starting: asyncio.Task[None] | None = None
        self._next_attempt = 0.0

    def apply(self, settings: "Settings") -> None:
        """Start or stop counting. Call it with the settings of each request; it never waits.

        Where prometheus-client is missing, its installation begins beside the request.
        """
        if not settings.metrics:
            self.meters, self._starting, self._next_attempt = None, None, 0.0
        elif self.meters is None and self._starting is None and time.monotonic() >= self._next_attempt:
            self._starting = asyncio.ensure_future(self._start())

    async def _start(self) -> None:
        meters, problem = None, ""
        try:
            meters = await asyncio.to_thread(_installed_meters)
        except Exception as error:  # whatever a package may raise: the API goes on without it
            problem = f"{type(error).__name__}: {error}"
        if self._starting is not asyncio.current_task():
            return  # switched off in the meantime
        self.meters, self._starting = meters, None
        if meters is None:
            self._next_attempt = time.monotonic() + RETRY_SECONDS
            self._log.log_error(f"OpenAI API: no metrics without the package {REQUIREMENT}: {problem}")

    @contextmanager
    def open_stream(self) -> Iterator[None]:
        """Counts a stream as open within the `with` block."""
        meters = self.meters
        if meters is not None:
            meters.streams_open.inc()
        try:
            yield
        finally:
            if meters is not None:
                meters.streams_open.dec()

    async def close(self) -> None:
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)

    async def ready(self) -> Meters:
        """Raises `MetricsUnavailable`."""
        if self._starting is not None:
            await asyncio.wait([self._starting], timeout=INSTALL_TIMEOUT)
        if self.meters is not None:
            return self.meters
        if self._starting is not None:
            raise MetricsUnavailable(
                "Metrics need the package prometheus-client, which is being installed. Try again in a moment.",
                headers={"Retry-After": f"{INSTALL_TIMEOUT:.0f}"},
            )
        raise MetricsUnavailable(
            "Metrics need the package prometheus-client, which is missing and cannot be installed: see the Cat's "
            f'log. Run `pip install "{REQUIREMENT}"` in its environment, then switch metrics off and on.'
        )


def _installed_meters() -> Meters:
    ensure("prometheus_client", REQUIREMENT)
    return Meters()
