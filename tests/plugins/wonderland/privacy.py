"""Hooks and a directive that hide addresses from the LLM, and others that change messages before an agent runs."""

import re
from collections import Counter
from typing import Any, ClassVar

from cat import Agent, Directive, endpoint, hook
from cat.types import ImageContent

readings: Counter[str] = Counter()


@endpoint.get("/wonderland/readings", role="admin")
async def how_often(text: str) -> int:
    """How often the hook was called with a last message that begins so."""
    return sum(count for read, count in readings.items() if read.startswith(text))


def without_addresses(text: str) -> str:
    return re.sub(r"\b\w{1,20}@\w+\.\w+", "[an address]", text)


@hook("before_agent_run")
def hide_in_last_message(task: Any) -> Any:
    last = task.messages[-1] if task.messages else None
    if last is None or last.role != "user":
        return None
    readings[last.text] += 1
    for block in last.content:
        if hasattr(block, "text"):
            sent = block.text
            block.text = without_addresses(sent)
            if sent.startswith("Add: "):
                block.text += f"\n(read {readings[sent]})"
    if last.text.startswith("Another picture: "):
        last.content[1:] = [ImageContent(data="R0lGODdh", mimeType="image/gif")]
    return None


@hook("before_agent_execution")
def hide_before_2_0_22(task: Any) -> Any:
    return hide_in_last_message.function(task)


@hook("before_agent_run")
def mark_all_messages(task: Any) -> Any:
    """Changes all messages at each request, in a task of its own."""
    messages = [message.model_copy(deep=True) for message in task.messages]
    for message in messages:
        for block in message.content:
            if message.role == "user" and getattr(block, "text", "").startswith("Mark: "):
                block.text += " (marked)"
    return task.model_copy(update={"messages": messages}) if any("Mark: " in each.text for each in messages) else None


@hook("before_agent_execution")
def mark_before_2_0_22(task: Any) -> Any:
    return mark_all_messages.function(task)


class Veil(Directive):
    """Hides addresses of the last message at each step, and adds to it what the LLM should know now."""

    slug = "veil"

    async def step(self, agent: Any) -> None:
        for block in agent.task.messages[-1].content:
            block.text = without_addresses(block.text).replace("[an address]", "[veiled]")
            if "Context: tea" not in block.text:
                block.text = f"Context: tea\n{block.text}"


class Veiled(Agent):
    slug = "veiled"
    name = "Veiled"
    description = "Has a directive that hides addresses."
    directives: ClassVar[list[Any]] = [Veil]
