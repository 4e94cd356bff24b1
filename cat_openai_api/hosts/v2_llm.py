"""The calls that one run on Cat 2 makes to its LLM, seen between the Cat's provider and its SDK client.

Cat 2 has no place for sampling parameters and does not tell whether the LLM said anything. Every provider of
OpenAI's wire format asks its own `client()` for the OpenAI SDK's client, so that is where a run steps in; other
runs, and the Cat's own calls, get the client as it is.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextvars import ContextVar
from typing import Any

parameters_of_run: ContextVar[Mapping[str, Any] | None] = ContextVar("openai_api_parameters", default=None)
"""In a run: what goes into each of its requests to the LLM, by OpenAI's names."""


class LLMSaidNothing(Exception):
    """The LLM's stream had no chunk with a choice in it: whatever answered, it was no LLM."""


def step_into(providers: Iterable[Any]) -> None:
    """Have each provider (one object for all runs, until its settings change) give runs their own client."""
    for provider in providers:
        if not isinstance(getattr(provider, "client", None), _ClientOfRun):
            provider.client = _ClientOfRun(provider.client)


class _ClientOfRun:
    """Stands in for a provider's method `client`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def __call__(self) -> Any:
        client = await self._client()
        parameters = parameters_of_run.get()
        return client if client is None or parameters is None else _SDKClient(client, parameters)


class _SDKClient:
    """The SDK's client with another `chat.completions.create`."""

    def __init__(self, client: Any, parameters: Mapping[str, Any]) -> None:
        self._client = client
        self._parameters = parameters
        self.chat = self
        self.completions = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def create(self, **request: Any) -> Any:
        reply = await self._client.chat.completions.create(**request, **self._parameters)
        return _heard(reply) if request.get("stream") else reply


async def _heard(stream: Any) -> AsyncGenerator[Any, None]:
    said_anything = False
    try:
        async for chunk in stream:
            said_anything = said_anything or bool(chunk.choices)
            yield chunk
    finally:
        await stream.close()
    if not said_anything:
        raise LLMSaidNothing
