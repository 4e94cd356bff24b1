"""The calls that one run on Cat 2 makes to its LLM, seen between the Cat's provider and its SDK client.

Cat 2 has no place for sampling parameters, a form of the reply or a choice among tools, and drops what the LLM
says beside text and calls. Every provider of OpenAI's wire format asks its own `client()` for the OpenAI SDK's
client, and its own `convert_message()` for the wire form of a message, so that is where a run steps in; other
runs, and the Cat's own calls, get both as they are.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ...domain.events import EARLY_FINISH_REASONS, End, Event, Fingerprint, Refusal
from ...domain.json_instruction import json_instruction
from ...domain.usage import Usage, total_usage
from ..detect import IS_CAT_2
from ..port import Run
from ..shared.client_calls import ClientCalls
from ..shared.event_channel import EventChannel
from ..shared.openai_format import args_of, usage_of
from .messages import verbatim

if IS_CAT_2 or TYPE_CHECKING:
    from cat.services.model_providers.openai_compatible import OpenAICompatibleProvider
    from openai import APIStatusError
    from openai.types.chat.chat_completion_chunk import (
        ChatCompletionChunk,
        ChoiceDelta,
        ChoiceDeltaToolCall,
        ChoiceDeltaToolCallFunction,
    )


def _shared_context() -> "ContextVar[LLMOfRun | None]":
    """One for as long as the Cat runs: a run that began before the plugin was switched off and on goes on in it."""
    name = "openai_api_llm_of_run"
    context: ContextVar[LLMOfRun | None] = ContextVar(name, default=None)
    if not IS_CAT_2:
        return context
    if not hasattr(OpenAICompatibleProvider, name):
        setattr(OpenAICompatibleProvider, name, context)
    shared: ContextVar[LLMOfRun | None] = getattr(OpenAICompatibleProvider, name)
    return shared


llm_of_run = _shared_context()

OWN_METHODS = "openai_api_own_methods"
"""Attribute of a provider: its methods as they were."""

NOT_EVERYWHERE = ("stream_options", "response_format", "parallel_tool_calls")
"""Parameters that some servers of OpenAI's wire format refuse."""

BEHIND_OTHERS = 1000
"""Index of the client's calls among the pieces that the Cat's provider gets, behind those of the Cat's own
tools."""


class LLMSaidNothing(Exception):
    """The LLM's stream had no chunk with a choice in it: whatever answered, it was no LLM."""


