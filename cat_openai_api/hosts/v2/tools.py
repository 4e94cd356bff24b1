"""The client's functions among the tools of an agent on Cat 2.

The agent's loop runs the tools that its LLM calls, and sends their results to the LLM. A call of a client's function
ends the loop instead, after the Cat's own tools that the LLM called in the same reply have run.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...domain.conversation import Functions, Turn
from ..detect import IS_CAT_2
from .llm import RunLLM
from .messages import ClientMessage, message_of

if IS_CAT_2 or TYPE_CHECKING:
    from cat.mad_hatter.decorators import Tool


class _ClientsTurn(Exception):
    """Ends the agent's loop: the client has to run its functions."""


class ClientTools:
    """For one run. `messages`: those of the agent and of its own tools in this run, when its loop has ended.

    `without_own_tools`: whether the agent's own tools are withheld from it.
    """

    def __init__(self, agent: Any, llm: RunLLM, functions: Functions | None, *, without_own_tools: bool) -> None:
        self.messages: list[Any] = []
        self._without_own_tools = without_own_tools
        self._agent = agent
        self._llm = llm
        self._functions = functions
        self._loop = agent.loop
        self._call_tool = agent.call_tool
        agent.loop = self._loop_until_clients_turn
        agent.call_tool = self._call

    def add_to_agent(self) -> None:
        """Replace the agent's own tools of the same name. With the choice "none" nothing is added."""
        if self._without_own_tools:
            self._agent.tools = []
        if self._functions is None or self._functions.choice == "none":
            return
        own = [tool for tool in self._agent.tools if not self._llm.calls.is_client_function(tool.name)]
        self._agent.tools = own + [_tool(tool["function"]) for tool in self._functions.tools.values()]

    def before_step(self) -> None:
        """To be called before each request of the agent to its LLM."""
        if self._llm.calls.tool_calls():
            raise _ClientsTurn
        self._llm.expect_agent_request()

    async def _loop_until_clients_turn(self) -> None:
        try:
            await self._loop()
        except _ClientsTurn:
            pass
        finally:
            messages = self._agent.result.messages
            messages[:] = [message for message in messages if not isinstance(message, ClientMessage)]
            self.messages = [*messages]

    async def _call(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._llm.calls.is_client_function(call.name):
            self._llm.cat_used_tools = True
            return await self._call_tool(call, *args, **kwargs)
        calls = self._llm.calls.tool_calls()
        if call.id not in [known.id for known in calls]:
            # The LLM's provider has another wire format, so `RunLLM` has not seen its reply.
            self._llm.calls.feed(-1 - len(calls), call.id, call.name, json.dumps(call.args))
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
    raise RuntimeError("The Cat has called a client's function.")
