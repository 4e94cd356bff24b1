"""What chat front ends ask behind the user's back: a title for the chat, its tags, questions that could follow.

Such a request quotes the chat in one message that no user has written, and front ends mark it in no other way.
"""

import re
from collections.abc import Sequence

from .protocol import AssistantMessage, RequestMessage, SystemMessage, UserMessage

BY_USER_MESSAGE = re.compile(
    # Open WebUI: titles, tags, follow-up questions, search queries, emoji (its prompts all begin alike).
    r"### Task:\n"
    # LibreChat: titles, its three ways of asking for them.
    r"|(?:Provide|Please generate) a concise, 5-word-or-less title for the conversation"
    r"|Analyze this conversation and provide:\n1\. The detected language of the conversation"
)
BY_SYSTEM_MESSAGE = re.compile(
    # LobeChat: topic titles, today and before.
    r"You are a professional conversation summarizer\."
    r"|You are an assistant skilled in conversation who needs to summarize user conversations into titles"
)


def is_background_task(messages: Sequence[RequestMessage]) -> bool:
    asked = [message for message in messages if isinstance(message, UserMessage)]
    if len(asked) != 1 or any(isinstance(message, AssistantMessage) for message in messages):
        return False
    told = [message for message in messages if isinstance(message, SystemMessage)]
    return bool(
        BY_USER_MESSAGE.match(_beginning(asked[0]))
        or any(BY_SYSTEM_MESSAGE.match(_beginning(message)) for message in told)
    )


def _beginning(message: SystemMessage | UserMessage) -> str:
    content = message.content
    text = content if isinstance(content, str) else getattr(content[0], "text", "")
    return str(text).lstrip()
