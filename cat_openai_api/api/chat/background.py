"""Recognising background tasks: requests that chat front ends send on their own, such as for a title or tags.

Such a request quotes the chat in a single message that the user did not write. It can only be recognised by the
beginning of its prompt.
"""

import re
from collections.abc import Sequence

from .protocol import AssistantMessage, RequestMessage, SystemMessage, UserMessage

USER_PROMPTS = re.compile(
    # Open WebUI: titles, tags, follow-up questions, search queries and emoji. The first four begin alike, and so does
    # its prompt for a question about documents, which is not a background task.
    r"### Task:\n(?!Respond to the user query)"
    r"|Your task is to reflect the speaker's likely facial expression through a fitting emoji\."
    # LibreChat: titles, three variants.
    r"|(?:Provide|Please generate) a concise, 5-word-or-less title for the conversation"
    r"|Analyze this conversation and provide:\n1\. The detected language of the conversation"
    # Titles of Continue, Copilot for Obsidian, Chatbox.
    r"|Given the following\.\.\. please reply with a title for the chat that is 3-4 words in length"
    r"|Generate a concise title \(max 5 words\) for this conversation based on its content\."
    r"|Based on the chat history, give this conversation a name\."
)
SYSTEM_PROMPTS = re.compile(
    # LobeChat: topic titles, current and former prompt.
    r"You are a professional conversation summarizer\."
    r"|You are an assistant skilled in conversation who needs to summarize user conversations into titles"
    # Cherry Studio, big-AGI: titles.
    r"|You are an assistant skilled in conversation\. You need to summarize the user's conversation into a title"
    r"|You are an AI conversation titles assistant who specializes in"
)


def is_background_task(messages: Sequence[RequestMessage]) -> bool:
    user_messages = [message for message in messages if isinstance(message, UserMessage)]
    if len(user_messages) != 1 or any(isinstance(message, AssistantMessage) for message in messages):
        return False
    system_messages = [message for message in messages if isinstance(message, SystemMessage)]
    return bool(
        USER_PROMPTS.match(_first_text(user_messages[0]))
        or any(SYSTEM_PROMPTS.match(_first_text(message)) for message in system_messages)
    )


def _first_text(message: SystemMessage | UserMessage) -> str:
    content = message.content
    text = content if isinstance(content, str) else getattr(content[0], "text", "")
    return str(text).lstrip()
