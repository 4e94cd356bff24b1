"""Instructor: `pip install instructor`. Models out of replies, by a function (its default) and by JSON schema."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import instructor
from openai import OpenAI
from pydantic import BaseModel

picture = base64.b64encode(Path(os.environ["PICTURE"]).read_bytes()).decode()


class Animal(BaseModel):
    name: str
    legs: int


def ask(client: instructor.Instructor, content: Any, wanted: Any = Animal, **more: Any) -> Any:
    messages = [{"role": "user", "content": content}]
    return client.chat.completions.create(
        model="cheshire-cat", response_model=wanted, messages=messages, max_retries=0, **more
    )


by_function = instructor.from_openai(OpenAI())
by_schema = instructor.from_openai(OpenAI(), mode=instructor.Mode.JSON_SCHEMA)

text = "'Dinah' has 4 legs."
image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
parts = ask(by_function, text, instructor.Partial[Animal], stream=True)

print(
    json.dumps(
        {
            "tools": ask(by_function, text).model_dump(),
            "structured": ask(by_schema, text).model_dump(),
            "stream": [part.model_dump() for part in parts],
            "image": ask(by_function, [{"type": "text", "text": text}, image]).model_dump(),
        }
    )
)
