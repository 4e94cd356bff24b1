"""Requests to an LLM of Cheshire Cat 1.9, whichever LangChain chat model class that is, and its replies."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from ...domain.conversation import Part
from ...domain.usage import Usage
from ..line import LINE
from ..shared.openai_format import parse_usage
from .provider_adapters import OpenAI, Parameters, ProviderAdapter, Request, adapter_for
from .rewrites import copy_with_fields, text_of

if LINE == "1.9" or TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk

__all__ = [
    "EmptyLLMReply",
    "LLMChunk",
    "Parameters",
    "accepts",
    "stream_chat",
    "streams",
    "supports_functions",
    "supports_json_format",
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
"""OpenAI's finish reasons by those of all providers, in lower case."""

CallPiece: TypeAlias = tuple[int, str | None, str | None, str | None]
"""Index, id, name and a piece of the arguments' JSON of a call, as in OpenAI's deltas."""


class EmptyLLMReply(Exception):
    """What the LLM's server sent contains no part of a reply: it is probably not the server of an LLM."""


@dataclass(frozen=True)
class LLMChunk:
    """A piece of an LLM's reply.

    `generation`: LangChain's `ChatGenerationChunk`, with a string as its content and no calls. `finish_reason`: one of
    OpenAI's. `usage`: of the whole reply, in at most one chunk.
    """

    generation: Any
    calls: tuple[CallPiece, ...] = ()
    refusal: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    system_fingerprint: str | None = None


def supports_functions(model: Any) -> bool:
    """Whether requests of the model's class have a field for functions."""
    return isinstance(model, BaseChatModel) and adapter_for(model).supports_functions(model)


def supports_json_format(model: Any) -> bool:
    """Whether a request has a field for all that a `JsonFormat` says. Otherwise the prompt has to ask for JSON.

    For Ollama, Google and Cohere the request sets a JSON mode in addition, unless it offers functions: a provider
    refuses both together, or its LLM does not call functions then.
    """
    return isinstance(model, BaseChatModel) and adapter_for(model).supports_json_format


def accepts(model: Any, part: Part) -> bool:
    """Whether a part of a message can reach the model."""
    return isinstance(part, str) or (isinstance(model, BaseChatModel) and adapter_for(model).accepts(part))


def streams(model: Any) -> bool:
    """Whether the model's class streams, and streaming is not switched off, as the Cat's panel can."""
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
    """Send a request to the LLM and yield its reply. `options`: those that LangChain's callers have bound to the model.

    The model is not changed. Where the provider refuses optional fields by their names, they are left out of a second
    request. Raises what the class raises, and `EmptyLLMReply`.
    """
    adapter = adapter_for(model)
    refused: set[str] = set()
    has_begun = False
    while True:
        request = adapter.request(model, messages, parameters, refused)
        try:
            reply = _Reply(adapter, request, "stream_options" not in refused)
            async with aclosing(reply.chunks(stop, options)) as chunks:
                async for chunk in chunks:
                    has_begun = True
                    yield chunk
                return
        except Exception as error:
            newly_refused = _refused_fields(error, adapter.optional_fields) - refused
            if has_begun or not newly_refused:
                raise
            refused |= newly_refused


def _refused_fields(error: Exception, fields: Sequence[str]) -> set[str]:
    """Those of the fields that the provider's error names."""
    if getattr(error, "status_code", None) not in (400, 422):
        return set()
    return {name for name in fields if name in str(error)}


