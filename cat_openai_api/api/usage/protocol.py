"""Wire models of the usage API (OpenAI API reference, "Usage")."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ...wire.models import MAX_NAME_LENGTH, WireReply

MAX_TIME = 253_402_300_799
"""The end of the year 9999."""

MAX_FILTERS = 500
"""Values of one filter."""


class UsageParameters(BaseModel):
    """The query of a request. A list is a parameter that is repeated: `models=a&models=b`, or as the official SDKs send
    it `models[]=a&models[]=b`; `group_by` may also be separated by commas."""

    start_time: int = Field(ge=0, le=MAX_TIME, description="Unix seconds, in the first bucket.")
    end_time: int | None = Field(None, ge=0, le=MAX_TIME, description="Unix seconds, exclusive. Default: now.")
    bucket_width: Literal["1m", "1h", "1d"] = Field(
        "1d", description="They begin at full minutes, hours or days (UTC)."
    )
    group_by: list[str] = Field(default_factory=list, description="project_id, user_id, api_key_id, model, …")
    user_ids: list[str] = Field(
        default_factory=list, description="Only these end users, by the name that clients send."
    )
    api_key_ids: list[str] = Field(default_factory=list, description="Only these keys, by their ids.")
    models: list[str] = Field(default_factory=list, description="Only these models.")
    project_ids: list[str] = Field(default_factory=list, description="A Cat has no projects: nothing is found.")
    batch: bool | None = Field(None, description="A Cat has no batch jobs: true finds nothing.")
    limit: int | None = Field(
        None, ge=1, description="Buckets of a page. 1d: 7 unless given, at most 31; 1h: 24, 168; 1m: 60, 1440."
    )
    page: str | None = Field(None, max_length=MAX_NAME_LENGTH, description="`next_page` of the page before.")


class EmbeddingsUsage(WireReply):
    object: Literal["organization.usage.embeddings.result"] = "organization.usage.embeddings.result"
    input_tokens: int
    num_model_requests: int
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None


class CompletionsUsage(WireReply):
    """`output_reasoning_tokens`: those of `output_tokens` that are no text. OpenAI's form has no field for them."""

    object: Literal["organization.usage.completions.result"] = "organization.usage.completions.result"
    input_tokens: int
    input_cached_tokens: int
    input_uncached_tokens: int
    output_tokens: int
    output_reasoning_tokens: int
    num_model_requests: int
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None
    batch: bool | None = None
    service_tier: str | None = None


class UsageBucket(WireReply):
    """`end_time` is exclusive. `results`: one for each group, none in a time without requests."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[CompletionsUsage | EmbeddingsUsage]


class UsagePage(WireReply):
    object: Literal["page"] = "page"
    data: list[UsageBucket]
    has_more: bool
    next_page: str | None

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "object": "page",
                "data": [
                    {
                        "object": "bucket",
                        "start_time": 1767225600,
                        "end_time": 1767312000,
                        "results": [
                            {
                                "object": "organization.usage.completions.result",
                                "input_tokens": 5210,
                                "input_cached_tokens": 1024,
                                "input_uncached_tokens": 4186,
                                "output_tokens": 1804,
                                "output_reasoning_tokens": 320,
                                "num_model_requests": 12,
                                "project_id": None,
                                "user_id": "alice",
                                "api_key_id": None,
                                "model": None,
                                "batch": None,
                                "service_tier": None,
                            }
                        ],
                    }
                ],
                "has_more": False,
                "next_page": None,
            }
        }
    )
