"""OpenAI's Agents SDK with its own default, the Responses API: `pip install openai-agents`."""

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

from agents import (
    Agent,
    CustomTool,
    Runner,
    SQLiteSession,
    WebSearchTool,
    function_tool,
    set_tracing_disabled,
    tool_namespace,
)
from pydantic import BaseModel

set_tracing_disabled(True)  # traces go to OpenAI
# It takes OPENAI_BASE_URL and OPENAI_API_KEY from the environment.
picture = base64.b64encode(Path(os.environ["PICTURE"]).read_bytes()).decode()


class Animal(BaseModel):
    name: str
    legs: int


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: rain"


async def shout_it(_context: Any, input: str) -> str:
    return f"{input}!"


shout = CustomTool(name="shout", description="Says a text loudly.", on_invoke_tool=shout_it)
offices = tool_namespace(name="offices", description="Public offices.", tools=[get_weather])

cat = Agent(name="Cat", model="cheshire-cat")
weather = Agent(name="Weather", model="cheshire-cat", tools=[get_weather])
desk = Agent(name="Desk", model="cheshire-cat", instructions="Pass questions on.", handoffs=[weather])
shouter = Agent(name="Shouter", model="cheshire-cat", tools=[shout, WebSearchTool()])
official = Agent(name="Official", model="cheshire-cat", tools=[*offices])
zoo = Agent(name="Zoo", model="cheshire-cat", output_type=Animal)


async def streamed_output(agent: Any, question: str) -> str:
    streamed = Runner.run_streamed(agent, question)
    async for _ in streamed.stream_events():
        pass
    return str(streamed.final_output)


async def main() -> dict[str, Any]:
    streamed = Runner.run_streamed(cat, "Who are you?")
    stream = [
        event.data.delta
        async for event in streamed.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    streamed = Runner.run_streamed(weather, "How is the weather in 'Oslo'?")
    items = [event.name async for event in streamed.stream_events() if event.type == "run_item_stream_event"]

    first = await Runner.run(cat, "The first of two.")
    second = await Runner.run(cat, "Who are you?", previous_response_id=first.last_response_id)
    session = SQLiteSession("a chat")
    await Runner.run(weather, "The first of two.", session=session)
    third = await Runner.run(weather, "Who are you?", session=session)

    handed_on = await Runner.run(desk, "Do transfer_to_weather, and get_weather for 'Oslo'.")
    look: list[Any] = [
        {"type": "input_text", "text": "What is in this picture?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{picture}", "detail": "auto"},
    ]
    return {
        "chat": (await Runner.run(cat, "Who are you?")).final_output,
        "stream": stream,
        "tools": (await Runner.run(weather, "How is the weather in 'Oslo'?")).final_output,
        "streamed tools": streamed.final_output,
        "streamed items": items,
        "structured": (await Runner.run(zoo, "'Dinah' has 4 legs.")).final_output.model_dump(),
        "image": (await Runner.run(cat, [{"role": "user", "content": look}])).final_output,
        "custom tool": (await Runner.run(shouter, "Do shout 'purr'.")).final_output,
        "streamed custom tool": await streamed_output(shouter, "Do shout 'purr'."),
        "namespace": (await Runner.run(official, "Do offices__get_weather for 'Oslo'.")).final_output,
        "previous": second.final_output,
        "session": third.final_output,
        "hand-off": [handed_on.last_agent.name, handed_on.final_output.rpartition("\n")[2]],
    }


print(json.dumps(asyncio.run(main())))
