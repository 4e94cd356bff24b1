"""Wire models of `/v1/models` (OpenAI API reference, "Models")."""

from typing import Literal

from pydantic import ConfigDict

from ...wire.models import WireReply


class ModelObject(WireReply):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "cheshire-cat-ai"

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "cheshire-cat",
                "object": "model",
                "created": 1767225600,
                "owned_by": "cheshire-cat-ai",
            }
        }
    )


class ModelList(WireReply):
    object: Literal["list"] = "list"
    data: list[ModelObject]
