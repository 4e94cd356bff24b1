"""LangChain: `pip install langchain-openai`."""

import base64
import json
import os
from pathlib import Path

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

model = ChatOpenAI(model="cheshire-cat", base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"])
picture = base64.b64encode(Path(os.environ["PICTURE"]).read_bytes()).decode()


class Animal(BaseModel):
    name: str
    legs: int


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: rain"


with_tools = model.bind_tools([get_weather])
messages = [HumanMessage("How is the weather in 'Oslo'?")]
messages.append(with_tools.invoke(messages))
messages += [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in messages[-1].tool_calls]

image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
seen = HumanMessage([{"type": "text", "text": "What is in this picture?"}, image])

print(
    json.dumps(
        {
            "chat": model.invoke("Who are you?").content,
            "stream": [chunk.content for chunk in model.stream("Who are you?")],
            "tools": with_tools.invoke(messages).content,
            "structured": model.with_structured_output(Animal).invoke("'Dinah' has 4 legs.").model_dump(),
            "image": model.invoke([seen]).content,
        }
    )
)
