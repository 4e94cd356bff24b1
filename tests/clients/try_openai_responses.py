"""The Responses API with the official SDK, any version from 1.66: `pip install openai`."""

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI, NotFoundError, OpenAI
from pydantic import BaseModel

client = OpenAI()  # takes OPENAI_BASE_URL and OPENAI_API_KEY from the environment
picture = base64.b64encode(Path(os.environ["PICTURE"]).read_bytes()).decode()


def ask(input: Any, **more: Any) -> Any:
    return client.responses.create(model="cheshire-cat", input=input, **more)


class Animal(BaseModel):
    name: str
    legs: int


chat = ask("Who are you?")
events = [*ask("Who are you?", stream=True)]
stream = [event.delta for event in events if event.type == "response.output_text.delta"]
with client.responses.stream(model="cheshire-cat", input="Who are you?") as helped:
    deltas = [event.delta for event in helped if event.type == "response.output_text.delta"]
    assert deltas
    assert helped.get_final_response().output_text == "".join(deltas)


async def asynchronously() -> tuple[str, list[str]]:
    async with AsyncOpenAI() as client:
        whole = await client.responses.create(model="cheshire-cat", input="Who are you?")
        events = await client.responses.create(model="cheshire-cat", input="Who are you?", stream=True)
        return whole.output_text, [event.type async for event in events]


assert asyncio.run(asynchronously()) == (chat.output_text, [event.type for event in events])

weather = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
items: list[Any] = [{"role": "user", "content": "How is the weather in 'Oslo'?"}]
called = ask(items, tools=[weather])
(call,) = called.output
result = {
    "type": "function_call_output",
    "call_id": call.call_id,
    "output": f"{json.loads(call.arguments)['city']}: rain",
}
answered = ask([result], tools=[weather], previous_response_id=called.id)
again = ask([*items, *called.output, result], tools=[weather], store=False)
assert again.output_text == answered.output_text

# A tool whose input is a text, beside one that only OpenAI's servers have.
loudly: Any = [{"type": "custom", "name": "shout", "description": "Says a text loudly."}, {"type": "web_search"}]
shouting = ask("Do shout 'purr'.", tools=loudly)
(call,) = shouting.output
assert call.type == "custom_tool_call"
shouts = [
    event.delta
    for event in ask("Do shout 'purr'.", tools=loudly, stream=True)
    if event.type == "response.custom_tool_call_input.delta"
]
assert "".join(shouts) == call.input
result = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": f"{call.input}!"}
shouted = ask([result], tools=loudly, previous_response_id=shouting.id)

parsed = client.responses.parse(model="cheshire-cat", input="'Dinah' has 4 legs.", text_format=Animal)

look = [
    {"type": "input_text", "text": "What is in this picture?"},
    {"type": "input_image", "image_url": f"data:image/png;base64,{picture}", "detail": "auto"},
]
seen = ask([{"role": "user", "content": look}])

first = ask("The first of two.")
second = ask("Who are you?", previous_response_id=first.id)
assert client.responses.retrieve(second.id) == second
said = [item.content[0].text for item in client.responses.input_items.list(second.id, order="asc", limit=2)]
raw = client.responses.with_raw_response.create(model="cheshire-cat", input="Who are you?")
assert raw.headers["x-request-id"]
client.responses.delete(raw.parse().id)
try:
    client.responses.retrieve(raw.parse().id)
except NotFoundError as error:
    assert error.code == "response_not_found"  # noqa: PT017 (this is no pytest)
else:
    raise AssertionError("it was deleted")

print(
    json.dumps(
        {
            "chat": chat.output_text,
            "stream": stream,
            "tools": answered.output_text,
            "structured": parsed.output_parsed.model_dump(),
            "image": seen.output_text,
            "custom tool": shouted.output_text,
            "previous": second.output_text,
            "input items": said,
        }
    )
)
