"""JSON as the form of a reply, asked for in words: for LLMs that have no field for it."""

import json

from .conversation import JsonFormat


def json_instruction(format: JsonFormat) -> str:
    """For a system message. The schema in it may have braces: a template needs them doubled."""
    if format.schema is None:
        return "Reply with one JSON object and nothing else: no code fence, no text before or after it."
    schema = json.dumps(format.schema, ensure_ascii=False, separators=(",", ":"))
    return (
        "Reply with JSON that is valid against this JSON schema and with nothing else: no code fence, no text "
        f"before or after it.\n{schema}"
    )
