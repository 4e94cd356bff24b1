"""A plugin that hides addresses from the Cat, and others that change messages before the Cat reads them."""

import re
from collections import Counter
from typing import Any

from cat.mad_hatter.decorators import endpoint, hook

readings: Counter[str] = Counter()


@endpoint.get("/wonderland/readings", prefix="")
async def how_often(text: str) -> int:
    """How often the hook was called with a message that begins so."""
    return sum(count for read, count in readings.items() if read.startswith(text))


@hook
def before_cat_reads_message(message: Any, cat: Any) -> Any:
    sent = message.text
    readings[sent] += 1
    message.text = re.sub(r"\w+@\w+\.\w+", "[an address]", sent)
    if sent.startswith("Add: "):
        message.text += f"\n(read {readings[sent]})"
    if message.text.startswith("Another picture: "):
        message.image = "data:image/gif;base64,R0lGODdh"
    return message


@hook
def fast_reply(reply: dict[str, Any], cat: Any) -> dict[str, Any]:
    if cat.working_memory.user_message_json.text.startswith("Hurry: "):
        reply["output"] = "Hurried."
    return reply


@hook
def agent_fast_reply(reply: dict[str, Any], cat: Any) -> dict[str, Any]:
    """What the Cat knows of the conversation."""
    if cat.working_memory.user_message_json.text == "Look back.":
        said = [
            f"{message.role.name}: {message.text} ({message.why.input})" if message.who == "AI" else message.text
            for message in cat.working_memory.history[:-1]
        ]
        reply["output"] = " | ".join(said)
    if cat.working_memory.user_message_json.text == "Why?":
        why = cat.working_memory.history[-2]["why"]
        reply["output"] = (
            f"{why.input} | {why.intermediate_steps} | {sorted(why.memory)} | {len(why.model_interactions)}"
        )
    if cat.working_memory.user_message_json.text.startswith("Change later: "):
        cat.working_memory.user_message_json.text = "[changed later]"
    return reply
