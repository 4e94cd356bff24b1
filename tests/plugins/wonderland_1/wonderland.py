"""A plugin for the tests on Cheshire Cat 1.9: a look inside the Cat, and things for the bridge to serve."""

import asyncio
import gc
from collections import Counter
from typing import Any

from cat.cache.cache_item import CacheItem
from cat.looking_glass.cheshire_cat import CheshireCat
from cat.looking_glass.stray_cat import StrayCat
from cat.mad_hatter.decorators import endpoint, hook, tool
from fastapi import Request

lost: dict[str, Any] = {}
rings: list[str] = []

GRIN = {"type": "function", "function": {"name": "grin", "description": "Grin.", "parameters": {"type": "object"}}}


@endpoint.get("/v1/wonderland", include_in_schema=False)
async def tea() -> dict[str, str]:
    """Below the path of the plugin's own routes."""
    return {"served": "tea"}


@endpoint.get("/wonderland/tasks", prefix="")
async def tasks() -> list[str]:
    running = (task.get_coro() for task in asyncio.all_tasks())
    return sorted(getattr(coroutine, "__qualname__", type(coroutine).__name__) for coroutine in running)


@endpoint.get("/wonderland/objects", prefix="")
async def objects(plugin: str) -> dict[str, int]:
    gc.collect()
    made_by = (type(thing) for thing in gc.get_objects())
    return Counter(kind.__qualname__ for kind in made_by if plugin in str(kind.__module__).split("."))


@endpoint.post("/wonderland/break", prefix="")
async def break_plugin(request: Request) -> None:
    lost["ccat"] = request.app.state.ccat
    del request.app.state.ccat


@endpoint.post("/wonderland/mend", prefix="")
async def mend_plugin(request: Request) -> None:
    request.app.state.ccat = lost.pop("ccat")


@endpoint.post("/wonderland/forget", prefix="")
async def break_recall() -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("SECRET-PLUGIN-DETAIL of the memory")

    lost["recall"] = StrayCat.recall_relevant_memories_to_working_memory
    StrayCat.recall_relevant_memories_to_working_memory = fail


@endpoint.post("/wonderland/remember", prefix="")
async def mend_recall() -> None:
    StrayCat.recall_relevant_memories_to_working_memory = lost.pop("recall")


@tool(return_direct=True, examples=["what time is it in wonderland"])
def clock(tool_input: str, cat: Any) -> str:
    """What time it is in Wonderland."""
    return "  It is tea {time}.\n"


def visit(cat: Any) -> list[int]:
    """One more, in what the Cat keeps beside the messages."""
    visits = getattr(cat.working_memory, "visits", [])
    cat.working_memory.visits = [*visits, len(visits) + 1]
    return cat.working_memory.visits


@tool(examples=["ring the bell in wonderland"])
def bell(tool_input: str, cat: Any) -> str:
    """Ring the bell at the door."""
    rings.append(tool_input)
    cat.send_notification("Somebody is at the door.")
    return f"Ding {{dong}} {len(rings)}, visits: {visit(cat)}."


@hook
def before_cat_recalls_procedural_memories(config: dict[str, Any], cat: Any) -> dict[str, Any]:
    """Offer every tool and form to messages that ask for it: otherwise only what resembles the message is."""
    if "[procedures]" in cat.working_memory.user_message_json.text:
        config["threshold"] = 0.0
        config["k"] = 100
    return config


@hook
def before_cat_recalls_episodic_memories(config: dict[str, Any], cat: Any) -> dict[str, Any]:
    """Remind a person of all that it has said, where a message asks for it."""
    if "[memories]" in cat.working_memory.user_message_json.text:
        config["threshold"] = 0.0
        config["k"] = 100
    return config


@hook
def fast_reply(reply: dict[str, Any], cat: Any) -> dict[str, Any]:
    if cat.working_memory.user_message_json.text == "Quick!":
        reply["output"] = "  Faster, {faster}!\n"
    if cat.working_memory.user_message_json.text.startswith("Grin: "):
        said = cat._llm.bind_tools([GRIN]).invoke(cat.working_memory.user_message_json.text)
        reply["output"] = " ".join(f"{call['name']} {call['args']}" for call in said.tool_calls)
    return reply


@hook
def agent_fast_reply(reply: dict[str, Any], cat: Any) -> dict[str, Any]:
    if cat.working_memory.user_message_json.text == "Count me.":
        reply["output"] = f"Visits: {visit(cat)}"
    if cat.working_memory.user_message_json.text == "Off with their heads!":
        reply["output"] = "  Said the Queen {of} Hearts.\n"
    return reply


@hook
def agent_prompt_prefix(prefix: str, cat: Any) -> str:
    # The prompt is a template.
    person = repr(cat.user_id).replace("{", "{{").replace("}", "}}")
    return f"{prefix}\nThe person before you is {person}."


@hook
def before_cat_reads_message(message: Any, cat: Any) -> Any:
    if message.text.startswith("Whisper: "):
        cat.send_ws_message("A notification for whoever listens.")
        cat.send_chat_message("A message beside the reply.")
    if message.text.startswith("Think twice: "):
        cat.llm(message.text)
    if message.text.startswith("Mirror: "):
        message.text = message.text.replace("Mirror: ", "Looking-glass: ")
    if message.text.startswith("No pictures: "):
        message.image = None
    if message.text.startswith("[keep:"):
        cat.working_memory.attic = "x" * int(message.text.strip("[kep:]"))
    return message


@endpoint.post("/wonderland/cache", prefix="")
async def fill_cache(body: dict[str, Any]) -> None:
    """Insert what earlier versions of the bridge stored."""
    for key, value in body.items():
        CheshireCat().cache.insert(CacheItem(key, value, -1))
