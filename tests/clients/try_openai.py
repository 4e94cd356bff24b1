"""The official SDK, any version from 1.3: `pip install openai`."""

import base64
import json
import os
from pathlib import Path
from typing import Any

from openai import OpenAI

client = OpenAI()  # takes OPENAI_BASE_URL and OPENAI_API_KEY from the environment
picture = base64.b64encode(Path(os.environ["PICTURE"]).read_bytes()).decode()


def ask(*messages: Any, **more: Any) -> Any:
    return client.chat.completions.create(model="cheshire-cat", messages=messages, **more)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


chat = ask(user("Who are you?"))
stream = [chunk.choices[0].delta.content or "" for chunk in ask(user("Who are you?"), stream=True)]

weather = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
tools = [{"type": "function", "function": weather}]
question = user("How is the weather in 'Oslo'?")
called = ask(question, tools=tools).choices[0].message
(call,) = called.tool_calls
arguments = json.loads(call.function.arguments)
result = {"role": "tool", "tool_call_id": call.id, "content": f"{arguments['city']}: rain"}
answered = ask(question, called.model_dump(exclude_none=True), result, tools=tools)

animal = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "legs": {"type": "integer"}},
    "required": ["name", "legs"],
    "additionalProperties": False,
}
schema = {"name": "animal", "strict": True, "schema": animal}
described = ask(user("'Dinah' has 4 legs."), response_format={"type": "json_schema", "json_schema": schema})

image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
seen = ask(user([{"type": "text", "text": "What is in this picture?"}, image]))

print(
    json.dumps(
        {
            "models": [model.id for model in client.models.list()],
            "chat": chat.choices[0].message.content,
            "stream": stream,
            "tools": answered.choices[0].message.content,
            "structured": json.loads(described.choices[0].message.content),
            "image": seen.choices[0].message.content,
        }
    )
)