class _Reply:
    """One reply. `with_usage`: request the usage of a stream with OpenAI's `stream_options`."""

    def __init__(self, adapter: ProviderAdapter, request: Request, with_usage: bool) -> None:
        self._adapter = adapter
        self._request = request
        self._model = request.model
        self._with_usage = with_usage
        self._raw_usage: Usage | None = None
        self._usage: Usage | None = None
        self._refusal = ""
        self._fingerprint: str | None = None
        self._last_call = -1
        self._has_content = False
        if isinstance(adapter, OpenAI):
            client = _ObservedClient(self._model.async_client, self._observe)
            self._model = copy_with_fields(self._model, async_client=client)

    async def chunks(self, stop: Sequence[str] | None, options: Mapping[str, Any]) -> AsyncGenerator[LLMChunk, None]:
        options = {**options, **self._request.options}
        stop = list(stop) if stop else None
        if not streams(self._model):
            yield await self._whole(stop, options)
            return
        is_empty = True
        if isinstance(self._adapter, OpenAI) and self._with_usage:
            options["extra_body"] = {**options["extra_body"], "stream_options": {"include_usage": True}}
        async with aclosing(self._model._astream(list(self._request.messages), stop=stop, **options)) as generations:
            async for generation in generations:
                is_empty = False
                yield self._chunk(generation.message, generation.generation_info or {}, generation)
        if is_empty:
            raise EmptyLLMReply
        last = self._last_chunk()
        if last.usage or last.refusal or last.finish_reason:
            yield last

    async def _whole(self, stop: list[str] | None, options: dict[str, Any]) -> LLMChunk:
        messages = list(self._request.messages)
        if self._adapter.blocks_the_loop:
            result = await asyncio.to_thread(self._model._generate, messages, stop=stop, **options)
        else:
            result = await self._model._agenerate(messages, stop=stop, **options)
        if not result.generations:
            raise EmptyLLMReply
        generation = result.generations[0]
        info = {**(result.llm_output or {}), **(generation.generation_info or {})}
        chunk, last = self._chunk(generation.message, info, None), self._last_chunk()
        return replace(chunk, usage=last.usage, finish_reason=chunk.finish_reason or last.finish_reason)

    def _chunk(self, message: Any, info: Mapping[str, Any], generation: Any) -> LLMChunk:
        """`generation`: LangChain's object with the message, where that is a piece of a stream. This runs for every
        token."""
        calls = tuple(self._calls(message))
        if generation is None or calls or message.additional_kwargs or not isinstance(message.content, str):
            generation = _text_generation(text_of(message.content))
        if usage := self._adapter.usage(message, info):
            is_added = self._usage is not None and not self._adapter.usage_is_total
            self._usage = self._usage + usage if self._usage and is_added else usage
        reason = _finish_reason(message, info)
        if reason == "stop" and self._last_call >= 0:
            reason = "tool_calls"
        self._has_content = self._has_content or bool(calls or generation.text or reason)
        return LLMChunk(generation, calls, self._take_refusal(), reason, None, self._fingerprint)

    def _last_chunk(self) -> LLMChunk:
        """What is known only at the end of the reply."""
        reason = "content_filter" if self._adapter.is_empty_when_blocked and not self._has_content else None
        usage = self._raw_usage or self._usage
        return LLMChunk(_text_generation(""), (), self._take_refusal(), reason, usage, self._fingerprint)

    def _calls(self, message: Any) -> Iterator[CallPiece]:
        for index, id, name, arguments in _call_pieces(message):
            # Classes that do not stream calls have no index for them, and some servers send none.
            self._last_call = self._last_call + bool(name) if index is None else index
            yield self._last_call, id, name, self._adapter.arguments(arguments)

    def _observe(self, raw: Any) -> None:
        """A reply of OpenAI's client, or a chunk of a stream: LangChain drops a part of what is in it."""
        self._fingerprint = getattr(raw, "system_fingerprint", None) or self._fingerprint
        if usage := getattr(raw, "usage", None):
            self._raw_usage = parse_usage(usage.model_dump()) or self._raw_usage
        for choice in (getattr(raw, "choices", None) or ())[:1]:
            message = getattr(choice, "delta", None) or getattr(choice, "message", None)
            self._refusal += getattr(message, "refusal", None) or ""

    def _take_refusal(self) -> str:
        refusal, self._refusal = self._refusal, ""
        return refusal


class _ObservedClient:
    """Stands in for `chat.completions` of OpenAI's client: `observe` gets each reply, or each chunk of a stream."""

    def __init__(self, client: Any, observe: Callable[[Any], None]) -> None:
        self._client = client
        self._observe = observe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def create(self, **request: Any) -> Any:
        reply = await self._client.create(**request)
        if request.get("stream"):
            return _ObservedStream(reply, self._observe)
        self._observe(reply)
        return reply


class _ObservedStream:
    def __init__(self, stream: Any, observe: Callable[[Any], None]) -> None:
        self._stream = stream
        self._observe = observe

    async def __aenter__(self) -> "_ObservedStream":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._stream.close()

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for chunk in self._stream:
            self._observe(chunk)
            yield chunk


def _text_generation(text: str) -> Any:
    return ChatGenerationChunk(message=AIMessageChunk(content=text))


def _call_pieces(message: Any) -> Iterator[tuple[int | None, str | None, str | None, str | None]]:
    """The calls in a whole message or in a piece of one, with the arguments as the provider sent them if LangChain
    has kept that. The index is None where there is none."""
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
    for fields in (info, message.response_metadata):
        for name in ("finish_reason", "stop_reason", "done_reason"):
            if name in fields:
                return FINISH_REASONS.get(str(fields[name]).lower())
    return None
