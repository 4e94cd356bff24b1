"""Pydantic AI: `pip install "pydantic-ai-slim[openai]"`."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel(
    "cheshire-cat",
    provider=OpenAIProvider(base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"]),
)
picture = BinaryContent(Path(os.environ["PICTURE"]).read_bytes(), media_type="image/png")


class Animal(BaseModel):
    name: str
    legs: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: rain"


async def main() -> dict[str, Any]:
    agent = Agent(model)
    async with agent.run_stream("Who are you?") as result:
        stream = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    chat = await agent.run("Who are you?")
    told = await Agent(model, tools=[get_weather]).run("How is the weather in 'Oslo'?")
    animal = await Agent(model, output_type=Animal).run("'Dinah' has 4 legs.")
    seen = await agent.run(["What is in this picture?", picture])
    return {
        "chat": chat.output,
        "stream": stream,
        "tools": told.output,
        "structured": animal.output.model_dump(),
        "image": seen.output,
    }


print(json.dumps(asyncio.run(main())))
