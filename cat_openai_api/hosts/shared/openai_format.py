"""OpenAI's form: of parts and calls on their way to an LLM that speaks it, and of what it reports."""

import json
from collections.abc import Mapping
from typing import Any

from ...domain.conversation import Audio, File, Image, Part, ToolCall
from ...domain.usage import Usage


def wire_part(part: Part) -> dict[str, Any]:
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
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def args_of(arguments: str) -> dict[str, Any] | None:
    """A call's arguments, or None where they are no JSON object."""
    try:
        args = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return args if isinstance(args, dict) else None


def usage_of(usage: Mapping[str, Any]) -> Usage | None:
    """None where there are no numbers in it."""
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
