"""Message parts, tool calls and usage in the wire format of OpenAI's chat completions, for LLMs that speak it."""

import json
from collections.abc import Mapping
from typing import Any

from ...domain.conversation import Audio, File, Image, Part, ToolCall
from ...domain.usage import Usage


def wire_part(part: Part) -> dict[str, Any]:
    """An item of a message's `content`."""
    if isinstance(part, Image):
        detail = {"detail": part.detail} if part.detail else {}
        return {"type": "image_url", "image_url": {"url": part.url, **detail}}
    if isinstance(part, Audio):
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
    if isinstance(part, File):
        name = {"filename": part.name} if part.name else {}
        return {"type": "file", "file": {"file_data": part.data, **name}}
    return {"type": "text", "text": part}


def wire_call(call: ToolCall) -> dict[str, Any]:
    """An item of an assistant message's `tool_calls`."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def parse_arguments(arguments: str) -> dict[str, Any] | None:
    """The arguments of a tool call; None if they are no JSON object."""
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def parse_usage(usage: Mapping[str, Any]) -> Usage | None:
    """The field `usage` of a completion; None if it has no token counts."""
    prompt, completion, total = (usage.get(f"{name}_tokens") for name in ("prompt", "completion", "total"))
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    return Usage(
        prompt,
        completion,
        total if isinstance(total, int) else prompt + completion,
        (usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
        (usage.get("completion_tokens_details") or {}).get("reasoning_tokens"),
    )
