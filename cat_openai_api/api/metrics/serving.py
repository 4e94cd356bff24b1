"""Serving the metrics."""

from typing import TYPE_CHECKING

from ...errors import MetricsOff
from ...runtime import runtime
from ...telemetry.meters import Meters

if TYPE_CHECKING:
    from ....settings import Settings


async def current_meters(settings: "Settings") -> Meters:
    """Raises `MetricsOff` or `MetricsUnavailable`."""
    if not settings.metrics:
        raise MetricsOff
    return await runtime.metrics.wait_until_ready()
