"""How a session of the plugin knows that the Cat asks the LLM for the reply itself, with its main prompt.

In Cheshire Cat 1.9 `MemoryAgent.execute` does that. Only this call of the LLM gets the client's functions and response
format: not the calls of the agent that chooses the Cat's own tools, of forms, or of plugins (`cat.llm`).

`MemoryAgent.execute` runs within the session's own context manager `openai_api_main_prompt`. Sessions that have none
are those of the Cat's own chat, for which nothing changes. The context manager is looked up by its name: so this works
for sessions of another generation of the plugin too, whose runs are under way while it is switched off and on.

This module imports nothing of the plugin: another plugin may hold what is made here for as long as the Cat runs.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any


def mark_main_prompt(execute: Callable[..., Any]) -> Callable[..., Any]:
    """A replacement for the function `MemoryAgent.execute` that marks the session while it runs."""

    @wraps(execute)
    def execute_and_mark(self: Any, cat: Any, *args: Any, **kwargs: Any) -> Any:
        with _main_prompt_of(cat):
            return execute(self, cat, *args, **kwargs)

    return execute_and_mark


def subclass_that_marks(agent: Any) -> Any:
    """A subclass of `agent`, the class that sends the main prompt, that marks the session meanwhile.

    `agent` may be another plugin's subclass of `MemoryAgent`, or a function that makes an agent: then the result is a
    function too. The subclass has the same name, because the Cat stores the name with each reply.
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
