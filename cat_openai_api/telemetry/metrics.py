"""Whether requests are counted, and where the counts are."""

import asyncio
import time
from typing import TYPE_CHECKING

from ..errors import MetricsUnavailable
from ..hosts.current import host
from ..packages import ensure
from .meters import Meters

if TYPE_CHECKING:
    from ...settings import Settings

REQUIREMENT = "prometheus-client>=0.17,<1"

FIRST_EVENT_TIMEOUT = 5.0
"""How long a reply waits for the package to be installed. Prometheus itself gives up after ten seconds."""

RETRY_SECONDS = 300.0
"""Between two attempts to install it."""


class Metrics:
    """`meters` is None while nothing is counted."""

    def __init__(self) -> None:
        self.meters: Meters | None = None
        self._starting: asyncio.Task[None] | None = None
        self._next_attempt = 0.0

    def follow(self, settings: "Settings") -> None:
        """Count, or do not: called with the settings of each request, returns at once. Counting begins when the
        package for it is there."""
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
            host.log_error(f"OpenAI API: no metrics without the package {REQUIREMENT}: {problem}")

    async def ready(self) -> Meters:
        """Raises `MetricsUnavailable`."""
        if self._starting is not None:
            await asyncio.wait([self._starting], timeout=FIRST_EVENT_TIMEOUT)
        if self.meters is not None:
            return self.meters
        if self._starting is not None:
            raise MetricsUnavailable(
                "Metrics need the package prometheus-client, which is being installed. Try again in a moment.",
                headers={"Retry-After": f"{FIRST_EVENT_TIMEOUT:.0f}"},
            )
        raise MetricsUnavailable(
            "Metrics need the package prometheus-client, which is missing and cannot be installed: see the Cat's "
            f'log. Run `pip install "{REQUIREMENT}"` in its environment, then switch metrics off and on.'
        )


def _installed_meters() -> Meters:
    ensure("prometheus_client", REQUIREMENT)
    return Meters()


metrics = Metrics()
