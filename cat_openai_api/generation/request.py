"""What a client asks for, in words that no API resource owns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..conversation.builder import ParsedConversation
from ..domain.conversation import Capability, Functions, JsonFormat
from ..errors import invalid
from ..hosts.port import Cancellation
from ..runtime import runtime
from .json_schema import SchemaRefused, check_schema
from .model_names import resolve_model

if TYPE_CHECKING:
    from ...settings import Settings


@dataclass(frozen=True)
class GenerationRequest:
    """A valid request for one generation: all that can be checked before anything runs has been checked.

    `id`: of the response. `requested_model`: the client's name for the model; `model`: the Cat's id of it. `stream`:
    whether the client wants a stream. `max_tokens`: the limits of the reply's length that the client names, in
    tokens; None, 0 and less are no limit. `stops`: stop sequences. `uses_stored_conversation`: whether the Cat's
    stored conversation is continued. The other fields are as in `Run`.
    """

    id: str
    requested_model: str
    model: str
    parsed: ParsedConversation
    stream: bool
    functions: Functions | None = None
    format: JsonFormat | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: Sequence[int | None] = ()
    stops: Sequence[str] = ()
    uses_stored_conversation: bool = False
    remember: bool = True
    cancellation: Cancellation = field(default_factory=Cancellation)


def new_id(prefix: str) -> str:
    """An id as OpenAI writes it: `chatcmpl-…`, `resp_…`."""
    return prefix + uuid4().hex


async def resolve_capable_model(
    requested_model: str,
    settings: "Settings",
    parsed: ParsedConversation,
    functions: Functions | None,
    format: JsonFormat | None,
    *,
    functions_path: str,
    schema_path: str,
) -> str:
    """The id of the requested model, which takes all that the request has.

    `functions_path`, `schema_path`: where in the request the functions and the schema of the reply stand. Raises
    `ModelNotFound`, and `InvalidRequest` for a schema that no reply could be checked against and for what the Cat's
    LLM does not take.
    """
    if format is not None and format.schema is not None:
        try:
            await check_schema(format.schema)
        except SchemaRefused as problem:
            raise invalid(schema_path, str(problem)) from problem
    model = resolve_model(requested_model, settings)
    kinds: dict[Capability, str] = dict(parsed.kinds)
    if functions:
        kinds[Functions] = functions_path
    for kind, path in kinds.items():
        if not await runtime.host.takes(model, kind):
            message = f"the LLM of this Cat takes no {kind.__name__.lower()}; leave it out"
            raise invalid(path, message, "unsupported_parameter")
    return model
