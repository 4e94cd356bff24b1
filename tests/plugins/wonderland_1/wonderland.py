"""A plugin for the tests on Cheshire Cat 1.9: a look inside the Cat, and things for the bridge to serve."""

import asyncio
from typing import Any

from cat.mad_hatter.decorators import endpoint, hook, tool
from fastapi import Request

lost: dict[str, Any] = {}


@endpoint.get("/wonderland/tasks", prefix="")
async def tasks() -> list[str]:
    return sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks())


@endpoint.post("/wonderland/break", prefix="")
async def break_plugin(request: Request) -> None:
    lost["ccat"] = request.app.state.ccat
    del request.app.state.ccat


@endpoint.post("/wonderland/mend", prefix="")
async def mend_plugin(request: Request) -> None:
    request.app.state.ccat = lost.pop("ccat")


@tool(examples=["what time is it in wonderland"])
def clock(tool_input: str, cat: Any) -> str:
    """What time it is in Wonderland. Input is always None."""
    return "tea time"


@hook
def agent_fast_reply(fast_reply: dict[str, Any], cat: Any) -> dict[str, Any]:
    if cat.working_memory.user_message_json.text == "Off with their heads!":
        fast_reply["output"] = "  Said the Queen {of} Hearts.\n"
    return fast_reply
