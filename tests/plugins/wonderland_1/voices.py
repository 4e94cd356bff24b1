"""Plugins that say something of their own while they work, as tokens of the Cat's chat."""

from typing import Any

from cat.mad_hatter.decorators import hook, tool


def announce(cat: Any) -> None:
    for token in ("Searching", " ..."):
        cat.send_ws_message(token, "chat_token")


def text_of(cat: Any) -> str:
    return cat.working_memory.user_message_json.text


@hook
def fast_reply(reply: dict[str, Any], cat: Any) -> dict[str, Any]:
    if text_of(cat).startswith("Search quickly"):
        announce(cat)
        reply["output"] = "Found it in a hurry."
    return reply


@hook
def agent_fast_reply(reply: dict[str, Any], cat: Any) -> dict[str, Any]:
    text = text_of(cat)
    if text.startswith(("Announce", "Ponder after an announcement")):
        announce(cat)
    if text.startswith("Show me"):
        cat.send_ws_message("I am looking.", "notification")
        cat.send_chat_message("This is {what} I found.")
        cat.send_ws_message("And this.", "chat")
        cat.send_error("A thing is missing.")
        cat.send_ws_message("Another is broken.", "error")
        reply["output"] = "Shall I go on?"
    if text.startswith("Ponder"):
        pondered = cat.llm(text, stream=True)
        reply["output"] = f"So: {pondered}" if text.startswith("Ponder and conclude") else pondered
    return reply


@tool(return_direct=True, examples=["look it up in wonderland"])
def library(tool_input: str, cat: Any) -> str:
    """Look something up in the library."""
    announce(cat)
    return "It is on page {7}."
