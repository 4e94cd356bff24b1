"""The requests that one run on Cat 2 sends to its LLM, and what the LLM returns beside text and tool calls.

Cat 2 has no place for sampling parameters, a response format or a tool choice, and it drops usage, finish reason and
refusals. `RunLLM` adds and reads them at the OpenAI SDK's `chat.completions.create`, which every provider of OpenAI's
wire format calls; `providers` makes those of a run call it here.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ...domain.events import EARLY_FINISH_REASONS, End, Event, Fingerprint, Refusal
from ...domain.json_instruction import json_instruction
from ...domain.usage import Usage, total_usage
from ..detect import IS_CAT_2
from ..port import Run
from ..shared.client_calls import ClientCalls
from ..shared.event_channel import EventChannel
from ..shared.openai_format import parse_arguments, parse_usage

if IS_CAT_2 or TYPE_CHECKING:
    from openai import APIStatusError
    from openai.types.chat.chat_completion_chunk import (
        ChatCompletionChunk,
        ChoiceDelta,
        ChoiceDeltaToolCall,
        ChoiceDeltaToolCallFunction,
    )

OPTIONAL_PARAMETERS = ("stream_options", "response_format", "parallel_tool_calls")
"""Parameters that some servers of OpenAI's wire format refuse. The request is repeated without them."""

AGENT_SOURCE = 0
"""Source of the texts of the agent that a run is for, see `token_source`."""

CLIENT_CALL_INDEX = 1000
"""Index of the first of the client's calls in the chunk that the Cat's provider gets: behind all of the Cat's own."""


class EmptyLLMReply(Exception):
    """The LLM's server answered without a single choice, so it is no LLM."""


