"""The text and the steps of an agent while it runs."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...domain.events import Text
from ..detect import IS_CAT_2
from ..shared.client_calls import ClientCalls, step_for
from ..shared.event_channel import EventChannel

if IS_CAT_2 or TYPE_CHECKING:
    from cat.protocols.agui import events as agui


class StreamListener:
    """Puts what the agent streams into the channel of the run.

    An agent may send several messages in a run, before and after it uses tools: all of them are its reply. Messages of
    agents that it calls as tools are not.
    """

    def __init__(self, agent: Any, channel: EventChannel, calls: ClientCalls, *, include_steps: bool) -> None:
        self._channel = channel
        self._calls = calls
        self._include_steps = include_steps
        self._tools_running = 0
        self._message_starts = False
        self._call_tool = agent.call_tool
        agent.call_tool = self._call_tool_silently

    async def feed(self, event: dict[str, Any]) -> None:
        """The Cat's stream callback. It is called for each AG-UI event, and so for every token."""
        if self._tools_running:
            return
        kind = event["type"]
        if kind == agui.EventType.TEXT_MESSAGE_CONTENT:
            delta = event["delta"]
            if self._message_starts:
                self._message_starts = False
                delta = _separator(self._channel.last_text(), delta) + delta
            self._channel.put(Text(delta))
            await self._channel.wait_for_reader()
        elif kind == agui.EventType.TEXT_MESSAGE_START:
            self._message_starts = True

    async def _call_tool_silently(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        if self._include_steps and not self._calls.is_client_function(call.name):
            self._channel.put(step_for(call.name, json.dumps(call.args, ensure_ascii=False)))
        self._tools_running += 1
        try:
            return await self._call_tool(call, *args, **kwargs)
        finally:
            self._tools_running -= 1


def join_messages(messages: Iterable[str]) -> str:
    """The texts of an agent's messages as one reply, equal to what `StreamListener` makes of them."""
    reply = ""
    for message in messages:
        if message:
            reply += _separator(reply, message) + message
    return reply


def _separator(before: str, after: str) -> str:
    """An empty line between two messages, unless one of them has white space there."""
    return "" if not before or before[-1].isspace() or after[0].isspace() else "\n\n"
