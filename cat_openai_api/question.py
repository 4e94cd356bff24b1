"""What a client asks of the Cat, in words that no API resource owns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from .conversation import Functions, JsonFormat
from .errors import invalid
from .hosts.current import host
from .hosts.port import Cancellation, Kind
from .reading import Reading
from .structured import SchemaRefused, check_schema


@dataclass(frozen=True)
class Question:
    """A request that can be answered, as far as that can be told before anything has run.

    `id`: that of the reply. `asked_for`: the model, as the client calls it. `stream`: whether the reply is to
    be one. `max_tokens`: those limits of the reply's length that the client names; none, 0 and less are no
    limit. `is_kept`: whether the Cat keeps the conversation. The rest is as for `Run`.
    """

    id: str
    asked_for: str
    model: str
    reading: Reading
    stream: bool
    functions: Functions | None = None
    format: JsonFormat | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: Sequence[int | None] = ()
    stops: Sequence[str] = ()
    is_kept: bool = False
    remember: bool = True
    cancellation: Cancellation = field(default_factory=Cancellation)


def new_id(prefix: str) -> str:
    """As OpenAI has them: `chatcmpl-…`, `resp_…`."""
    return prefix + uuid4().hex


async def check_format(path: str, format: JsonFormat | None) -> None:
    """`path`: that of the JSON schema. Raises `InvalidRequest` where the reply could not be checked."""
    if format is None or format.schema is None:
        return
    try:
        await check_schema(format.schema)
    except SchemaRefused as problem:
        raise invalid(path, str(problem)) from problem


async def check_kinds(model: str, kinds: Mapping[Kind, str]) -> None:
    """`kinds`: and where each stands first. Raises `InvalidRequest` for one that the Cat's LLM has no place for."""
    for kind, path in kinds.items():
        if not await host.takes(model, kind):
            message = f"the LLM of this Cat takes no {kind.__name__.lower()}; leave it out"
            raise invalid(path, message, "unsupported_parameter")
