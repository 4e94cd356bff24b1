"""What a client asks of the Cat, in words that no API resource owns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..conversation.builder import ParsedConversation
from ..domain.conversation import Functions, JsonFormat, Kind
from ..errors import invalid
from ..hosts.current import host
from ..hosts.port import Cancellation
from .json_schema import SchemaRefused, check_schema
from .model_names import resolve_model

if TYPE_CHECKING:
    from ...settings import Settings


@dataclass(frozen=True)
class GenerationRequest:
    """A request that can be answered, as far as that can be told before anything has run.

    `id`: that of the reply. `requested_model`: the model, as the client calls it. `stream`: whether the reply is to
    be one. `max_tokens`: those limits of the reply's length that the client names; none, 0 and less are no
    limit. `is_stored`: whether the Cat keeps the conversation. The rest is as for `Run`.
    """

    id: str
    requested_model: str
    model: str
    reading: ParsedConversation
    stream: bool
    functions: Functions | None = None
    format: JsonFormat | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: Sequence[int | None] = ()
    stops: Sequence[str] = ()
    is_stored: bool = False
    remember: bool = True
    cancellation: Cancellation = field(default_factory=Cancellation)


def new_id(prefix: str) -> str:
    """As OpenAI has them: `chatcmpl-…`, `resp_…`."""
    return prefix + uuid4().hex


async def model_for(
    requested_model: str,
    settings: "Settings",
    reading: ParsedConversation,
    functions: Functions | None,
    format: JsonFormat | None,
    *,
    functions_at: str,
    schema_at: str,
) -> str:
    """The id of the model that is asked for, which can take all of it. `functions_at`, `schema_at`: where in the
    request they stand.

    Raises `ModelNotFound`, and `InvalidRequest` for a schema that the reply could not be checked by, or what the
    Cat's LLM has no place for.
    """
    if format is not None and format.schema is not None:
        try:
            await check_schema(format.schema)
        except SchemaRefused as problem:
            raise invalid(schema_at, str(problem)) from problem
    model = resolve_model(requested_model, settings)
    kinds: dict[Kind, str] = dict(reading.kinds)
    if functions:
        kinds[Functions] = functions_at
    for kind, path in kinds.items():
        if not await host.takes(model, kind):
            message = f"the LLM of this Cat takes no {kind.__name__.lower()}; leave it out"
            raise invalid(path, message, "unsupported_parameter")
    return model
