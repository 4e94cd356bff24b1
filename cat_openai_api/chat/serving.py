"""A chat completion, from the validated request to the pieces of its reply."""

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.requests import Request

from ..conversation import Conversation, Turn
from ..hosts.current import host
from ..hosts.port import Person, Run
from ..models.serving import resolve_model
from ..reply import Reply
from ..streamer import event
from ..tokens import count_prompt_tokens, count_tokens
from ..wire import encode
from .protocol import (
    AssistantMessage,
    AssistantReply,
    ChatCompletion,
    ChatCompletionRequest,
    Choice,
    RequestMessage,
    Usage,
    UserMessage,
)

if TYPE_CHECKING:
    from ...settings import Settings


@dataclass(frozen=True)
class Completion:
    """One completion under way: the Cat's reply and what its wire form needs of the request."""

    wanted: ChatCompletionRequest
    conversation: Conversation
    reply: Reply
    debug: bool
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self) -> ChatCompletion:
        content = await self.reply.whole()
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.wanted.model,
            choices=[Choice(message=AssistantReply(content=content), finish_reason=self.reply.finish_reason)],
            usage=await self.usage(),
        )

    async def chunks(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        """The events of a stream; not `live`: all of the content in one."""
        include_usage = bool(self.wanted.stream_options and self.wanted.stream_options.include_usage)
        frame = _Frame(self.id, self.created, self.wanted.model, include_usage)
        opening = frame.chunk({"role": "assistant", "content": "", "refusal": None})
        if not live:
            yield opening + frame.content(await self.reply.whole())
        else:
            # One write where the first words are there already.
            if not self.reply.has_begun():
                yield opening
                opening = b""
            async for deltas in self.reply.deltas():
                yield opening + b"".join(map(frame.content, deltas))
                opening = b""
            if opening:
                yield opening
        yield frame.chunk({}, self.reply.finish_reason)
        if include_usage:
            yield frame.usage((await self.usage()).model_dump())

    async def usage(self) -> Usage:
        prompt = await count_prompt_tokens(self.conversation.all_texts())
        completion = await count_tokens([self.reply.text()])
        return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)

    async def aclose(self) -> None:
        """End the run if it has not ended. In debug mode its path goes to the log."""
        await self.reply.aclose()
        if self.debug:
            host.log_path(await self._path())

    async def _path(self) -> dict[str, Any]:
        return {
            "completion": self.id,
            "model": self.wanted.model,
            "messages": [
                {"role": message.role, "characters": sum(map(len, _texts(message)))}
                for message in self.wanted.messages
            ],
            "stream": bool(self.wanted.stream),
            "seconds_to_first_words": self.reply.seconds_to_first_words,
            "seconds": self.reply.age(),
            "usage": (await self.usage()).model_dump(),
            "finish_reason": self.reply.finish_reason,
        }


class _Frame:
    """What all chunks of one stream have in common, encoded once."""

    def __init__(self, id: str, created: int, model: str, include_usage: bool) -> None:
        self._common: dict[str, Any] = {
            "id": id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        # With include_usage OpenAI sends the field in every chunk, null in all but the last.
        self._usage: dict[str, Any] = {"usage": None} if include_usage else {}
        self._before, self._after = self.chunk({"content": "\0"}).rsplit(b'"\\u0000"', 1)

    def content(self, delta: str) -> bytes:
        """This runs for every token."""
        return self._before + encode(delta) + self._after

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event({**self._common, "choices": [choice], **self._usage})

    def usage(self, usage: dict[str, int]) -> bytes:
        return event({**self._common, "choices": [], "usage": usage})


def start_completion(
    wanted: ChatCompletionRequest, person: Person, settings: "Settings", request: Request
) -> Completion:
    """Prepare the completion; the Cat has not been asked yet. Raises `ModelNotFound`."""
    conversation = conversation_of(wanted.messages)
    model = resolve_model(wanted.model, settings)
    rewritten = host.rewrites_replies()
    limits = (wanted.max_completion_tokens, wanted.max_tokens, settings.max_tokens)
    return Completion(
        wanted=wanted,
        conversation=conversation,
        debug=settings.debug_mode,
        reply=Reply(
            Run(
                model,
                conversation,
                person,
                request,
                sampling=wanted.sampling(),
                timeout=settings.request_timeout,
            ),
            max_tokens=min((limit for limit in limits if limit and limit > 0), default=0),
            stops=wanted.stops(),
            live=settings.streams_live(rewritten=rewritten) if wanted.stream else not rewritten,
        ),
    )


def conversation_of(messages: Sequence[RequestMessage]) -> Conversation:
    turns: list[Turn] = []
    instructions: list[str] = []
    for message in messages:
        texts = _texts(message)
        if isinstance(message, UserMessage | AssistantMessage):
            turns.append(Turn(message.role, texts))
        else:
            instructions.extend(texts)
    return Conversation(tuple(turns), tuple(instructions))


def _texts(message: RequestMessage) -> tuple[str, ...]:
    if message.content is None:
        return ("",)
    if isinstance(message.content, str):
        return (message.content,)
    return tuple(part.text for part in message.content)
