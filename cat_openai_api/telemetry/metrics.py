"""Switching the metrics on and off."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..domain.log import Log
from ..errors import MetricsUnavailable
from ..packages import ensure_installed
from .meters import Meters

if TYPE_CHECKING:
    from ...settings import Settings

REQUIREMENT = "prometheus-client>=0.17,<1"

INSTALL_TIMEOUT = 5.0
"""Seconds that a request for the metrics waits while prometheus-client is installed. Prometheus waits ten seconds."""

RETRY_INTERVAL = 300.0
"""Seconds between two attempts to install prometheus-client."""


class Metrics:
    """The metrics while the setting `metrics` is on.

    `meters`: None while the setting is off and until prometheus-client is installed.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.meters: Meters | None = None
        self._starting: asyncio.Task[None] | None = None
        self._next_attempt = 0.0

    def apply(self, settings: "Settings") -> None:
        """Start or stop counting. To be called with the settings of each request; does not block.

        If prometheus-client is missing, it is installed in the background.
        """
        if not settings.metrics:
            self.meters, self._starting, self._next_attempt = None, None, 0.0
        elif self.meters is None and self._starting is None and time.monotonic() >= self._next_attempt:
            self._starting = asyncio.ensure_future(self._start())

    async def _start(self) -> None:
        meters, problem = None, ""
        try:
            meters = await asyncio.to_thread(_create_meters)
        except Exception as error:  # also what the import raises: the API works without metrics
            problem = f"{type(error).__name__}: {error}"
        if self._starting is not asyncio.current_task():
            return  # the setting was switched off in the meantime
        self.meters, self._starting = meters, None
        if meters is None:
            self._next_attempt = time.monotonic() + RETRY_INTERVAL
            self._log.log_error(f"OpenAI API: the package {REQUIREMENT} for metrics cannot be installed: {problem}")

    @contextmanager
    def open_stream(self) -> Iterator[None]:
        """Count a stream as open within the `with` block."""
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

    async def wait_until_ready(self) -> Meters:
        """The meters, after waiting up to `INSTALL_TIMEOUT` for prometheus-client. Raises `MetricsUnavailable`."""
        if self._starting is not None:
            await asyncio.wait([self._starting], timeout=INSTALL_TIMEOUT)
        if self.meters is not None:
            return self.meters
        if self._starting is not None:
            raise MetricsUnavailable(
                "The package prometheus-client, which metrics need, is being installed. Try again in a moment.",
                headers={"Retry-After": f"{INSTALL_TIMEOUT:.0f}"},
            )
        raise MetricsUnavailable(
            "The package prometheus-client, which metrics need, cannot be installed. The Cat's log has the details. "
            f'Run `pip install "{REQUIREMENT}"` in the Cat\'s environment, then switch the setting off and on.'
        )


def _create_meters() -> Meters:
    ensure_installed("prometheus_client", REQUIREMENT)
    return Meters()
