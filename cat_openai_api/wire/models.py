"""What the wire models of all API resources share."""

from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

MAX_NAME_LENGTH = 512
"""Characters of a name that a client makes up: OpenAI says nothing of `user`; a digest or an e-mail fits well."""


class WireRequest(BaseModel):
    """A request, or a part of one: JSON types as they are, fields that nobody knows ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())


class WireReply(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    def wire(self) -> dict[str, Any]:
        """As it is sent."""
        return self.model_dump()


def refuse(message: str) -> NoReturn:
    """For validators: the field means something that this API does not do."""
    raise PydanticCustomError("unsupported_parameter", "{reason}", {"reason": message})


def is_set(value: Any) -> bool:
    """Whether a client asked for anything: many send null, false or an empty list for "no"."""
    return value not in (None, False, 0, "", [], {})
