"""Request fields that several API resources have in common (OpenAI API reference). Names, defaults and limits are
OpenAI's."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator

from .wire import LONGEST_NAME, WireRequest, refuse

MOST_STOPS = 4
"""OpenAI's. It says nothing of the others."""

MOST_BIASES = 1024

LONGEST_STOP = 1000
"""Characters: what may be the beginning of one is looked for after each token."""

StopSequence = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]

TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,10}$")]

SAMPLING = {
    "temperature",
    "top_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "reasoning_effort",
}


def _some_tokens(value: int) -> int:
    if value == 0:
        raise ValueError("at least 1, or leave it out for the Cat's own limit")
    return value


def _one_answer(value: int) -> int:
    if value > 1:
        refuse("a Cat gives one answer; send 1 or leave it out")
    return value


TokenLimit = Annotated[int, Field(ge=-1), AfterValidator(_some_tokens)]
"""-1 is no limit, as for llama.cpp."""

OneAnswer = Annotated[int, Field(ge=1), AfterValidator(_one_answer)]


class StreamOptions(WireRequest):
    include_usage: bool | None = None


class ReplyParameters(WireRequest):
    """What a client may want of a reply: whose it is, its form, its length, and how the LLM chooses its words."""

    model: str = Field(min_length=1, max_length=LONGEST_NAME)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenLimit | None = Field(None, description="-1 is no limit, as for llama.cpp.")
    user: str | None = Field(None, max_length=LONGEST_NAME)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-100, le=100)]] | None = Field(None, max_length=MOST_BIASES)
    n: OneAnswer | None = None
    stop: StopSequence | Annotated[list[StopSequence], Field(max_length=MOST_STOPS)] | None = Field(
        None, description="Up to 4 texts; none of them is sent."
    )

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _not_too_many_biases(cls, value: Any) -> Any:
        """Each that is at fault makes an error of its own, so this comes first."""
        if isinstance(value, dict) and len(value) > MOST_BIASES:
            raise ValueError(f"at most {MOST_BIASES} tokens")
        return value

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def stops(self) -> list[str]:
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def sampling(self) -> dict[str, Any]:
        """The sampling parameters that are set, for the LLM."""
        return self.model_dump(include=SAMPLING, exclude_none=True)
