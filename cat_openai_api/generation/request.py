"""A request for one generation, independent of the API resource that it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..conversation.builder import ParsedConversation
from ..domain.conversation import Audio, Capability, File, Functions, Image, JsonFormat
from ..errors import invalid
from ..hosts.port import Cancellation
from ..runtime import runtime
from .json_schema import InvalidSchema, check_schema
from .model_names import resolve_model
from .tools import ClientTools

if TYPE_CHECKING:
    from ...settings import Settings

CAPABILITY_NAMES: Mapping[Capability, str] = {
    Image: "images",
    Audio: "audio",
    File: "files",
    Functions: "functions",
}
"""For error messages."""


@dataclass(frozen=True)
class GenerationRequest:
    """A validated request for one generation.

    `id`: of the response. `requested_model`: the client's name for the model. `model`: the Cat's id of it. `stream`:
    whether the client requested a stream. `max_tokens`: limits of the reply's length, of which the smallest counts;
    None and values below 1 are no limit. `tools`: the client's, of every type. `uses_stored_conversation`: whether the
    request continues the conversation that the Cat stores. For the other fields see `Run`.
    """

    id: str
    requested_model: str
    model: str
    parsed: ParsedConversation
    stream: bool
    tools: ClientTools = field(default_factory=ClientTools)
    format: JsonFormat | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: Sequence[int | None] = ()
    stop_sequences: Sequence[str] = ()
    uses_stored_conversation: bool = False
    remember: bool = True
    conversation_only: bool = False
    cancellation: Cancellation = field(default_factory=Cancellation)


def new_id(prefix: str) -> str:
    """A unique id in OpenAI's form, such as `chatcmpl-…` or `resp_…`."""
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
    """The id of the requested model, which supports everything in the request.

    `functions_path`, `schema_path`: of the functions and of the JSON schema in the request. Raises `ModelNotFound`, and
    `InvalidRequest` for a schema that cannot be used and for what the Cat's LLM does not support.
    """
    if format is not None and format.schema is not None:
        try:
            await check_schema(format.schema)
        except InvalidSchema as error:
            raise invalid(schema_path, str(error)) from error
    model = resolve_model(requested_model, settings)
    capabilities: dict[Capability, str] = dict(parsed.capabilities)
    if functions:
        capabilities[Functions] = functions_path
    for capability, path in capabilities.items():
        if not await runtime.host.supports(model, capability):
            message = f"the Cat's LLM does not support {CAPABILITY_NAMES[capability]}; leave it out"
            raise invalid(path, message, "unsupported_parameter")
    return model
