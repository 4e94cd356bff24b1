"""What other plugins may do to the parts of the Cat that ask its LLM, and a look at what stands in those places."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from cat.agents import AgentOutput, main_agent
from cat.agents.main_agent import MainAgent
from cat.agents.memory_agent import MemoryAgent
from cat.looking_glass import callbacks, stray_cat
from cat.looking_glass.cheshire_cat import CheshireCat
from cat.looking_glass.stray_cat import StrayCat
from cat.mad_hatter.decorators import endpoint, hook
from cat.utils import BaseModelDict
from langchain_core.runnables.base import RunnableSequence

PLACES: dict[str, tuple[Any, str]] = {
    "MemoryAgent": (main_agent, "MemoryAgent"),
    "MemoryAgent.execute": (MemoryAgent, "execute"),
    "callbacks.tiktoken": (callbacks, "tiktoken"),
    "stray_cat.tiktoken": (stray_cat, "tiktoken"),
}

hosts_own = {place: getattr(*where) for place, where in PLACES.items()}

replaced: list[tuple[Any, str, Any]] = []

may_go_on = threading.Event()
is_waiting = threading.Event()


@endpoint.get("/wonderland/replaced", prefix="")
async def replaced_places() -> list[str]:
    """The places in which not the host's own object stands, if this plugin was loaded before any other."""
    return [place for place, where in PLACES.items() if getattr(*where) is not hosts_own[place]]


@endpoint.get("/wonderland/threads", prefix="")
async def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


@endpoint.post("/wonderland/wrap/{kind}", prefix="")
async def wrap(kind: str) -> None:
    """Replace what stands there now."""
    owner, name, make = WRAPPERS[kind]()
    original = getattr(owner, name)
    replaced.append((owner, name, original))
    setattr(owner, name, make(original))


@endpoint.post("/wonderland/unwrap", prefix="")
async def unwrap() -> None:
    """Put back what stood there before."""
    while replaced:
        setattr(*replaced.pop())


@endpoint.post("/wonderland/go-on", prefix="")
async def go_on() -> None:
    may_go_on.set()


@endpoint.get("/wonderland/waits", prefix="")
async def waits() -> bool:
    return is_waiting.is_set()


@hook
def before_agent_starts(agent_input: Any, cat: Any) -> Any:
    """A run that waits before its main prompt until `/wonderland/go-on` is called."""
    if cat.working_memory.user_message_json.text.startswith("Wait: "):
        is_waiting.set()
        may_go_on.wait(30)
        may_go_on.clear()
        is_waiting.clear()
    return agent_input


def text_of(cat: Any) -> str:
    return cat.working_memory.user_message_json.text


def with_calls_of_its_own(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Asks the LLM before and after the agent, which it runs in another thread, as for a time-out."""

    @wraps(execute)
    def wrapper(self: Any, cat: Any, *args: Any, **kwargs: Any) -> Any:
        cat.llm(text_of(cat))
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(execute(self, cat, *args, **kwargs)))
        thread.start()
        thread.join()
        cat.llm(text_of(cat))
        return results[0]

    return wrapper


def passing(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def subclass(agent: Any) -> Any:
    class PoliteAgent(agent):  # type: ignore[misc, valid-type]
        def execute(self, cat: Any, prompt_prefix: str, prompt_suffix: str) -> Any:
            cat.llm(text_of(cat))
            return super().execute(cat, prompt_prefix + "\nBe polite.", prompt_suffix)

    return PoliteAgent


def subclass_with_its_own_chain(agent: Any) -> Any:
    class BriefAgent(agent):  # type: ignore[misc, valid-type]
        def execute(self, cat: Any, prompt_prefix: str, prompt_suffix: str) -> Any:
            return AgentOutput(output=cat._llm.invoke(text_of(cat)).content)

    return BriefAgent


def unrelated_subclass(_: Any) -> Any:
    """It does not know what stood there."""

    class OtherAgent(MemoryAgent):
        pass

    return OtherAgent


def main_agent_of_its_own(_: Any) -> Any:
    class OtherMainAgent(MainAgent):
        def execute(self, cat: Any) -> Any:
            cat.working_memory.agent_input = BaseModelDict(tools_output="")
            prefix = cat.mad_hatter.execute_hook("agent_prompt_prefix", "You are another agent.", cat=cat)
            return MemoryAgent().execute(cat, prefix, "")

    return OtherMainAgent()


def wrapped_property(original: Any) -> Any:
    return property(passing(original.fget))


WRAPPERS: dict[str, Callable[[], tuple[Any, str, Callable[[Any], Any]]]] = {
    "execute": lambda: (MemoryAgent, "execute", with_calls_of_its_own),
    "main_execute": lambda: (MainAgent, "execute", passing),
    "main_agent": lambda: (CheshireCat(), "main_agent", main_agent_of_its_own),
    "subclass": lambda: (main_agent, "MemoryAgent", subclass),
    "own_chain": lambda: (main_agent, "MemoryAgent", subclass_with_its_own_chain),
    "unrelated": lambda: (main_agent, "MemoryAgent", unrelated_subclass),
    "factory": lambda: (main_agent, "MemoryAgent", passing),
    "llm": lambda: (StrayCat, "_llm", wrapped_property),
    "chain": lambda: (RunnableSequence, "invoke", passing),
}
"""Owner, name and what takes the place of the original."""
