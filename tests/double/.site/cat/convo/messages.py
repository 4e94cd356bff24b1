import time
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from pydantic import Field, computed_field

from cat.utils import BaseModelDict


class ConversationMessage(BaseModelDict):
    user_id: str
    when: float = Field(default_factory=time.time)
    who: str
    text: str | None = None
    image: str | None = None
    audio: str | None = None


class CatMessage(ConversationMessage):
    who: str = "AI"
    type: str = "chat"
    why: Any = None

    def __init__(  # noqa: PLR0917  the real one's
        self,
        user_id: str,
        who: str = "AI",
        text: str | None = None,
        image: str | None = None,
        audio: str | None = None,
        why: Any = None,
        **kwargs: Any,
    ) -> None:
        text = kwargs.pop("content", text)
        super().__init__(user_id=user_id, who=who, text=text, image=image, audio=audio, why=why, **kwargs)

    @computed_field
    @property
    def content(self) -> str | None:
        return self.text

    def langchainfy(self) -> AIMessage:
        return AIMessage(name=self.who, content=self.text)


class UserMessage(ConversationMessage):
    who: str = "Human"

    def langchainfy(self) -> HumanMessage:
        content: list[Any] = [{"type": "text", "text": self.text}] if self.text else []
        if self.image:
            content.append({"type": "image_url", "image_url": {"url": self.image}})
        return HumanMessage(name=self.who, content=content)