class LLMOfRun:
    """What a run asks of its LLM beside what the Cat asks, and what the LLM says beside its text.

    The client's functions and format are for the agent that the run is for, not for agents that it calls as tools:
    `agent_asks` is called before each of its own questions.
    """

    def __init__(self, run: Run, channel: EventChannel, *, live: bool) -> None:
        self.calls = ClientCalls(run.functions)
        self.cat_used_tools = False
        self.has_told_calls = False
        self._run = run
        self._channel = channel
        self._live = live
        self._next_is_agents = False
        self._unseen = False
        self._usages: list[Usage | None] = []
        self._streams: list[Any] = []
        self._finish_reason: str | None = None
        self._fingerprint: str | None = None

    def agent_asks(self) -> None:
        self._unseen = self._unseen or self._next_is_agents
        self._next_is_agents = True

    def end(self) -> End:
        unseen = self._unseen or self._next_is_agents
        return End(EARLY_FINISH_REASONS.get(self._finish_reason), None if unseen else total_usage(self._usages))

    async def ask(self, client: Any, request: dict[str, Any]) -> Any:
        """In place of the SDK's `chat.completions.create`."""
        is_agents, self._next_is_agents = self._next_is_agents, False
        request = {**request, **self._run.sampling}
        if request.get("stream"):
            request["stream_options"] = {"include_usage": True}
        if is_agents:
            self._add_functions(request)
            if self._run.format:
                request["response_format"] = self._run.format.response_format
        reply = await self._create(client, request)
        if request.get("stream"):
            self._streams.append(reply)
            return self._heard(reply, is_agents)
        self._usages.append(_usage(reply.usage))
        return await self._hear_whole(reply) if is_agents else reply

    async def close(self) -> None:
        """Close the LLM's connections: whoever was cut off while it read has left them open."""
        for stream in self._streams:
            await stream.close()

    def _add_functions(self, request: dict[str, Any]) -> None:
        functions = self._run.functions
        if functions is None:
            return
        clients = list(functions.tools.values())
        cats = [tool for tool in request.get("tools", ()) if not self.calls.is_clients(tool["function"]["name"])]
        if functions.choice == "none":
            if not cats:
                request.update(tools=clients, tool_choice="none")
            return
        # Nothing but a call of the client's ends a run that must end with one.
        must_end = isinstance(functions.choice, Mapping) or (functions.choice == "required" and self.cat_used_tools)
        request["tools"] = clients if must_end else [*cats, *clients]
        if functions.choice is not None:
            request["tool_choice"] = functions.choice
        if functions.parallel is not None:
            request["parallel_tool_calls"] = functions.parallel

    async def _create(self, client: Any, request: dict[str, Any]) -> Any:
        try:
            return await client.chat.completions.create(**request)
        except APIStatusError as error:
            refused = next((name for name in NOT_EVERYWHERE if name in request and name in str(error)), None)
            if refused is None or error.status_code not in (400, 422):
                raise
        request = {name: value for name, value in request.items() if name != refused}
        if refused == "response_format" and self._run.format:
            wish = {"role": "system", "content": json_instruction(self._run.format)}
            request["messages"] = [*request["messages"], wish]
        return await self._create(client, request)

    async def _heard(self, stream: Any, is_agents: bool) -> AsyncGenerator[Any, None]:
        last: Any = None
        usage = None
        try:
            async for chunk in stream:
                usage = chunk.usage or usage
                if chunk.choices:
                    last = chunk
                    if is_agents:
                        chunk = await self._hear(chunk)  # noqa: PLW2901
                yield chunk
        finally:
            await stream.close()
        if last is None:
            raise LLMSaidNothing
        self._usages.append(_usage(usage))
        if is_agents and self.calls.all():
            yield self._calls_for_the_cat(last)

    async def _hear(self, chunk: "ChatCompletionChunk") -> "ChatCompletionChunk":
        """The chunk without the pieces of the client's calls, which the Cat gets whole. This runs for every
        token."""
        choice = chunk.choices[0]
        delta = choice.delta
        self._finish_reason = choice.finish_reason or self._finish_reason
        self._note(chunk.system_fingerprint)
        if delta.refusal:
            await self._tell(Refusal(delta.refusal))
        if not delta.tool_calls:
            return chunk
        others = []
        for call in delta.tool_calls:
            function = call.function
            index = call.index or 0
            name, arguments = (function.name, function.arguments) if function else (None, None)
            heard = self.calls.feed(index, call.id, name, arguments)
            if heard:
                self.has_told_calls = True
                await self._tell(heard)
            elif not self.calls.is_clients_at(index):
                others.append(call)
        choice = choice.model_copy(update={"delta": delta.model_copy(update={"tool_calls": others or None})})
        return chunk.model_copy(update={"choices": [choice]})

    def _calls_for_the_cat(self, chunk: "ChatCompletionChunk") -> "ChatCompletionChunk":
        pieces = [
            ChoiceDeltaToolCall(
                index=BEHIND_OTHERS + place,
                id=call.id,
                type="function",
                function=ChoiceDeltaToolCallFunction(name=call.name, arguments=_readable(call.arguments)),
            )
            for place, call in enumerate(self.calls.all())
        ]
        choice = chunk.choices[0].model_copy(update={"delta": ChoiceDelta(tool_calls=pieces)})
        return chunk.model_copy(update={"choices": [choice]})

    async def _hear_whole(self, reply: Any) -> Any:
        if not reply.choices:
            raise LLMSaidNothing
        choice = reply.choices[0]
        message = choice.message
        self._finish_reason = choice.finish_reason
        self._note(reply.system_fingerprint)
        if message.refusal:
            await self._tell(Refusal(message.refusal))
        calls = []
        for index, call in enumerate(message.tool_calls or []):
            heard = self.calls.feed(index, call.id, call.function.name, call.function.arguments)
            if heard:
                function = call.function.model_copy(update={"arguments": _readable(heard.arguments)})
                calls.append(call.model_copy(update={"id": heard.id, "function": function}))
            elif not self.calls.is_clients_at(index):
                calls.append(call)
        if not message.tool_calls:
            return reply
        choice = choice.model_copy(update={"message": message.model_copy(update={"tool_calls": calls or None})})
        return reply.model_copy(update={"choices": [choice]})

    def _note(self, fingerprint: str | None) -> None:
        if fingerprint and fingerprint != self._fingerprint:
            self._fingerprint = fingerprint
            self._channel.put(Fingerprint(fingerprint))

    async def _tell(self, event: Event) -> None:
        self._channel.put(event)
        if self._live:
            await self._channel.wait_for_reader()


def step_into(providers: Iterable[Any]) -> None:
    """Have each provider (one object for all runs, until its settings change) give runs their own client.

    Around its own methods, never around those that this plugin gave it before it was switched off and on: runs of
    before may still be under way, and each of both steps in.
    """
    for provider in providers:
        if isinstance(getattr(provider, "client", None), _ClientOfRun):
            continue
        own = vars(provider).setdefault(OWN_METHODS, (provider.client, provider.convert_message))
        provider.client = _ClientOfRun(own[0])
        provider.convert_message = verbatim(own[1])


class _ClientOfRun:
    """Stands in for a provider's method `client`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def __call__(self) -> Any:
        client = await self._client()
        llm = llm_of_run.get()
        return client if client is None or llm is None else _SDKClient(client, llm)


class _SDKClient:
    """The SDK's client with another `chat.completions.create`."""

    def __init__(self, client: Any, llm: LLMOfRun) -> None:
        self._client = client
        self._llm = llm
        self.chat = self
        self.completions = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def create(self, **request: Any) -> Any:
        return await self._llm.ask(self._client, request)


def _usage(reported: Any) -> Usage | None:
    return usage_of(reported.model_dump()) if reported else None


def _readable(arguments: str) -> str:
    """Arguments as the Cat can read them; the client gets them as they are."""
    return "{}" if args_of(arguments) is None else arguments
