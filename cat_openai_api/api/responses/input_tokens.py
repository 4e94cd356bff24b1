"""Counting the tokens that a response would be generated from."""

from typing import TYPE_CHECKING

from ...domain.people import Person
from ...generation.model_names import resolve_model
from ...generation.used import prompt_texts
from ...runtime import runtime
from ...tokens.counting import count_prompt_tokens
from ...wire.json import encode
from .input import load_input
from .protocol import InputTokensRequest
from .reading import read_format, read_items, read_tools

if TYPE_CHECKING:
    from ....settings import Settings


async def input_texts(
    body: InputTokensRequest, person: Person, settings: "Settings", caller: Person | None = None
) -> list[str]:
    """One text for each message, and one each for the functions and the format. Images have none.

    `caller`: see `load_input`. Raises `InvalidRequest`, `ModelNotFound` or `StorageFailed`.
    """
    resolve_model(body.model, settings)
    conversation = await load_input(body, person, caller)
    items = conversation.items()
    tools = read_tools(body, [item for _, item in items])
    parsed = read_items(
        items,
        body.instructions,
        tools,
        allow_remote_images=settings.fetch_remote_images,
        last_user_message_only=settings.history == "cat",
    )
    format = read_format(body)
    formats = [encode(format.response_format).decode()] if format else []
    return [*prompt_texts(parsed.conversation, tools.functions), *formats]


async def count_input_tokens(texts: list[str]) -> int:
    return await count_prompt_tokens(texts, runtime.vocabulary)
