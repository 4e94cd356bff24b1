"""Wire models of `/message`."""

from pydantic import ConfigDict, Field

from ...wire.models import MAX_NAME_LENGTH, WireReply, WireRequest


class MessageRequest(WireRequest):
    text: str = Field(min_length=1)
    user_id: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="The end user. Without it, the caller.",
    )

    model_config = ConfigDict(json_schema_extra={"example": {"text": "Who are you?", "user_id": "alice"}})


class MessageReply(WireReply):
    """`timestamp`: seconds since the epoch."""

    text: str
    user_id: str
    timestamp: int

    model_config = ConfigDict(
        json_schema_extra={"example": {"text": "A cat without a grin.", "user_id": "alice", "timestamp": 1767225600}}
    )
