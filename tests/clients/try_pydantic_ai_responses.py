"""Pydantic AI over the Responses API: `pip install "pydantic-ai-slim[openai]"`."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.models.openai import OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIResponsesModel(
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
    with_tools = Agent(model, tools=[get_weather])
    async with with_tools.run_stream("How is the weather in 'Oslo'?") as result:
        streamed = await result.get_output()
    goes_on = OpenAIResponsesModelSettings(openai_previous_response_id="auto")
    first = await agent.run("The first of two.")
    second = await agent.run("Who are you?", message_history=first.all_messages(), model_settings=goes_on)
    animal, by_schema = [
        (await Agent(model, output_type=kind).run("'Dinah' has 4 legs.")).output
        for kind in (Animal, NativeOutput(Animal))
    ]
    return {
        "chat": (await agent.run("Who are you?")).output,
        "stream": stream,
        "tools": (await with_tools.run("How is the weather in 'Oslo'?")).output,
        "streamed tools": streamed,
        "structured": by_schema.model_dump(),
        "structured by a function": animal.model_dump(),
        "image": (await agent.run(["What is in this picture?", picture])).output,
        "previous": second.output,
    }


print(json.dumps(asyncio.run(main())))
