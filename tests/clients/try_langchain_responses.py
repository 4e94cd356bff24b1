"""LangChain over the Responses API: `pip install langchain-openai`."""

import base64
import json
import os
from pathlib import Path

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
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


def told(question: str, *, streamed: bool) -> str:
    with_tools = model.bind_tools([get_weather])
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
        messages += [
            ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in reply.tool_calls
        ]


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
            "previous": model.invoke("Who are you?", previous_response_id=before).text,
        }
    )
)
