"""The official SDK as it was until 2023: `pip install "openai<1"`."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import openai

openai.api_base = os.environ["OPENAI_BASE_URL"]
openai.api_key = os.environ["OPENAI_API_KEY"]
picture = base64.b64encode(Path(os.environ["PICTURE"]).read_bytes()).decode()


def ask(*messages: Any, **more: Any) -> Any:
    return openai.ChatCompletion.create(model="cheshire-cat", messages=list(messages), **more)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


chat = ask(user("Who are you?"))
stream = ask(user("Who are you?"), stream=True)

weather = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
question = user("How is the weather in 'Oslo'?")
called = ask(question, functions=[weather]).choices[0].message
arguments = json.loads(called.function_call.arguments)
result = {"role": "function", "name": "get_weather", "content": f"{arguments['city']}: rain"}
answered = ask(question, called, result, functions=[weather])

image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
seen = ask(user([{"type": "text", "text": "What is in this picture?"}, image]))

print(
    json.dumps(
        {
            "models": [model.id for model in openai.Model.list().data],
            "chat": chat.choices[0].message.content,
            "stream": [chunk.choices[0].delta.get("content", "") for chunk in stream],
            "tools": answered.choices[0].message.content,
            "image": seen.choices[0].message.content,
        }
    )
)
