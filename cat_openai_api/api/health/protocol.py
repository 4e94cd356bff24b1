"""Wire model of `/health`."""

from typing import Literal

from pydantic import ConfigDict

from ...wire.models import WireReply


class Health(WireReply):
    """`status` is "degraded" while no LLM is configured, and where the plugin cannot work with its Cat. `timestamp`:
    seconds since the epoch."""

    status: Literal["healthy", "degraded"]
    plugin: str
    version: str
    timestamp: int
    features: list[str]

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "healthy",
                "plugin": "cat_openai_api",
                "version": "0.1.0",
                "timestamp": 1767225600,
                "features": ["chat.completions", "streaming"],
            }
        }
    )
