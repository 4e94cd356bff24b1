"""How a session of the plugin knows that the Cat asks the LLM for the reply itself, with its main prompt.

In Cheshire Cat 1.9 `MemoryAgent.execute` does that. Only this call of the LLM gets the client's functions and response
format: not the calls of the agent that chooses the Cat's own tools, of forms, or of plugins (`cat.llm`).

The session is told by a context manager of its own, `openai_api_main_prompt`. Sessions without one are the Cat's own
chat, and nothing changes for them. It is looked up by its name, so that a session of another generation of the plugin,
whose run was under way when the plugin was switched off and on, is told as well.

This module imports nothing of the plugin: another plugin may keep what is made here for as long as the Cat runs.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any


def mark_main_prompt(execute: Callable[..., Any]) -> Callable[..., Any]:
    """`MemoryAgent.execute`, as a function of the class, that tells the session when it begins and ends."""

    @wraps(execute)
    def execute_and_mark(self: Any, cat: Any, *args: Any, **kwargs: Any) -> Any:
        with _main_prompt_of(cat):
            return execute(self, cat, *args, **kwargs)

    return execute_and_mark


def subclass_that_marks(agent: Any) -> Any:
    """A subclass of the class of agents that asks the main prompt, which may be another plugin's subclass.

    It has the same name, which the Cat writes into what it tells about a reply. What is no class, such as a function
    that makes an agent, is left as it is, in a function.
    """
    if not isinstance(agent, type):
        return _function_that_marks(agent)

    def execute(self: Any, cat: Any, *args: Any, **kwargs: Any) -> Any:
        with _main_prompt_of(cat):
            return super(marking, self).execute(cat, *args, **kwargs)

    marking: type[Any] = type(agent.__name__, (agent,), {"execute": execute, "__module__": agent.__module__})
    return marking


def _function_that_marks(make_agent: Callable[..., Any]) -> Callable[..., Any]:
    def make_agent_that_marks(*args: Any, **kwargs: Any) -> Any:
        agent = make_agent(*args, **kwargs)
        execute = agent.execute

        def execute_and_mark(cat: Any, *args: Any, **kwargs: Any) -> Any:
            with _main_prompt_of(cat):
                return execute(cat, *args, **kwargs)

        agent.execute = execute_and_mark
        return agent

    return make_agent_that_marks


def _main_prompt_of(cat: Any) -> Any:
    main_prompt = getattr(cat, "openai_api_main_prompt", None)
    return nullcontext() if main_prompt is None else main_prompt()
