"""LangChain over the Responses API: `pip install langchain-openai`."""

import base64
import json
import os
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, custom_tool
from pydantic import BaseModel

model = ChatOpenAI(
    model="cheshire-cat",
    base_url=os.environ["OPENAI_BASE_URL"],
    api_key=os.environ["OPENAI_API_KEY"],
    use_responses_api=True,
)
picture = base64.b64encode(Path(os.environ["PICTURE"]).read_bytes()).decode()


class Animal(BaseModel):
    name: str
    legs: int


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: rain"


@custom_tool(format={"type": "grammar", "syntax": "regex", "definition": "[a-z]+"})
def shout(text: str) -> str:
    """Says a text loudly."""
    return f"{text}!"


def told(question: str, used: Any = get_weather, *, streamed: bool) -> str:
    with_tools = model.bind_tools([used, {"type": "web_search"}])
    messages = [HumanMessage(question)]
    while True:
        if streamed:
            first, *rest = with_tools.stream(messages)
            reply = sum(rest, start=first)
        else:
            reply = with_tools.invoke(messages)
        if not reply.tool_calls:
            return reply.text
        messages.append(reply)
        messages += [used.invoke(call) for call in reply.tool_calls]


image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
seen = HumanMessage([{"type": "text", "text": "What is in this picture?"}, image])
before = model.invoke("The first of two.").response_metadata["id"]
structured = {
    method: model.with_structured_output(Animal, method=method).invoke("'Dinah' has 4 legs.").model_dump()
    for method in ("json_schema", "function_calling")
}

print(
    json.dumps(
        {
            "chat": model.invoke("Who are you?").text,
            "stream": [chunk.text for chunk in model.stream("Who are you?")],
            "tools": told("How is the weather in 'Oslo'?", streamed=False),
            "streamed tools": told("How is the weather in 'Oslo'?", streamed=True),
            "structured": structured["json_schema"],
            "structured by a function": structured["function_calling"],
            "image": model.invoke([seen]).text,
            "custom tool": told("Do shout 'purr'.", shout, streamed=False),
            "streamed custom tool": told("Do shout 'purr'.", shout, streamed=True),
            "previous": model.invoke("Who are you?", previous_response_id=before).text,
        }
    )
)
