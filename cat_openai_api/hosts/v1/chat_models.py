"""One request to an LLM of Cheshire Cat 1.9, whichever LangChain chat model class that is, and what it says."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...domain.conversation import Part
from ...domain.usage import Usage
from ..detect import IS_CAT_1
from ..shared.openai_format import parse_usage
from .provider_adapters import OpenAI, Parameters, ProviderAdapter, Request, adapter_for
from .rewrites import text_of, with_fields

if IS_CAT_1 or TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk

__all__ = [
    "LLMChunk",
    "LLMSaidNothing",
    "Parameters",
    "calls_functions",
    "stream_chat",
    "streams",
    "takes",
    "takes_json",
]

FINISH_REASONS = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
}
"""OpenAI's words for why a reply ended, by those of all providers, in lower case."""


class LLMSaidNothing(Exception):
    """There was no part of a reply in what the LLM sent: whatever answered, it was no LLM."""


@dataclass(frozen=True)
class LLMChunk:
    """A piece of an LLM's reply.

    `chunk`: LangChain's, with a string as its content and no calls. `calls`: index, id, name and a piece of the
    arguments' JSON, as in OpenAI's deltas. `finish_reason`: in OpenAI's words. `usage`: in at most one piece.
    """

    chunk: Any
    calls: tuple[tuple[int, str | None, str | None, str | None], ...] = ()
    refusal: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    system_fingerprint: str | None = None


def calls_functions(model: Any) -> bool:
    """Whether the model's class can be given functions."""
    return isinstance(model, BaseChatModel) and adapter_for(model).calls_functions(model)


def takes_json(model: Any) -> bool:
    """Whether `stream_chat` tells the LLM all that a `JsonFormat` says. Elsewhere the prompt has to ask for JSON.

    Ollama, Google and Cohere are set to JSON beside that, as long as no functions are offered: with them it is
    refused, or keeps the LLM from calling.
    """
    return isinstance(model, BaseChatModel) and adapter_for(model).carries_json


def takes(model: Any, part: Part) -> bool:
    """Whether a part of a message, in OpenAI's form, can reach the model."""
    return isinstance(part, str) or (isinstance(model, BaseChatModel) and adapter_for(model).takes(part))


def streams(model: Any) -> bool:
    """Whether the model's class streams by itself and nobody has switched that off, as the Cat's panel can."""
    if type(model)._astream is BaseChatModel._astream:
        return False
    return getattr(model, "streaming", True) or "streaming" not in model.__fields_set__


async def stream_chat(
    model: Any,
    messages: Sequence[Any],
    stop: Sequence[str] | None,
    parameters: Parameters,
    options: Mapping[str, Any],
) -> AsyncGenerator[LLMChunk, None]:
    """Ask the LLM and yield what it says. `options`: what LangChain's callers bound.

    The model is not changed. What a provider refuses by name and the request can do without is left out of a
    second one. Raises what the class raises, and `LLMSaidNothing`.
    """
    adapter = adapter_for(model)
    refused: set[str] = set()
    begun = False
    while True:
        request = adapter.request(model, messages, parameters, refused)
        try:
            reply = _Reply(adapter, request, "stream_options" not in refused)
            async with aclosing(reply.pieces(stop, options)) as pieces:
                async for said in pieces:
                    begun = True
                    yield said
                return
        except Exception as error:
            named = _named_in(error, adapter.negotiable) - refused
            if begun or not named:
                raise
            refused |= named


def _named_in(error: Exception, fields: Sequence[str]) -> set[str]:
    """Those fields that a provider names in refusing a request."""
    if getattr(error, "status_code", None) not in (400, 422):
        return set()
    return {name for name in fields if name in str(error)}


