"""The LLM of one run on Cat 1.9, so that the run can end while its LLM still thinks.

The Cat's pipeline is synchronous and waits for its LLM in a thread. A thread cannot be woken from a read, so here
the LLM is asked on the event loop, where a task can be cancelled, and the thread waits for what comes of it.
"""

import asyncio
import queue
from collections.abc import Callable, Iterator
from contextlib import aclosing
from contextvars import Context
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from ..detect import IS_CAT_1
from .chat_models import LLMChunk, stream_chat

if IS_CAT_1 or TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel, generate_from_stream
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk
else:
    BaseChatModel = object


MAX_AHEAD = 256
"""Tokens that an LLM may be ahead of the client, who may read slowly; then its connection is not read."""

PAUSE_SECONDS = 0.01


class RunEnded(BaseException):
    """Nobody wants the reply any more. No `Exception`: LangChain and the Cat swallow those."""


class AsyncLLMBridge:
    """Asks LLMs on the event loop for a thread that runs the Cat's pipeline.

    `unread`: how much of what was said nobody has read yet.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, unread: Callable[[], int]) -> None:
        self._loop = loop
        self._unread = unread
        self._ended = False
        self._asking: set[CancelScope] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[queue.SimpleQueue[Any]] = set()

    def end(self) -> None:
        """On the event loop: close the LLM's connection and have the thread raise `RunEnded`."""
        self._ended = True
        for scope in self._asking:
            scope.cancel()
        for answers in self._waiting:
            answers.put(RunEnded())

    def check(self) -> None:
        if self._ended:
            raise RunEnded

    def ask(self, stream: Callable[[], Any]) -> Iterator[Any]:
        """In the thread: what the asynchronous iterator made by `stream` yields. Raises what it raised."""
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # In an empty context: a connection keeps the one that it was opened in, and LangChain's holds the session.
        self._loop.call_soon_threadsafe(self._start, stream, answers, context=Context())
        while True:
            answer = answers.get()
            if answer is None:
                return
            if isinstance(answer, BaseException):
                raise answer
            yield answer

    def _start(self, stream: Callable[[], Any], answers: "queue.SimpleQueue[Any]") -> None:
        if self._ended:
            answers.put(RunEnded())
            return
        self._waiting.add(answers)
        task = self._loop.create_task(self._pump(stream, answers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self, stream: Callable[[], Any], answers: "queue.SimpleQueue[Any]") -> None:
        # Not the task itself is cancelled: that breaks off what HTTP clients do to close a connection, if they are
        # just about it, and then it stays open for good.
        with CancelScope() as scope:
            self._asking.add(scope)
            if not self._ended:
                await self._put_answers(stream, answers)
        self._asking.discard(scope)
        self._waiting.discard(answers)

    async def _put_answers(self, stream: Callable[[], Any], answers: "queue.SimpleQueue[Any]") -> None:
        try:
            # A run may end between two answers: what is not closed then is closed by nobody.
            async with aclosing(stream()) as said:
                async for answer in said:
                    answers.put(answer)
                    # An LLM that is quick never waits by itself, and nobody else would have the event loop.
                    await asyncio.sleep(0)
                    while answers.qsize() + self._unread() > MAX_AHEAD:  # noqa: ASYNC110 (a queue has no event)
                        await asyncio.sleep(PAUSE_SECONDS)
        except Exception as error:
            answers.put(error)
        else:
            answers.put(None)


class LLMOfRun(BaseChatModel):
    """Stands in for the Cat's chat model in one run. Everything else about it is the model's own.

    `usages`: gets what the model reports of each call, or None. `feed`: gets all that the model says in place
    of who asked it, who gets text only.
    """

    model: Any
    bridge: Any
    parameters: Any
    usages: Any
    feed: Any = None

    class Config:
        arbitrary_types_allowed = True

    def __getattr__(self, name: str) -> Any:
        if "model" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.__dict__["model"], name)

    @property
    def _llm_type(self) -> str:
        return str(self.model._llm_type)

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        """For a plugin that has tools of its own."""
        return self.bind(**self.model.bind_tools(tools, **options).kwargs)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> Any:
        return _with_whole_characters(generate_from_stream(self._stream(messages, stop, run_manager, **options)))

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> Iterator[Any]:
        """The loop runs for every token."""
        usage = None
        try:
            for said in self.bridge.ask(lambda: stream_chat(self.model, messages, stop, self.parameters, options)):
                usage = said.usage or usage
                chunk = said.chunk if self.feed or not said.calls else _with_calls(said)
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                if self.feed:
                    self.feed(said)
                yield chunk
        finally:
            self.usages.append(usage)


def _with_calls(said: LLMChunk) -> Any:
    calls = [dict(zip(("index", "id", "name", "args"), call, strict=True)) for call in said.calls]
    return ChatGenerationChunk(message=AIMessageChunk(content=said.chunk.text, tool_call_chunks=calls))


def _with_whole_characters(result: Any) -> Any:
    """Join the halves of characters that an LLM sent in two chunks: the Cat prints its replies, and fails at half
    ones."""
    for generation in result.generations:
        content = generation.message.content
        if isinstance(content, str) and not content.isascii():
            whole = content.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            generation.message.content = generation.text = whole
    return result
