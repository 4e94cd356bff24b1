import time
from enum import Enum
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from pydantic import Field, computed_field

from cat.utils import BaseModelDict


class Role(Enum):
    AI = "AI"
    Human = "Human"


class MessageWhy(BaseModelDict):
    """What a reply came of."""

    input: str
    intermediate_steps: list[Any]
    memory: dict[str, Any]
    model_interactions: list[Any]


class ConversationMessage(BaseModelDict):
    user_id: str
    when: float = Field(default_factory=time.time)
    who: str
    text: str | None = None
    image: str | None = None
    audio: str | None = None

    @property
    def message(self) -> str | None:
        """The older name of `text`."""
        return self.text

    @message.setter
    def message(self, value: str | None) -> None:
        self.text = value

    @property
    def role(self) -> Role | None:
        return None


class CatMessage(ConversationMessage):
    who: str = "AI"
    type: str = "chat"
    why: MessageWhy | None = None

    def __init__(  # noqa: PLR0917  the real one's
        self,
        user_id: str,
        who: str = "AI",
        text: str | None = None,
        image: str | None = None,
        audio: str | None = None,
        why: MessageWhy | None = None,
        **kwargs: Any,
    ) -> None:
        text = kwargs.pop("content", text)
        super().__init__(user_id=user_id, who=who, text=text, image=image, audio=audio, why=why, **kwargs)

    @computed_field
    @property
    def content(self) -> str | None:
        return self.text

    @property
    def role(self) -> Role:
        return Role.AI

    def langchainfy(self) -> AIMessage:
        return AIMessage(name=self.who, content=self.text)


class UserMessage(ConversationMessage):
    who: str = "Human"

    @property
    def role(self) -> Role:
        return Role.Human

    def langchainfy(self) -> HumanMessage:
        content: list[Any] = [{"type": "text", "text": self.text}] if self.text else []
        if self.image:
            content.append({"type": "image_url", "image_url": {"url": self.image}})
        return HumanMessage(name=self.who, content=content)
