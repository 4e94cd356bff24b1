"""A plugin for the tests: agents of the kinds that the bridge has to serve, and a look inside the Cat."""

import asyncio
import gc
from collections import Counter
from typing import Any

from cat import Agent, endpoint, tool, user
from cat.ambient import call_agent
from cat.ambient.runtime import ccat
from cat.types import Message, Task, TextContent

awake = asyncio.Event()


class Alice(Agent):
    slug = "alice"
    name = "Alice"
    description = "Has tools of her own."
    system_prompt = "You are Alice."

    @tool
    async def clock(self) -> str:
        """What time it is."""
        return "tea time"

    @tool
    async def ask_the_hatter(self, question: str) -> str:
        """Ask another agent, which speaks with its own LLM."""
        asked = Task(messages=[Message(role="user", content=[TextContent(text=question)])])
        return (await call_agent("hatter", asked)).messages[-1].text

    @tool
    async def who_am_i(self) -> str:
        """Whom the run is for."""
        return f"{user.name} {user.id} {','.join(user.roles)}"

    @tool
    async def nap(self) -> str:
        """Sleep until somebody wakes you."""
        awake.clear()
        await awake.wait()
        return "awake"


class Hatter(Agent):
    slug = "hatter"
    name = "Hatter"
    description = "Is asked by Alice."
    system_prompt = "You are the Hatter."


class Mirror(Agent):
    slug = "mirror"
    name = "Mirror"
    description = "Remembers what each person said."

    async def get_system_prompt(self) -> str:
        return f"The person before you is {user.name!r}.\nThey said before: {await self.said()}"

    async def finish(self) -> None:
        await super().finish()
        if hasattr(user, "save"):
            await user.save("said", [*await self.said(), self.task.messages[-1].text])

    async def said(self) -> list[str]:
        """Nothing on the first versions, where users have no store of their own."""
        return list(await user.load("said", [])) if hasattr(user, "load") else []


class Dormouse(Agent):
    slug = "dormouse"
    name = "Dormouse"
    description = "Answers without an LLM."

    async def loop(self) -> None:
        self.result.messages.append(Message(role="assistant", content=[TextContent(text="Treacle, said I.")]))


class Queen(Agent):
    slug = "queen"
    name = "Queen"
    description = "Fails."

    async def loop(self) -> None:
        raise RuntimeError("Off with SECRET-PLUGIN-DETAIL!")


class Gryphon(Agent):
    slug = "gryphon"
    name = "Gryphon"
    description = "Is cancelled by what it uses."

    async def loop(self) -> None:
        raise asyncio.CancelledError


@endpoint.post("/wonderland/wake", role="admin")
async def wake() -> None:
    awake.set()


lost: dict[str, Any] = {}


@endpoint.post("/wonderland/break", role="admin")
async def break_plugin() -> None:
    lost["agents"] = ccat().registry.classes.pop("agents")


@endpoint.post("/wonderland/mend", role="admin")
async def mend_plugin() -> None:
    ccat().registry.classes["agents"] = lost.pop("agents")


@endpoint.get("/v1/wonderland", prefix="/custom", include_in_schema=False)
async def tea() -> dict[str, str]:
    """Below the path of the plugin's own routes."""
    return {"served": "tea"}


@endpoint.get("/wonderland/tasks", role="admin")
async def tasks() -> list[str]:
    running = (task.get_coro() for task in asyncio.all_tasks())
    return sorted(getattr(coroutine, "__qualname__", type(coroutine).__name__) for coroutine in running)


@endpoint.get("/wonderland/objects", role="admin")
async def objects(plugin: str) -> dict[str, int]:
    gc.collect()
    made_by = (type(thing) for thing in gc.get_objects())
    return Counter(kind.__qualname__ for kind in made_by if plugin in str(kind.__module__).split("."))
