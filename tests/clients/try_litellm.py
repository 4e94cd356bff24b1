"""LiteLLM: `pip install litellm`. Its proxy, and programs that use it, name the model the same way."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import litellm
from pydantic import BaseModel

picture = base64.b64encode(Path(os.environ["PICTURE"]).read_bytes()).decode()


class Animal(BaseModel):
    name: str
    legs: int


def ask(*messages: Any, **more: Any) -> Any:
    return litellm.completion(
        model="openai/cheshire-cat",
        api_base=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        messages=list(messages),
        **more,
    )


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


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

described = ask(user("'Dinah' has 4 legs."), response_format=Animal)
image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
seen = ask(user([{"type": "text", "text": "What is in this picture?"}, image]))

print(
    json.dumps(
        {
            "chat": ask(user("Who are you?")).choices[0].message.content,
            "stream": [part.choices[0].delta.content or "" for part in ask(user("Who are you?"), stream=True)],
            "tools": ask(question, called, result, tools=tools).choices[0].message.content,
            "structured": json.loads(described.choices[0].message.content),
            "image": seen.choices[0].message.content,
        }
    )
)
