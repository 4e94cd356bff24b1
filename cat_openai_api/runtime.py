"""The objects that live as long as the plugin is switched on: they are created and closed here.

No other module has state. Modules in `http`, `generation` and `api` import `runtime`; modules in the layers below them
get the objects that they need as arguments.
"""

import asyncio

from .access.admission import Admission
from .conversation.history import ConversationStore
from .conversation.response_store import ActiveResponses, ResponseStore
from .hosts.current import create_host, when_deactivated
from .hosts.port import Host
from .telemetry.metrics import Metrics
from .tokens.vocabulary import Vocabulary


class Runtime:
    def __init__(self, host: Host) -> None:
        self.host = host
        self.vocabulary = Vocabulary()
        self.admission = Admission(host)
        self.metrics = Metrics(host)
        self.conversations = ConversationStore(host)
        self.responses = ResponseStore(host)
        self.active_responses = ActiveResponses()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    def start(self) -> None:
        """Start loading the vocabulary, and have the runtime closed when the event loop ends because the Cat stops."""
        self.vocabulary.tokenizer()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # imported in a process that is not a running Cat
        self._tasks.append(loop.create_task(self._close_with_loop()))

    async def _close_with_loop(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Close connections, threads and tasks. Requests that have begun are still completed."""
        if self._closed:
            return
        self._closed = True
        await self.admission.close()
        await self.metrics.close()
        await self.host.close()
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()


runtime = Runtime(create_host())
runtime.start()

deactivated = when_deactivated(runtime.close)
"""A module-level name because the loader of Cheshire Cat 1.9 looks for hooks among the members of each module."""
