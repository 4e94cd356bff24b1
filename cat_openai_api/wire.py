"""What the wire models of all API resources share."""

import json
import re
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


LONGEST_NAME = 512
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


def decode(body: bytes) -> Any:
    """JSON by the standard: no NaN, no half surrogate pairs, no endless nesting. Raises ValueError."""
    text = body.decode("utf-8")
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("too deeply nested") from None
    if _SURROGATE.search(text):
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    return data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def encode(data: Any) -> bytes:
    """JSON in ASCII: an LLM may send half a surrogate pair in one chunk, which has no UTF-8."""
    return json.dumps(data, separators=(",", ":")).encode("ascii")
