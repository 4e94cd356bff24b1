"""LlamaIndex: `pip install llama-index-llms-openai-like`."""

import json
import os
from pathlib import Path

from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

llm = OpenAILike(
    model="cheshire-cat",
    api_base=os.environ["OPENAI_BASE_URL"],
    api_key=os.environ["OPENAI_API_KEY"],
    is_chat_model=True,
    is_function_calling_model=True,
    context_window=32_000,
)


class Animal(BaseModel):
    name: str
    legs: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: rain"


def user(*blocks: TextBlock | ImageBlock) -> list[ChatMessage]:
    return [ChatMessage(role="user", blocks=list(blocks))]


hello = user(TextBlock(text="Who are you?"))
weather = FunctionTool.from_defaults(get_weather)
told = llm.predict_and_call([weather], "How is the weather in 'Oslo'?")
animal = llm.as_structured_llm(Animal).chat(user(TextBlock(text="'Dinah' has 4 legs."))).raw
picture = ImageBlock(path=Path(os.environ["PICTURE"]))

print(
    json.dumps(
        {
            "chat": llm.chat(hello).message.content,
            "stream": [chunk.delta for chunk in llm.stream_chat(hello)],
            "tools": told.response,
            "structured": animal.model_dump(),
            "image": llm.chat(user(TextBlock(text="What is in this picture?"), picture)).message.content,
        }
    )
)
