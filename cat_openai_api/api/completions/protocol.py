"""Wire models of `/v1/completions` (OpenAI API reference, "Completions", the older API).

Names, defaults and limits are OpenAI's.
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, PlainValidator, WithJsonSchema

from ...tokens.text_input import JSON_SCHEMA, TextOrTokens, parse_texts
from ...wire.json import JsonObject
from ...wire.models import WireReply
from ...wire.parameters import CompletionParameters, SingleChoice, Unsupported
from ...wire.usage import CompletionUsage

MAX_PROMPTS = 16
"""OpenAI gives no limit. Each prompt is a run of the Cat, one after the other."""

FinishReason: TypeAlias = Literal["stop", "length", "content_filter"]


def _parse_prompts(value: Any) -> list[TextOrTokens]:
    return parse_texts(value, MAX_PROMPTS)


class CompletionRequest(CompletionParameters):
    prompt: Annotated[list[TextOrTokens], PlainValidator(_parse_prompts), WithJsonSchema(JSON_SCHEMA)]
    best_of: SingleChoice | None = None
    echo: Unsupported = None
    logprobs: Unsupported = None
    suffix: Unsupported = None

    model_config = ConfigDict(json_schema_extra={"example": {"model": "cheshire-cat", "prompt": "Who are you?"}})


class Choice(WireReply):
    text: str
    index: int
    logprobs: None = None
    finish_reason: FinishReason | None


class Completion(WireReply):
    """The response without a stream. `created`: seconds since the epoch. `choices`: one for each prompt, in order."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    system_fingerprint: str | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "cmpl-7f0f3a",
                "object": "text_completion",
                "created": 1767225600,
                "model": "cheshire-cat",
                "choices": [{"text": "A cat without a grin.", "index": 0, "logprobs": None, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 11, "completion_tokens": 6, "total_tokens": 17},
            }
        }
    )

    def wire(self) -> JsonObject:
        """Without the null fields that OpenAI leaves out."""
        data = {**self.model_dump(), "usage": self.usage.wire()}
        if self.system_fingerprint is None:
            del data["system_fingerprint"]
        return data
