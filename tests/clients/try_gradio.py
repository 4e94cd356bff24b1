"""Gradio's ready-made chat page: `pip install gradio openai`. Its own client sends what a visitor types."""

import json
import os
from typing import Any

import gradio
from gradio_client import Client, handle_file

page = gradio.load_chat(
    os.environ["OPENAI_BASE_URL"],
    model="cheshire-cat",
    token=os.environ["OPENAI_API_KEY"],
    file_types=["image"],
    api_name="chat",
)
page.launch(prevent_thread_lock=True, quiet=True)


def said(text: str, *files: str) -> list[str]:
    """What the page shows of the reply, one after the other, each time all of it so far."""
    message: dict[str, Any] = {"text": text, "files": [handle_file(file) for file in files]}
    visitor = Client(page.local_url, verbose=False)
    return [*visitor.submit(message, api_name="/chat")]


shown = said("Who are you?")
print(
    json.dumps(
        {
            "chat": shown[-1],
            "stream": [after.removeprefix(before) for before, after in zip(["", *shown], shown, strict=False)],
            "image": said("What is in this picture?", os.environ["PICTURE"])[-1],
        }
    )
)
