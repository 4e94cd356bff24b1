"""What chat front ends ask behind the user's back: a title for the chat, its tags, questions that could follow.

Such a request quotes the chat in one message that no user has written, and front ends mark it in no other way.
"""

import re
from collections.abc import Sequence

from .protocol import AssistantMessage, RequestMessage, SystemMessage, UserMessage

BY_USER_MESSAGE = re.compile(
    # Open WebUI: titles, tags, follow-up questions, search queries (its prompts begin alike, that of a question
    # about documents too, which is the user's own), and emoji.
    r"### Task:\n(?!Respond to the user query)"
    r"|Your task is to reflect the speaker's likely facial expression through a fitting emoji\."
    # LibreChat: titles, its three ways of asking for them.
    r"|(?:Provide|Please generate) a concise, 5-word-or-less title for the conversation"
    r"|Analyze this conversation and provide:\n1\. The detected language of the conversation"
    # Titles of Continue, Copilot for Obsidian, Chatbox.
    r"|Given the following\.\.\. please reply with a title for the chat that is 3-4 words in length"
    r"|Generate a concise title \(max 5 words\) for this conversation based on its content\."
    r"|Based on the chat history, give this conversation a name\."
)
BY_SYSTEM_MESSAGE = re.compile(
    # LobeChat: topic titles, today and before.
    r"You are a professional conversation summarizer\."
    r"|You are an assistant skilled in conversation who needs to summarize user conversations into titles"
    # Cherry Studio, big-AGI: titles.
    r"|You are an assistant skilled in conversation\. You need to summarize the user's conversation into a title"
    r"|You are an AI conversation titles assistant who specializes in"
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
