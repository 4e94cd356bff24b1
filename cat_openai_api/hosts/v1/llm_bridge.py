"""The LLM of one run on Cat 1.9, so that the run can end while its LLM has not answered yet.

The Cat's pipeline is synchronous and waits for its LLM in a thread. A thread cannot be interrupted while it reads from
a socket. So the LLM's reply is read on the event loop, where a task can be cancelled, and the thread waits on a queue.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from anyio import CancelScope

from ..detect import IS_CAT_1
from .chat_models import LLMChunk, stream_chat

if IS_CAT_1 or TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel, generate_from_stream
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk
else:
    BaseChatModel = object


MAX_CHUNKS_AHEAD = 256
"""How far an LLM may be ahead of a client that reads slowly. Beyond that its connection is not read."""

PAUSE_SECONDS = 0.01

MakeStream: TypeAlias = Callable[[], AsyncGenerator[LLMChunk, None]]


class RunEnded(BaseException):
    """The run has ended before its pipeline. Not an `Exception`: LangChain and the Cat swallow those."""


class CallEnded(Exception):
    """A request to the LLM was ended that a plugin sent from a thread of its own."""


ChunkQueue: TypeAlias = "queue.SimpleQueue[LLMChunk | BaseException | None]"
"""Chunks, and last of all the exception that ended the stream, or None."""


class _Call:
    """One request to the LLM. `is_of_pipeline`: whether it ends with the run; others are of threads of plugins."""

    def __init__(self, *, is_of_pipeline: bool) -> None:
        self.is_of_pipeline = is_of_pipeline
        self.has_ended = False
        self.chunks: ChunkQueue = queue.SimpleQueue()
        self.scope: CancelScope | None = None

    def end(self) -> None:
        self.has_ended = True
        if self.scope:
            self.scope.cancel()
        self.chunks.put(RunEnded() if self.is_of_pipeline else CallEnded("The run has ended."))


class AsyncLLMBridge:
    """Reads LLMs' replies on the event loop for the thread that runs the Cat's pipeline, and for those of plugins.

    `unread`: how many events of the run the client has not read yet.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, unread: Callable[[], int]) -> None:
        self._loop = loop
        self._unread = unread
        self._ended = False
        self._pipeline_thread: int | None = None
        self._calls: set[_Call] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """In the thread of the pipeline, before it runs."""
        self._pipeline_thread = threading.get_ident()

    def finish(self) -> None:
        """In the thread of the pipeline, after it has run."""
        self._ended = True
        self._pipeline_thread = None

    def end(self) -> None:
        """On the event loop: close the LLM's connection and have the pipeline raise `RunEnded`.

        Threads that plugins have started go on: they are none of the run's.
        """
        self._ended = True
        for call in self._calls:
            if call.is_of_pipeline:
                call.end()

    def end_all(self) -> None:
        """On the event loop, where the pipeline has not ended after `end`: it may wait for a thread of a plugin."""
        self.end()
        for call in self._calls:
            if not call.is_of_pipeline:
                call.end()

    def check(self) -> None:
        """Raises `RunEnded` in the thread of the pipeline."""
        if self._ended and self.is_pipeline():
            raise RunEnded

    def is_pipeline(self) -> bool:
        """Whether the caller is in the thread of the pipeline."""
        return threading.get_ident() == self._pipeline_thread

    def is_outside(self) -> bool:
        """Whether the caller is none of the run's: a plugin's thread that goes on after its end, or code on the event
        loop, which cannot wait for what is read there."""
        if self.is_pipeline():
            return False
        return self._ended or asyncio._get_running_loop() is not None

    def iterate(self, make_stream: MakeStream, *, is_main_prompt: bool) -> Iterator[LLMChunk]:
        """In a thread: the chunks of the stream, which is made and read on the event loop. Raises what it raises, and
        `RunEnded` or `CallEnded`."""
        call = _Call(is_of_pipeline=is_main_prompt or self.is_pipeline())
        # In an empty context: a connection keeps the one that it was opened in, and LangChain's holds the session.
        self._loop.call_soon_threadsafe(self._start, make_stream, call, context=Context())
        while True:
            chunk = call.chunks.get()
            if chunk is None:
                return
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk

    def _start(self, make_stream: MakeStream, call: _Call) -> None:
        if self._ended and call.is_of_pipeline:
            call.end()
            return
        self._calls.add(call)
        task = self._loop.create_task(self._read(make_stream, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, make_stream: MakeStream, call: _Call) -> None:
        # The scope is cancelled and not the task: HTTP clients close a connection in a scope that is shielded from
        # such a cancellation, but not from that of the task, which would leave the connection open for good.
        try:
            with CancelScope() as call.scope:
                if not call.has_ended:
                    await self._put_chunks(make_stream, call)
        finally:
            self._calls.discard(call)

    async def _put_chunks(self, make_stream: MakeStream, call: _Call) -> None:
        """The loop runs for every token."""
        chunks = call.chunks
        try:
            # A run may end between two chunks. Without `aclosing` the stream would stay open then.
            async with aclosing(make_stream()) as stream:
                async for chunk in stream:
                    chunks.put(chunk)
                    # A fast LLM never waits by itself, and nothing else would run on the event loop.
                    await asyncio.sleep(0)
                    while self._is_far_ahead(chunks):  # noqa: ASYNC110 (a queue has no event)
                        await asyncio.sleep(PAUSE_SECONDS)
        except Exception as error:
            chunks.put(error)
        except asyncio.CancelledError:
            # The thread would wait for ever where the event loop ends.
            call.end()
            raise
        else:
            chunks.put(None)

    def _is_far_ahead(self, chunks: ChunkQueue) -> bool:
        return chunks.qsize() + (0 if self._ended else self._unread()) > MAX_CHUNKS_AHEAD


@dataclass(frozen=True)
class TokenSource:
    """One request to the LLM. `is_main_prompt`: whether its reply is the Cat's reply itself."""

    number: int
    is_main_prompt: bool


class TokenSources(threading.local):
    """Tells whoever gets a token which request to the LLM it comes from: LangChain's callbacks do not.

    `current`: set in the thread that passes a token on, for as long as it does; None outside of that.
    """

    current: TokenSource | None = None


class LLMOfRun(BaseChatModel):
    """Stands in for the Cat's chat model in one run. All its other attributes are the model's.

    `usages`: gets the usage that the model reports for each call, or None. `sources`: as `source` is the source of the
    tokens. `feed`: gets all chunks; the caller gets only their text then.
    """

    model: Any
    bridge: Any
    parameters: Any
    usages: Any
    sources: Any
    source: Any
    feed: Any = None

    class Config:
        arbitrary_types_allowed = True

    def __getattr__(self, name: str) -> Any:
        if "model" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.__dict__["model"], name)

    def __deepcopy__(self, memo: Any) -> "LLMOfRun":
        """The Cat copies what it hands to hooks, which may refer to the LLM."""
        return self

    @property
    def _llm_type(self) -> str:
        return str(self.model._llm_type)

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        """For a plugin that has tools of its own."""
        return self.bind(**self.model.bind_tools(tools, **options).kwargs)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> Any:
        return _join_surrogates(generate_from_stream(self._stream(messages, stop, run_manager, **options)))

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> Iterator[Any]:
        """The loop runs for every token."""
        usage = None
        try:
            for chunk in self.bridge.iterate(
                lambda: stream_chat(self.model, messages, stop, self.parameters, options),
                is_main_prompt=self.source.is_main_prompt,
            ):
                usage = chunk.usage or usage
                generation = chunk.generation if self.feed or not chunk.calls else _with_calls(chunk)
                if run_manager:
                    self.sources.current = self.source
                    try:
                        run_manager.on_llm_new_token(generation.text, chunk=generation)
                    finally:
                        self.sources.current = None
                if self.feed:
                    self.feed(chunk)
                yield generation
        finally:
            self.usages.append(usage)


def _with_calls(chunk: LLMChunk) -> Any:
    calls = [dict(zip(("index", "id", "name", "args"), call, strict=True)) for call in chunk.calls]
    return ChatGenerationChunk(message=AIMessageChunk(content=chunk.generation.text, tool_call_chunks=calls))


def _join_surrogates(result: Any) -> Any:
    """Join the two halves of a character that an LLM sent in two chunks: the Cat prints its replies, and printing
    half a character raises an exception."""
    for generation in result.generations:
        content = generation.message.content
        if isinstance(content, str) and not content.isascii():
            joined = content.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            generation.message.content = generation.text = joined
    return result