class RunLLM:
    """What one run adds to its requests to the LLM, and what it reads from the LLM's replies.

    Every request within the run gets the client's sampling parameters, and its usage counts. The client's functions and
    response format are only for requests of the agent that the run is for, not for those of agents that it calls as
    tools, or of hooks: `expect_agent_request` announces each request of that agent.
    """

    def __init__(self, run: Run, channel: EventChannel, *, live: bool) -> None:
        self.calls = ClientCalls(run.functions)
        self.cat_used_tools = False
        self.has_sent_calls = False
        self.ended = False
        self._run = run
        self._channel = channel
        self._live = live
        self._announced = 0
        self._agent_request_is_next = False
        self._has_unseen_request = False
        self._requests = 0
        self._usages = run.usages
        self._streams: list[tuple[asyncio.Task[Any] | None, Any]] = []
        self._finish_reason: str | None = None
        self._fingerprint: str | None = None

    def expect_agent_request(self) -> None:
        """To be called in the task that sends the request, or in one that it was started from: requests of other tasks,
        which may run at the same time, are not the agent's."""
        self._has_unseen_request = self.agent_provider_is_unseen()
        self._announced += 1
        announced_request.set(self._announced)
        self._agent_request_is_next = True

    def agent_provider_is_unseen(self) -> bool:
        """Whether a request of the agent has gone to a provider of another wire format, or is about to be sent."""
        return self._has_unseen_request or self._agent_request_is_next

    def end_event(self, text: str) -> End:
        """`text`: the final text. No usage if the agent sent a request to a provider of another wire format: its usage
        is unknown."""
        usage = None if self.agent_provider_is_unseen() else total_usage(self._usages)
        return End(EARLY_FINISH_REASONS.get(self._finish_reason), usage, text)

    async def create(self, client: Any, request: dict[str, Any]) -> Any:
        """Called instead of `chat.completions.create` of the SDK's `client`; returns what that returns.

        Raises what the SDK raises, and `EmptyLLMReply`.
        """
        is_agents = self._agent_request_is_next and announced_request.get() == self._announced
        if is_agents:
            self._agent_request_is_next = False
        request = {**request, **self._run.sampling}
        if request.get("stream"):
            request["stream_options"] = {"include_usage": True}
        if is_agents:
            self._add_functions(request)
            if self._run.format:
                request["response_format"] = self._run.format.response_format
        reply = await self._create(client, request)
        if request.get("stream"):
            self._streams.append((asyncio.current_task(), reply))
            self._requests += 1
            return self._read_stream(reply, AGENT_SOURCE if is_agents else self._requests)
        self._usages.append(_usage(reply.usage))
        return await self._read_completion(reply) if is_agents else reply

    async def close(self) -> None:
        """End the run's influence, and close its streams: a run that was cancelled while it read left them open.

        To be called in the task of the run. Tasks that a plugin has started may outlive it: they read their streams to
        the end, and their next requests are the Cat's own.
        """
        self.ended = True
        current = asyncio.current_task()
        for task, stream in self._streams:
            if task is None or task is current or task.done():
                await stream.close()

    def _add_functions(self, request: dict[str, Any]) -> None:
        functions = self._run.functions
        if functions is None:
            return
        client_tools = list(functions.tools.values())
        tools = request.get("tools", ())
        cat_tools = [tool for tool in tools if not self.calls.is_client_function(tool["function"]["name"])]
        if functions.choice == "none":
            if not cat_tools:
                request.update(tools=client_tools, tool_choice="none")
            return
        # If the run must end with a call of the client's, calls of the Cat's own tools would keep it from its end.
        must_end = isinstance(functions.choice, Mapping) or (functions.choice == "required" and self.cat_used_tools)
        request["tools"] = client_tools if must_end else [*cat_tools, *client_tools]
        if functions.choice is not None:
            request["tool_choice"] = functions.choice
        if functions.parallel is not None:
            request["parallel_tool_calls"] = functions.parallel

    async def _create(self, client: Any, request: dict[str, Any]) -> Any:
        try:
            return await client.chat.completions.create(**request)
        except APIStatusError as error:
            refused = next((name for name in OPTIONAL_PARAMETERS if name in request and name in str(error)), None)
            if refused is None or error.status_code not in (400, 422):
                raise
        request = {name: value for name, value in request.items() if name != refused}
        if refused == "response_format" and self._run.format:
            instruction = {"role": "system", "content": json_instruction(self._run.format)}
            request["messages"] = [*request["messages"], instruction]
        return await self._create(client, request)

    async def _read_stream(self, stream: Any, source: int) -> AsyncGenerator[Any, None]:
        """`source`: see `token_source`."""
        is_agents = source == AGENT_SOURCE
        last: Any = None
        usage = None
        try:
            async for chunk in stream:
                usage = chunk.usage or usage
                if chunk.choices:
                    last = chunk
                    if is_agents:
                        chunk = await self._read_chunk(chunk)  # noqa: PLW2901
                token_source.set(source)
                yield chunk
                token_source.set(None)
        finally:
            token_source.set(None)
            await stream.close()
        if last is None:
            raise EmptyLLMReply
        self._usages.append(_usage(usage))
        if is_agents and self.calls.tool_calls():
            yield self._client_calls_chunk(last)

    async def _read_chunk(self, chunk: "ChatCompletionChunk") -> "ChatCompletionChunk":
        """The chunk without pieces of the client's calls: `_client_calls_chunk` has those calls as a whole.

        This runs for every token.
        """
        choice = chunk.choices[0]
        delta = choice.delta
        self._finish_reason = choice.finish_reason or self._finish_reason
        self._set_fingerprint(chunk.system_fingerprint)
        if delta.refusal:
            await self._send(Refusal(delta.refusal))
        if not delta.tool_calls:
            return chunk
        cat_calls = []
        for call in delta.tool_calls:
            function = call.function
            index = call.index or 0
            name, arguments = (function.name, function.arguments) if function else (None, None)
            call_delta = self.calls.feed(index, call.id, name, arguments)
            if call_delta:
                self.has_sent_calls = True
                await self._send(call_delta)
            elif not self.calls.is_client_call(index):
                cat_calls.append(call)
        choice = choice.model_copy(update={"delta": delta.model_copy(update={"tool_calls": cat_calls or None})})
        return chunk.model_copy(update={"choices": [choice]})

    def _client_calls_chunk(self, chunk: "ChatCompletionChunk") -> "ChatCompletionChunk":
        pieces = [
            ChoiceDeltaToolCall(
                index=CLIENT_CALL_INDEX + position,
                id=call.id,
                type="function",
                function=ChoiceDeltaToolCallFunction(name=call.name, arguments=_valid_arguments(call.arguments)),
            )
            for position, call in enumerate(self.calls.returned_calls())
        ]
        choice = chunk.choices[0].model_copy(update={"delta": ChoiceDelta(tool_calls=pieces)})
        return chunk.model_copy(update={"choices": [choice]})

    async def _read_completion(self, completion: Any) -> Any:
        if not completion.choices:
            raise EmptyLLMReply
        choice = completion.choices[0]
        message = choice.message
        self._finish_reason = choice.finish_reason
        self._set_fingerprint(completion.system_fingerprint)
        if message.refusal:
            await self._send(Refusal(message.refusal))
        calls = []
        for index, call in enumerate(message.tool_calls or []):
            whole = self.calls.feed(index, call.id, call.function.name, call.function.arguments)
            if whole:
                arguments = self.calls.returned_calls()[whole.index].arguments
                function = call.function.model_copy(update={"arguments": _valid_arguments(arguments)})
                calls.append(call.model_copy(update={"id": whole.id, "function": function}))
            elif not self.calls.is_client_call(index):
                calls.append(call)
        if not message.tool_calls:
            return completion
        choice = choice.model_copy(update={"message": message.model_copy(update={"tool_calls": calls or None})})
        return completion.model_copy(update={"choices": [choice]})

    def _set_fingerprint(self, fingerprint: str | None) -> None:
        if fingerprint and fingerprint != self._fingerprint:
            self._fingerprint = fingerprint
            self._channel.put(Fingerprint(fingerprint))

    async def _send(self, event: Event) -> None:
        self._channel.put(event)
        if self._live:
            await self._channel.wait_for_reader()


announced_request: ContextVar[int] = ContextVar("openai_api_announced_request", default=0)
"""Number of the request to the LLM that the agent of the run has announced last, in the task that announced it."""

token_source: ContextVar[int | None] = ContextVar("openai_api_token_source", default=None)
"""While a token is passed on that an LLM has sent: the request to the LLM that it comes from, as a number.

The Cat's events do not tell. `AGENT_SOURCE` for all requests of the agent that the run is for.
"""

run_llm: ContextVar[RunLLM | None] = ContextVar("openai_api_run_llm", default=None)
"""Set in the task of each run, and so in everything that the run awaits and in the tasks that it starts."""


def current_run_llm() -> RunLLM | None:
    """That of the run that the caller is part of; None outside of runs, and after the run has ended."""
    llm = run_llm.get()
    return None if llm is None or llm.ended else llm


class RunSDKClient:
    """The OpenAI SDK's client with another `chat.completions.create`."""

    def __init__(self, client: Any, llm: RunLLM) -> None:
        self._client = client
        self._llm = llm
        self.chat = self
        self.completions = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def create(self, **request: Any) -> Any:
        return await self._llm.create(self._client, request)


def _usage(reported: Any) -> Usage | None:
    return parse_usage(reported.model_dump()) if reported else None


def _valid_arguments(arguments: str) -> str:
    """For the Cat's provider, which raises on arguments that are no JSON object. The client gets them unchanged."""
    return "{}" if parse_arguments(arguments) is None else arguments
