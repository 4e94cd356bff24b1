"""A storyteller behind the OpenAI API, so that a Cat can talk on a machine without any LLM account.

`make run` starts it when no real model is configured. By itself: `.venv/bin/python .dev/demo_llm.py`.
It invents nothing: it picks one of a few tales, and says so.
"""

import argparse
import asyncio
import json
import re
import socket
import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import uvicorn
from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MODEL = "storyteller"
PAUSE_SECONDS = 0.03
LONGEST_ECHO = 100

TALES = (
    """A teapot in the corner of the wood had been pouring since breakfast, and nobody could find where the \
tea came from. "It comes from yesterday," said the Dormouse, who had not been asked. So they followed it \
upstream, cup by cup, and the day grew earlier as they went, until they met themselves sitting down to \
breakfast. "You might have saved us some toast," said the ones who had walked. "We did," said the others. \
"You ate it tomorrow." And as no one could fault the arithmetic, they all had another cup.""",
    """There was once a clock that was tired of being right. Twice a day, it had heard, a stopped clock is \
right with no effort at all, and so it stopped. The whole garden was obliged to wait. The roses stayed half \
open, a dropped plate hung politely above the floor, and the Queen kept the first half of a shout in her \
mouth until it went sour. At last a small snail went by, who had never owned any time and so could not run \
out of it. "Which way is later?" asked the clock. "Forward," said the snail, "and not so fast." The clock \
has kept snail's time ever since, and it is always precisely soon.""",
    """The Cat lent out its grin one Tuesday, against a receipt. A judge took it to court and had to acquit \
everybody. A crocodile wore it to the dentist and was asked to leave. By evening it had been round the whole \
country and come back a little stretched at the corners. "Did they thank you?" asked the Caterpillar. "They \
smiled," said the Cat, putting it on again, "which is the same thing, only easier to carry." Then it went \
out, beginning with the tail, and left the receipt hanging in the air.""",
    """Two doors stood in a field with no house to either of them. The left one said that it led to the \
right one, and the right one said that the left one was a dreadful gossip. A girl with muddy shoes walked \
round both and found the same field on all sides. "Then what are you for?" she asked. "For knocking," said \
the doors together, quite hurt. So she knocked, and from nowhere in particular somebody called: come in! She \
has been indoors ever since, under the whole of the sky, and says the ceiling could do with fewer rooks.""",
    """A pack of cards went to sea in a hatbox, with the Knave for captain because he alone had boots. For \
three days they played at being a crew, and on the fourth it rained and they all stuck together. "Shuffle!" \
cried the captain, but nobody could say any more where he ended and his neighbour began. They drifted \
ashore as one thick card, and were taken for a small and serious book. It has been read twice. The first \
reader wept at the hearts, the second laughed at the clubs, and neither could get past the middle, where the \
captain was still looking for his boots.""",
)


class Message(BaseModel):
    role: str
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return " ".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)


@dataclass(frozen=True)
class Reply:
    """A whole answer in advance. Every word counts as one token."""

    words: list[str]
    finish_reason: str
    prompt_tokens: int

    @property
    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": len(self.words),
            "total_tokens": self.prompt_tokens + len(self.words),
        }


def compose(request: ChatRequest) -> Reply:
    text = _until_stop(_answer(request.messages), request.stop)
    words = re.findall(r"\s*\S+", text)
    limit = request.max_completion_tokens or request.max_tokens or len(words)
    return Reply(
        words=words[:limit],
        finish_reason="length" if len(words) > limit else "stop",
        prompt_tokens=sum(len(message.text.split()) for message in request.messages),
    )


def _answer(messages: list[Message]) -> str:
    said = next((" ".join(m.text.split()) for m in reversed(messages) if m.role == "user"), "")
    turn = sum(m.role == "assistant" for m in messages)
    if len(said) > LONGEST_ECHO:
        said = said[:LONGEST_ECHO].rstrip() + "…"
    echo = f"“{said}”, you say?" if said else "Nothing at all, you say?"
    if turn == 0:
        opening = (
            f"{echo} I am only the demo storyteller of this house, and know a few tales by heart: set "
            "OPENAI_API_KEY or OPENAI_BASE_URL before `make run`, and a real model takes my chair."
        )
    else:
        opening = f"{echo} That puts me in mind of another tale."
    tale = TALES[(zlib.crc32(said.encode()) + turn) % len(TALES)]
    return f"{opening}\n\n{tale}"


def _until_stop(text: str, stop: str | list[str] | None) -> str:
    sequences = [stop] if isinstance(stop, str) else stop or []
    found = (text.find(sequence) for sequence in sequences if sequence)
    return text[: min((at for at in found if at >= 0), default=len(text))]


async def chat_completions(http: Request) -> Response:
    try:
        request = ChatRequest.model_validate_json(await http.body())
    except ValidationError as error:
        problem = {"message": str(error), "type": "invalid_request_error", "param": None, "code": None}
        return JSONResponse({"error": problem}, status_code=400)
    reply = compose(request)
    head = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": MODEL}
    if request.stream:
        include_usage = request.stream_options is not None and request.stream_options.include_usage
        return StreamingResponse(_events(reply, head, include_usage), media_type="text/event-stream")
    message = {"role": "assistant", "content": "".join(reply.words)}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": reply.usage})


async def _events(reply: Reply, head: dict[str, object], include_usage: bool) -> AsyncIterator[str]:
    head = {**head, "object": "chat.completion.chunk"}
    if include_usage:
        head["usage"] = None

    def event(delta: dict[str, str], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _sse({**head, "choices": [choice]})

    yield event({"role": "assistant", "content": ""})
    for word in reply.words:
        await asyncio.sleep(PAUSE_SECONDS)
        yield event({"content": word})
    yield event({}, reply.finish_reason)
    if include_usage:
        yield _sse({**head, "choices": [], "usage": reply.usage})
    yield "data: [DONE]\n\n"


def _sse(payload: dict[str, object]) -> str:
    return f"data: {json.dumps(payload, ensure_ascii=False)}\n\n"


async def models(_: Request) -> Response:
    card = {"id": MODEL, "object": "model", "created": 0, "owned_by": "demo"}
    return JSONResponse({"object": "list", "data": [card]})


app = Starlette(
    routes=[
        Route("/v1/chat/completions", chat_completions, methods=["POST"]),
        Route("/v1/models", models),
    ]
)


@contextmanager
def running() -> Iterator[str]:
    """The base URL of a storyteller in a thread of this process, on a free loopback port."""
    # Listening before the thread starts: a first request waits in the backlog instead of being refused.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join(timeout=5)


def main() -> None:
    parser = argparse.ArgumentParser(description="A demo LLM behind the OpenAI API.")
    parser.add_argument("--port", type=int, default=8865)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port)


if __name__ == "__main__":
    main()
