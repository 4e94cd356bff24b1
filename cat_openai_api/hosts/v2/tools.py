"""The client's functions among an agent's tools on Cat 2.

The agent's loop calls a tool and asks its LLM again. A call of the client's ends the loop instead, when the agent's
own tools that the LLM called beside it have run.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...domain.conversation import Functions, Turn
from ..detect import IS_CAT_2
from .llm import LLMOfRun
from .messages import ClientMessage, message_of

if IS_CAT_2 or TYPE_CHECKING:
    from cat.mad_hatter.decorators import Tool


class _ForTheClient(Exception):
    """Ends the agent's loop: it is the client's turn."""


class ClientTools:
    """For one run. `said`: all that the agent and its own tools said in it, when its loop has ended."""

    def __init__(self, agent: Any, llm: LLMOfRun, functions: Functions | None) -> None:
        self.said: list[Any] = []
        self._agent = agent
        self._llm = llm
        self._functions = functions
        self._loop = agent.loop
        self._call_tool = agent.call_tool
        agent.loop = self._loop_until_client
        agent.call_tool = self._call

    def offer(self) -> None:
        """In place of the agent's own tools of the same name. Not offered are what must not be called."""
        if self._functions is None or self._functions.choice == "none":
            return
        own = [tool for tool in self._agent.tools if not self._llm.calls.is_client_function(tool.name)]
        self._agent.tools = own + [_tool(tool["function"]) for tool in self._functions.tools.values()]

    def next_step(self) -> None:
        """Before each question of the agent's to its LLM."""
        if self._llm.calls.tool_calls():
            raise _ForTheClient
        self._llm.agent_asks()

    async def _loop_until_client(self) -> None:
        try:
            await self._loop()
        except _ForTheClient:
            pass
        finally:
            messages = self._agent.result.messages
            messages[:] = [message for message in messages if not isinstance(message, ClientMessage)]
            self.said = [*messages]

    async def _call(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._llm.calls.is_client_function(call.name):
            self._llm.cat_used_tools = True
            return await self._call_tool(call, *args, **kwargs)
        if call.id not in [known.id for known in self._llm.calls.tool_calls()]:
            # A provider of another wire format, whose stream nobody heard.
            self._llm.calls.feed(-1 - len(self._llm.calls.tool_calls()), call.id, call.name, json.dumps(call.args))
        return message_of(Turn("tool", ("",), call_id=call.id))


def _tool(function: Mapping[str, Any]) -> Any:
    return Tool(
        func=_never_called,
        name=function["name"],
        description=function.get("description") or "",
        input_schema=function.get("parameters") or {"type": "object", "properties": {}},
        output_schema={},
    )


def _never_called() -> None:
    raise RuntimeError("A client's function was called in the Cat.")
