"""The instruction that asks an LLM for a reply in JSON, for LLMs without a parameter for it."""

import json

from .conversation import JsonFormat


def json_instruction(format: JsonFormat) -> str:
    """A text for a system message. It may contain braces, which have to be doubled in a prompt template."""
    if format.schema is None:
        return "Reply with one JSON object and nothing else: no code fence, no text before or after it."
    schema = json.dumps(format.schema, ensure_ascii=False, separators=(",", ":"))
    return (
        "Reply with JSON that is valid against this JSON schema and with nothing else: no code fence, no text "
        f"before or after it.\n{schema}"
    )
