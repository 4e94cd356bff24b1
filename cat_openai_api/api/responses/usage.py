"""Usage in the form of responses."""

from ...domain.usage import Usage
from .protocol import InputTokensDetails, OutputTokensDetails, ResponseUsage


def wire_usage(usage: Usage) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=usage.prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=usage.cached or 0),
        output_tokens=usage.completion,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=usage.reasoning or 0),
        total_tokens=usage.total,
    )
