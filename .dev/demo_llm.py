"""A demo LLM with OpenAI's API, for a Cat on a machine without an account at an LLM provider.

`make run` starts it when no real model is configured. By itself: `.venv/bin/python .dev/demo_llm.py`.
It generates nothing: it replies with one of a few tales, and says that it is a demo. It calls functions that the user's
message names, and fills a requested JSON schema with words of the tale. Its embeddings are word counts.
"""

import argparse
import asyncio
import json
import re
import socket
import sys
import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvicorn
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from upstream import (  # type: ignore[import-not-found]  # tests/ is not on mypy's path
    EMBEDDING_SIZE,
    Values,
    embedding,
    improvised_calls,
    openai_tool_call,
    tool_call_parts,
)

MODEL = "storyteller"
EMBEDDER = "word-embedder"
PAUSE_SECONDS = 0.03
MAX_ECHO = 100

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
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

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
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None


@dataclass(frozen=True)
class Reply:
    """A complete reply. Each word counts as one token."""

    words: list[str]
    finish_reason: str
    prompt_tokens: int
    tool_calls: list[dict[str, Any]] = field(default_factory=list)

    @property
    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": len(self.words),
            "total_tokens": self.prompt_tokens + len(self.words),
        }


def compose(request: ChatRequest) -> Reply:
    """The reply to a request.

    Raises ValueError, TypeError, LookupError or AttributeError for invalid functions or an invalid schema.
    """
    messages = request.messages
    prompt_tokens = sum(len(message.text.split()) for message in messages)
    last_user = max((at for at, message in enumerate(messages) if message.role == "user"), default=0)
    user_text = " ".join(messages[last_user].text.split()) if messages[last_user].role == "user" else ""
    since = messages[last_user:]
    if calls := _calls(request, user_text, since):
        return Reply([], "tool_calls", prompt_tokens, calls)
    turn = sum(message.role == "assistant" for message in messages)
    tale = TALES[(zlib.crc32(user_text[:MAX_ECHO].encode()) + turn) % len(TALES)]
    results = _results(since)
    answer = (
        _in_json(request.response_format or {}, user_text, results or tale) or results or _tell(user_text, turn, tale)
    )
    words = re.findall(r"\s*\S+", _until_stop(answer, request.stop))
    limit = request.max_completion_tokens or request.max_tokens or len(words)
    return Reply(words[:limit], "length" if len(words) > limit else "stop", prompt_tokens)


def _calls(request: ChatRequest, user_text: str, since: list[Message]) -> list[dict[str, Any]]:
    """Calls of the functions that the user's message names and that have not been called yet."""
    names = re.findall(r"(?<=\s)[A-Z]\w+", user_text)
    body = request.model_dump()
    calls = improvised_calls(body, user_text, [message.model_dump() for message in since], _values(user_text, names))
    return [openai_tool_call(call) for call in calls]


def _results(since: list[Message]) -> str:
    """The functions' results, in a sentence each."""
    names = {call["id"]: call["function"]["name"] for message in since for call in message.tool_calls or []}
    results = [message for message in since if message.role == "tool"]
    return " ".join(f"The result of {names.get(m.tool_call_id, 'a function')} is: {m.text}." for m in results)


def _in_json(response_format: dict[str, Any], user_text: str, tale: str) -> str | None:
    if response_format.get("type") == "json_object":
        return json.dumps({"tale": tale}, ensure_ascii=False)
    if response_format.get("type") == "json_schema":
        sentences = re.split(r"(?<=[.!?])\s", tale.replace('"', ""))
        values = _values(user_text, [*sentences, *tale.replace('"', "").split()])
        return json.dumps(values.fitting(response_format["json_schema"].get("schema") or {}), ensure_ascii=False)
    return None


def _values(user_text: str, texts: list[str]) -> Values:
    """Values for a schema: its strings are the user's quoted words, then these texts, if they fit."""
    return Values(" ".join([user_text, *(f'"{text}"' for text in texts)]))


