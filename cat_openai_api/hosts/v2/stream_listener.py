"""The text and the steps of an agent while it runs."""

import asyncio
import json
from collections.abc import Awaitable, Generator, Iterable
from typing import TYPE_CHECKING, Any

from ...domain.events import Event, PluginText, Step, Text
from ..detect import IS_CAT_2
from ..shared.client_calls import step_for
from ..shared.event_channel import EventChannel
from .llm import AGENT_SOURCE, RunLLM, token_source

if IS_CAT_2 or TYPE_CHECKING:
    from cat.protocols.agui import events as agui
    from cat.services.agents.base import Agent

PLUGIN_SOURCE = -1
"""Source of the texts that plugins send themselves, without an LLM."""


class _Done:
    """Something to await that has happened."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


NOTHING_TO_WAIT_FOR = _Done()


class StreamListener:
    """Puts what the agent streams into the channel of the run.

    An agent may send several messages in a run, before and after it uses tools: all of them are its reply. Texts that
    the LLM writes for somebody else are not, and are not sent: those of agents that it calls as tools, of its tools, of
    its directives and of hooks. An agent that has a loop of its own sends its own requests to the LLM: their texts are
    sent, though the reply need not have them. So are texts that plugins send themselves as AG-UI events. The names of
    AG-UI steps are steps.

    `in_directives`: whether a directive of the agent is at work.
    """

    def __init__(self, agent: Any, channel: EventChannel, llm: RunLLM, *, include_steps: bool) -> None:
        self.in_directives = False
        self._channel = channel
        self._llm = llm
        self._loop = asyncio.get_running_loop()
        self._include_steps = include_steps
        self._has_own_loop = type(agent).loop is not Agent.loop or type(agent).__call__ is not Agent.__call__
        self._tools_running = 0
        self._message_starts = False
        self._ended = False
        self._call_tool = agent.call_tool
        agent.call_tool = self._call_tool_with_step

    def end(self) -> None:
        """Nothing is sent any more: tasks that the run has started may outlive it."""
        self._ended = True

    def feed(self, event: Any) -> Awaitable[None]:
        """The Cat's stream callback. It is called for each AG-UI event, and so for every token.

        No coroutine, as in the Cat's own chat: plugins need not await what it returns, and may send any event.
        """
        if not isinstance(event, dict):
            event = dict(event)
        kind = event.get("type")
        if kind == agui.EventType.TEXT_MESSAGE_CONTENT:
            source = self._source()
            if source == AGENT_SOURCE:
                delta = event["delta"]
                if self._message_starts:
                    self._message_starts = False
                    delta = _separator(self._channel.last_text(), delta) + delta
                self._channel.put(Text(delta))
                return self._channel.wait_for_reader()
            if source is not None and event.get("delta"):
                self._put(PluginText(str(event["delta"]), source))
        elif kind == agui.EventType.TEXT_MESSAGE_START:
            self._message_starts = self._message_starts or self._source() == AGENT_SOURCE
        elif kind == agui.EventType.STEP_STARTED and self._include_steps and not self._ended and event.get("step_name"):
            self._put(Step(str(event["step_name"])))
        return NOTHING_TO_WAIT_FOR

    def _source(self) -> int | None:
        """That of the text of an event; None for a text that is not sent. This runs for every token."""
        source = token_source.get()
        if self._ended:
            return None
        if source == AGENT_SOURCE:
            return source
        if source is not None:
            return source if self._has_own_loop and not self.in_directives and not self._tools_running else None
        if self._llm.agent_provider_is_unseen():
            return None if self.in_directives or self._tools_running else AGENT_SOURCE
        return PLUGIN_SOURCE

    def _put(self, event: Event) -> None:
        """Plugins may send from a thread with an event loop of its own."""
        if asyncio.get_running_loop() is self._loop:
            self._channel.put(event)
        else:
            self._loop.call_soon_threadsafe(self._channel.put, event)

    async def _call_tool_with_step(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        if self._include_steps and not self._llm.calls.is_client_function(call.name):
            self._channel.put(step_for(call.name, json.dumps(call.args, ensure_ascii=False)))
        self._tools_running += 1
        try:
            return await self._call_tool(call, *args, **kwargs)
        finally:
            self._tools_running -= 1


def text_of(messages: Iterable[Any]) -> str:
    """The texts of an agent's messages as one reply, equal to what `StreamListener` makes of them."""
    reply = ""
    for message in messages:
        if message.role == "assistant" and message.text:
            reply += _separator(reply, message.text) + message.text
    return reply


def _separator(before: str, after: str) -> str:
    """An empty line between two messages, unless one of them has white space there."""
    return "" if not before or before[-1].isspace() or after[0].isspace() else "\n\n"
