"""The objects that live as long as the plugin is switched on: they are created and closed here.

No other module has state. Modules in `http`, `generation` and `api` import `runtime`; modules in the layers below them
get the objects that they need as arguments.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context

from .access.admission import Admission
from .access.authentication import Authentication
from .access.connections import Connections
from .access.exposure import log_key_warning
from .access.keys import KeyStore
from .conversation.background_runs import BackgroundRuns
from .conversation.background_store import BackgroundStore
from .conversation.history import ConversationStore
from .conversation.response_store import ActiveResponses, ResponseStore
from .conversation.sealing import Sealing
from .errors import StorageFailed
from .hosts.current import create_host, when_deactivated
from .hosts.port import Host
from .hosts.server import when_server_stops
from .telemetry.metrics import Metrics
from .telemetry.route_clashes import RouteClashes
from .telemetry.usage_log import UsageLog
from .tokens.vocabulary import Vocabulary

SWEEP_INTERVAL = 60 * 60.0
"""Seconds between two sweeps of the storage."""


class Runtime:
    def __init__(self, host: Host) -> None:
        self.host = host
        self.vocabulary = Vocabulary()
        self.admission = Admission(host)
        self.connections = Connections()
        self.keys = KeyStore(host)
        self.authentication = Authentication(host, self.keys)
        self.metrics = Metrics(host)
        self.route_clashes = RouteClashes(host)
        self.usage = UsageLog(host)
        self.conversations = ConversationStore(host)
        self.responses = ResponseStore(host)
        self.active_responses = ActiveResponses()
        self.sealing = Sealing(host)
        self.background_store = BackgroundStore(host)
        self.background_runs = BackgroundRuns(host, self.background_store)
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._forget_server: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Load the vocabulary and start the tasks, which run until `close`."""
        self.vocabulary.tokenizer()
        loop = self.host.event_loop()
        if loop and self.host.problem is None:
            # In an empty context: the tasks would hold the request that switched the plugin on.
            loop.call_soon_threadsafe(self._start_tasks, context=Context())

    def _start_tasks(self) -> None:
        if not self._closed:
            self._forget_server = when_server_stops(self.close)
            coroutines = (
                self._close_with_loop(),
                self._sweep_storage(),
                self.background_runs.watch(),
                log_key_warning(self.host),
            )
            self._tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]

    async def _sweep_storage(self) -> None:
        """Now and from time to time: rows expire also of people who never return."""
        while True:
            with suppress(StorageFailed):  # The error is in the log already.
                await self.host.storage.sweep()
                await self.host.usage.sweep()
            await asyncio.sleep(SWEEP_INTERVAL)

    async def _close_with_loop(self) -> None:
        """Tasks are cancelled when the event loop ends, which is when the Cat stops. Some servers end the process
        before that: see `when_server_stops`."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Close connections, threads and tasks. Requests that have begun are still completed."""
        if self._closed:
            return
        self._closed = True
        self._forget_server()
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        # Generations end before their usage is written.
        parts = (
            self.connections,
            self.background_runs,
            self.usage,
            self.admission,
            self.keys,
            self.metrics,
            self.route_clashes,
            self.host,
        )
        for part in parts:
            try:
                await part.close()
            except Exception:  # noqa: PERF203  of a library: the other parts are closed all the same
                self.host.log_error(f"OpenAI API: {type(part).__name__} could not be closed")


runtime = Runtime(create_host())
runtime.start()

deactivated = when_deactivated(runtime.host, runtime.close)
"""A module-level name because the loader of Cheshire Cat 1.9 looks for hooks among the members of each module."""
