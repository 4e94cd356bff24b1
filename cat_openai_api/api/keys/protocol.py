"""Wire models of `/keys`. The form is that of OpenAI's keys of an organization's admins, with limits."""

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field

from ...domain.people import KEY_HOLDER, is_key_holder_name
from ...wire.json import JsonObject
from ...wire.models import MAX_NAME_LENGTH, WireReply, WireRequest

MAX_KEY_NAME_LENGTH = 100

MAX_MODELS = 100

MAX_RATE_LIMIT = 1000
"""As in the settings."""

MAX_TOKENS_PER_DAY = 10**12

MAX_TIMESTAMP = 253_402_300_799
"""The end of the year 9999, in seconds since the epoch. A time in milliseconds is larger."""


EXAMPLE: JsonObject = {
    "id": "key_3f1c9b7a52d84e60",
    "object": "api_key",
    "name": "Open WebUI",
    "redacted_value": "sk-cat-3f1c9b7a52d84e60_…",
    "end_user": None,
    "service": True,
    "models": None,
    "rate_limit_per_minute": None,
    "tokens_per_day": 1_000_000,
    "expires_at": None,
    "enabled": True,
    "created_at": 1767225600,
    "last_used_at": 1767229200,
    "tokens_today": 5120,
}


def _check_name(name: str) -> str:
    if not name.strip():
        raise ValueError("a name needs a letter")
    return name


def _check_end_user(name: str) -> str:
    if is_key_holder_name(name):
        raise ValueError(f"names of end users do not begin with '{KEY_HOLDER}'")
    return _check_name(name)


Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_KEY_NAME_LENGTH), AfterValidator(_check_name)]

EndUser: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH), AfterValidator(_check_end_user)]

ModelIds: TypeAlias = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]],
    Field(min_length=1, max_length=MAX_MODELS, description="Ids of the models that the key may use; null: all."),
]

RateLimit: TypeAlias = Annotated[
    int, Field(ge=0, le=MAX_RATE_LIMIT, description="In place of the setting; 0: no limit; null: the setting.")
]

TokensPerDay: TypeAlias = Annotated[
    int, Field(ge=1, le=MAX_TOKENS_PER_DAY, description="Tokens in each day of UTC; null: no limit.")
]

Timestamp: TypeAlias = Annotated[int, Field(ge=0, le=MAX_TIMESTAMP, description="Seconds since the epoch.")]


class CreateKeyRequest(WireRequest):
    """An unknown field is an error: a limit with a misspelt name would be none."""

    name: Name
    end_user: EndUser | None = Field(None, description="The only end user that the key is for.")
    service: bool | None = Field(None, description="Whether the holder of the key sends requests for end users.")
    models: ModelIds | None = None
    rate_limit_per_minute: RateLimit | None = None
    tokens_per_day: TokensPerDay | None = None
    expires_at: Timestamp | None = None

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "Open WebUI", "service": True, "tokens_per_day": 1_000_000}},
    )


class ChangeKeyRequest(WireRequest):
    """What is left out stays as it is; null takes a limit away. Whom a key is for cannot be changed."""

    name: Name = ""
    enabled: bool = True
    models: ModelIds | None = None
    rate_limit_per_minute: RateLimit | None = None
    tokens_per_day: TokensPerDay | None = None
    expires_at: Timestamp | None = None

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"enabled": False}})


class KeyObject(WireReply):
    """`tokens_today`: tokens of the requests that have ended since midnight UTC."""

    id: str
    object: Literal["api_key"] = "api_key"
    name: str
    redacted_value: str
    end_user: str | None
    service: bool
    models: list[str] | None
    rate_limit_per_minute: int | None
    tokens_per_day: int | None
    expires_at: int | None
    enabled: bool
    created_at: int
    last_used_at: int | None
    tokens_today: int

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})


class CreatedKey(KeyObject):
    value: str = Field(description="The key itself. It is shown this once and not stored.")

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                **EXAMPLE,
                "last_used_at": None,
                "tokens_today": 0,
                "value": f"sk-cat-3f1c9b7a52d84e60_{'0' * 64}",
            }
        }
    )


class KeyList(WireReply):
    """`warning`: what is wrong with the Cat's own API key, as a sentence; null if nothing is."""

    object: Literal["list"] = "list"
    data: list[KeyObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
    warning: str | None

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "object": "list",
                "data": [EXAMPLE],
                "first_id": EXAMPLE["id"],
                "last_id": EXAMPLE["id"],
                "has_more": False,
                "warning": None,
            }
        }
    )


class DeletedKey(WireReply):
    id: str
    object: Literal["api_key.deleted"] = "api_key.deleted"
    deleted: Literal[True] = True

    model_config = ConfigDict(
        json_schema_extra={"example": {"id": EXAMPLE["id"], "object": "api_key.deleted", "deleted": True}}
    )
