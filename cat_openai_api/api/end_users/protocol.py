"""Wire models of `/end_users`."""

from typing import Literal

from pydantic import ConfigDict

from ...wire.models import WireReply


class Erased(WireReply):
    """Numbers of what was deleted. `states`: what the Cat kept beside the messages of a conversation. `memories`: what
    the Cat itself remembered. `usage`: sums that were kept under the person's name; they stay without it."""

    responses: int = 0
    conversations: int = 0
    states: int = 0
    memories: int = 0
    keys: int = 0
    usage: int = 0


class ErasedEndUser(WireReply):
    id: str
    object: Literal["end_user.deleted"] = "end_user.deleted"
    deleted: Literal[True] = True
    erased: Erased

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "alice",
                "object": "end_user.deleted",
                "deleted": True,
                "erased": {
                    "responses": 12,
                    "conversations": 1,
                    "states": 0,
                    "memories": 31,
                    "keys": 1,
                    "usage": 9,
                },
            }
        }
    )