def _tell(user_text: str, turn: int, tale: str) -> str:
    if len(user_text) > MAX_ECHO:
        user_text = user_text[:MAX_ECHO].rstrip() + "…"
    echo = f"“{user_text}”, you say?" if user_text else "Nothing at all, you say?"
    if turn == 0:
        opening = (
            f"{echo} I am only a demo that tells one of a few tales. For a real model set OPENAI_API_KEY or "
            "OPENAI_BASE_URL before `make run`."
        )
    else:
        opening = f"{echo} Here is another tale."
    return f"{opening}\n\n{tale}"


def _until_stop(text: str, stop: str | list[str] | None) -> str:
    sequences = [stop] if isinstance(stop, str) else stop or []
    found = (text.find(sequence) for sequence in sequences if sequence)
    return text[: min((at for at in found if at >= 0), default=len(text))]


async def chat_completions(http: Request) -> Response:
    try:
        request = ChatRequest.model_validate_json(await http.body())
        reply = compose(request)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        problem = {"message": str(error), "type": "invalid_request_error", "param": None, "code": None}
        return JSONResponse({"error": problem}, status_code=400)
    head = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": MODEL}
    if request.stream:
        include_usage = request.stream_options is not None and request.stream_options.include_usage
        return StreamingResponse(_events(reply, head, include_usage), media_type="text/event-stream")
    message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.words)}
    if reply.tool_calls:
        message = {"role": "assistant", "content": None, "tool_calls": reply.tool_calls}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": reply.usage})


async def _events(reply: Reply, head: dict[str, object], include_usage: bool) -> AsyncIterator[str]:
    head = {**head, "object": "chat.completion.chunk"}
    if include_usage:
        head["usage"] = None

    def event(delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _sse({**head, "choices": [choice]})

    yield event({"role": "assistant", "content": ""})
    for word in reply.words:
        await asyncio.sleep(PAUSE_SECONDS)
        yield event({"content": word})
    for index, call in enumerate(reply.tool_calls):
        for part in tool_call_parts(call):
            yield event({"tool_calls": [{"index": index, **part}]})
    yield event({}, reply.finish_reason)
    if include_usage:
        yield _sse({**head, "choices": [], "usage": reply.usage})
    yield "data: [DONE]\n\n"


def _sse(payload: dict[str, object]) -> str:
    return f"data: {json.dumps(payload, ensure_ascii=False)}\n\n"


class EmbeddingsRequest(BaseModel):
    input: str | list[str]
    encoding_format: str = "float"


async def embeddings(request: Request) -> Response:
    body = EmbeddingsRequest.model_validate_json(await request.body())
    texts = [body.input] if isinstance(body.input, str) else body.input
    as_base64 = body.encoding_format == "base64"
    vectors = [embedding(text, EMBEDDING_SIZE, as_base64=as_base64) for text in texts]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    words = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": words, "total_tokens": words}
    return JSONResponse({"object": "list", "model": EMBEDDER, "data": data, "usage": usage})


async def models(_: Request) -> Response:
    cards = [{"id": model, "object": "model", "created": 0, "owned_by": "demo"} for model in (MODEL, EMBEDDER)]
    return JSONResponse({"object": "list", "data": cards})


app = Starlette(
    routes=[
        Route("/v1/chat/completions", chat_completions, methods=["POST"]),
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/v1/models", models),
    ]
)


@contextmanager
def running() -> Iterator[str]:
    """Run the demo LLM in a thread of this process, on a free loopback port; yields its base URL."""
    # Listen before the thread starts, so that a first request waits in the backlog and is not refused.
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
    parser = argparse.ArgumentParser(description="A demo LLM with OpenAI's API.")
    parser.add_argument("--port", type=int, default=8865)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port)


if __name__ == "__main__":
    main()
