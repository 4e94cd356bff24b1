"""Request bodies for tests, and the messages that reached the LLM."""

from typing import Any

from upstream import Upstream, script, text_of


def user(text: str = "", /, **fields: Any) -> dict[str, Any]:
    """A user message; `fields` are those of the script for the LLM (see `upstream.script`)."""
    return {"role": "user", "content": script(text, **fields) if fields else text}


def body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "cheshire-cat", "messages": messages, **more}


def chat_body(text: str = "hi", **more: Any) -> dict[str, Any]:
    return body({"role": "user", "content": text}, **more)


def said_to(upstream: Upstream, tag: str) -> list[tuple[str, str]]:
    """Roles and first lines of the messages in the last LLM request of the tag, without the system message."""
    *_, record = upstream.wait(tag)
    return [(message["role"], text_of(message).split("\n")[0]) for message in record["body"]["messages"][1:]]
