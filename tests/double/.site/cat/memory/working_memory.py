from typing import Any

from langchain_core.messages import BaseMessage
from pydantic import Field

from cat.convo.messages import ConversationMessage, UserMessage
from cat.utils import BaseModelDict

MAX_WORKING_HISTORY_LENGTH = 20


class WorkingMemory(BaseModelDict):
    """What a session knows of its conversation, and of the turn that is being answered."""

    history: list[ConversationMessage] = Field(default_factory=list)
    user_message_json: UserMessage | None = None
    active_form: Any = None
    recall_query: str = ""
    episodic_memories: list[Any] = Field(default_factory=list)
    declarative_memories: list[Any] = Field(default_factory=list)
    procedural_memories: list[Any] = Field(default_factory=list)
    model_interactions: list[Any] = Field(default_factory=list)

    def update_history(self, message: ConversationMessage) -> None:
        self.history = [*self.history, message][-MAX_WORKING_HISTORY_LENGTH:]

    def langchainfy_chat_history(self, latest_n: int = MAX_WORKING_HISTORY_LENGTH) -> list[BaseMessage]:
        return [message.langchainfy() for message in self.history[-latest_n:]]

    def stringify_chat_history(self, latest_n: int = MAX_WORKING_HISTORY_LENGTH) -> str:
        return "".join(f"\n - {message.who}: {message.text}" for message in self.history[-latest_n:])
