"""Serving the health of the plugin."""

import json
import time
from pathlib import Path

from ...runtime import runtime
from .protocol import Health

PLUGIN = "cat_openai_api"
VERSION: str = json.loads((Path(__file__).parents[3] / "plugin.json").read_text("utf-8"))["version"]
FEATURES = [
    "chat.completions",
    "completions",
    "embeddings",
    "function_calling",
    "images",
    "keys",
    "message",
    "models",
    "rate_limiting",
    "responses",
    "responses.background",
    "responses.websocket",
    "streaming",
    "structured_output",
    "usage",
]


async def current_health() -> Health:
    is_healthy = runtime.host.problem is None and await runtime.host.has_llm()
    return Health(
        status="healthy" if is_healthy else "degraded",
        plugin=PLUGIN,
        version=VERSION,
        timestamp=int(time.time()),
        features=FEATURES,
    )