class _Reply:
    """One reply, as it comes. `with_usage`: ask for it in a stream, in OpenAI's way."""

    def __init__(self, adapter: ProviderAdapter, request: Request, with_usage: bool) -> None:
        self._adapter = adapter
        self._request = request
        self._model = request.model
        self._with_usage = with_usage
        self._heard: Usage | None = None
        self._counted: Usage | None = None
        self._refusal = ""
        self._fingerprint: str | None = None
        self._last_call = -1
        self._spoken = False
        if isinstance(adapter, OpenAI):
            self._model = with_fields(self._model, async_client=_Client(self._model.async_client, self._hear))

    async def pieces(self, stop: Sequence[str] | None, options: Mapping[str, Any]) -> AsyncGenerator[LLMChunk, None]:
        options = {**options, **self._request.options}
        stop = list(stop) if stop else None
        if not streams(self._model):
            yield await self._whole(stop, options)
            return
        anything = False
        if isinstance(self._adapter, OpenAI) and self._with_usage:
            options["extra_body"] = {**options["extra_body"], "stream_options": {"include_usage": True}}
        async with aclosing(self._model._astream(list(self._request.messages), stop=stop, **options)) as chunks:
            async for chunk in chunks:
                anything = True
                yield self._said(chunk.message, chunk.generation_info or {}, chunk)
        if not anything:
            raise LLMSaidNothing
        last = self._last()
        if last.usage or last.refusal or last.finish_reason:
            yield last

    async def _whole(self, stop: list[str] | None, options: dict[str, Any]) -> LLMChunk:
        messages = list(self._request.messages)
        if self._adapter.blocks_the_loop:
            result = await asyncio.to_thread(self._model._generate, messages, stop=stop, **options)
        else:
            result = await self._model._agenerate(messages, stop=stop, **options)
        if not result.generations:
            raise LLMSaidNothing
        generation = result.generations[0]
        info = {**(result.llm_output or {}), **(generation.generation_info or {})}
        said, last = self._said(generation.message, info, None), self._last()
        return replace(said, usage=last.usage, finish_reason=said.finish_reason or last.finish_reason)

    def _said(self, message: Any, info: Mapping[str, Any], chunk: Any) -> LLMChunk:
        """This runs for every token."""
        calls = tuple(self._calls(message))
        if chunk is None or calls or message.additional_kwargs or not isinstance(message.content, str):
            chunk = _chunk(text_of(message.content))
        if usage := self._adapter.usage(message, info):
            more = self._counted is not None and not self._adapter.usage_is_total
            self._counted = self._counted + usage if self._counted and more else usage
        reason = _finish_reason(message, info)
        if reason == "stop" and self._last_call >= 0:
            reason = "tool_calls"
        self._spoken = self._spoken or bool(calls or chunk.text or reason)
        return LLMChunk(chunk, calls, self._take_refusal(), reason, None, self._fingerprint)

    def _last(self) -> LLMChunk:
        """What is known when all was said."""
        reason = "content_filter" if self._adapter.is_silent_when_blocked and not self._spoken else None
        return LLMChunk(_chunk(""), (), self._take_refusal(), reason, self._heard or self._counted, self._fingerprint)

    def _calls(self, message: Any) -> Iterator[tuple[int, str | None, str | None, str | None]]:
        for index, id, name, arguments in _call_pieces(message):
            # Classes that give whole calls do not count them, and some servers do not either.
            self._last_call = self._last_call + bool(name) if index is None else index
            yield self._last_call, id, name, self._adapter.arguments(arguments)

    def _hear(self, raw: Any) -> None:
        """Something that OpenAI's client got: LangChain leaves out a part of it."""
        self._fingerprint = getattr(raw, "system_fingerprint", None) or self._fingerprint
        if usage := getattr(raw, "usage", None):
            self._heard = parse_usage(usage.model_dump()) or self._heard
        for choice in (getattr(raw, "choices", None) or ())[:1]:
            said = getattr(choice, "delta", None) or getattr(choice, "message", None)
            self._refusal += getattr(said, "refusal", None) or ""

    def _take_refusal(self) -> str:
        refusal, self._refusal = self._refusal, ""
        return refusal


class _Client:
    """Stands in for `chat.completions` of OpenAI's client: `feed` gets each reply, or each chunk of a stream."""

    def __init__(self, client: Any, feed: Callable[[Any], None]) -> None:
        self._client = client
        self._hear = feed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def create(self, **request: Any) -> Any:
        reply = await self._client.create(**request)
        if request.get("stream"):
            return _Stream(reply, self._hear)
        self._hear(reply)
        return reply


class _Stream:
    def __init__(self, stream: Any, feed: Callable[[Any], None]) -> None:
        self._stream = stream
        self._hear = feed

    async def __aenter__(self) -> "_Stream":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._stream.close()

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for chunk in self._stream:
            self._hear(chunk)
            yield chunk


def _chunk(text: str) -> Any:
    return ChatGenerationChunk(message=AIMessageChunk(content=text))


def _call_pieces(message: Any) -> Iterator[tuple[int | None, str | None, str | None, str | None]]:
    """Index, id, name, arguments: of a whole message or of a piece of one, in the provider's words if there are."""
    if raw := message.additional_kwargs.get("tool_calls"):
        for call in raw:
            yield call.get("index"), call.get("id"), call["function"].get("name"), call["function"].get("arguments")
    elif pieces := getattr(message, "tool_call_chunks", None):
        for piece in pieces:
            yield piece.get("index"), piece["id"], piece["name"], piece["args"]
    else:
        for call in getattr(message, "tool_calls", ()):
            yield None, call["id"], call["name"], json.dumps(call["args"])
        for call in getattr(message, "invalid_tool_calls", ()):
            yield None, call["id"], call["name"], call["args"]


def _finish_reason(message: Any, info: Mapping[str, Any]) -> str | None:
    for given in (info, message.response_metadata):
        for name in ("finish_reason", "stop_reason", "done_reason"):
            if name in given:
                return FINISH_REASONS.get(str(given[name]).lower())
    return None
