"""The usage object of chat completions and completions."""

from ..domain.usage import Usage
from .json import JsonObject
from .models import WireReply


class PromptTokensDetails(WireReply):
    cached_tokens: int


class CompletionTokensDetails(WireReply):
    reasoning_tokens: int


class CompletionUsage(WireReply):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None

    @classmethod
    def from_usage(cls, usage: Usage) -> "CompletionUsage":
        cached, reasoning = usage.cached, usage.reasoning
        return cls(
            prompt_tokens=usage.prompt,
            completion_tokens=usage.completion,
            total_tokens=usage.total,
            prompt_tokens_details=None if cached is None else PromptTokensDetails(cached_tokens=cached),
            completion_tokens_details=None
            if reasoning is None
            else CompletionTokensDetails(reasoning_tokens=reasoning),
        )

    def wire(self) -> JsonObject:
        """Without the details that the LLM did not report."""
        return self.model_dump(exclude_none=True)
