"""The base classes of all wire models."""

from typing import NoReturn

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from .json import JsonObject

MAX_NAME_LENGTH = 512
"""Characters of an id or a name that a client chooses. OpenAI gives no limit for `user`; e-mail addresses and digests
fit."""


class WireRequest(BaseModel):
    """A request or a part of one. Types are not converted, unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())


class WireReply(BaseModel):
    """A response or a part of one."""

    model_config = ConfigDict(protected_namespaces=())

    def wire(self) -> JsonObject:
        """The JSON object that is sent."""
        return self.model_dump()


def set_fields(request: WireRequest) -> JsonObject:
    """The fields that the client sent, without null. Values are not copied: a JSON schema may be large."""
    return {name: value for name, value in request if value is not None and name in request.model_fields_set}


def raise_unsupported(message: str) -> NoReturn:
    """Raise, in a validator, the error with the code `unsupported_parameter`."""
    raise PydanticCustomError("unsupported_parameter", "{reason}", {"reason": message})
