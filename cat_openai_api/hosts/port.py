"""The port: what the plugin needs of a Cat, in terms that belong to no Cat.

Each line of the Cheshire Cat has a folder beside this module with a class that implements `Host`, and `current` chooses
the one that fits. Only those folders use names of `cat.*`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from ..domain.conversation import Capability, Conversation, Functions, JsonFormat, Turn
from ..domain.events import Event
from ..domain.people import Access, Caller, Person
from ..domain.usage import Usage
from ..wire.json import encode
from .storage import Storage
from .usage_table import UsageTable

if TYPE_CHECKING:
    from ...settings import Settings


class RunCancelled(Exception):
    """The run was cancelled, see `Cancellation`."""


class Cancellation:
    """Ends a run from outside of it, such as from another request."""

    def __init__(self) -> None:
        self._is_cancelled = False
        self._end_run: Callable[[], object] = lambda: None

    def when_cancelled(self, end_run: Callable[[], object]) -> None:
        """For a host: have `end_run` called once when the run is cancelled; at once if it has been already."""
        self._end_run = end_run
        if self._is_cancelled:
            end_run()

    def cancel(self) -> None:
        if not self._is_cancelled:
            self._is_cancelled = True
            self._end_run()


class Receipt:
    """What the client has got of a run's reply, which can differ from the run's final text. A client sends it back as
    the assistant's turn.

    `text`: returns the text so far. `final_text`: the same for the part of the final text that is within the client's
    limits. Whoever reads the events of the run sets them; by default they return empty texts.
    """

    def __init__(self) -> None:
        self.text: Callable[[], str] = str
        self.final_text: Callable[[], str] = str


class Questions:
    """What a run's pipeline made of the user's turns, whose messages plugins may change. The host sets it.

    `turns`: those that the pipeline has read, by their places among the turns of the conversation, as it left them,
    each with its `sent_digest`. `are_read`: false while plugins may still change a turn.
    """

    def __init__(self) -> None:
        self.turns: dict[int, Turn] = {}
        self.are_read = True


@dataclass(frozen=True)
class Run:
    """What the Cat is asked to do for one generation.

    `model`: id of a model that the host listed. `context`: that of the `Caller`. `sampling`: OpenAI's sampling
    parameters that the client set, by OpenAI's names, for the LLM of this run alone and as far as its type takes them.
    `functions`: the client's, offered beside the Cat's own tools. `format`: of the reply, if it is to be JSON.
    `remember`: false for a run that leaves no trace in the Cat's memory. `conversation_only`: whether the reply is made
    of the conversation alone: the Cat's own tools are not offered to the LLM, and nothing is recalled from its memory.
    `timeout`: seconds for the whole run; 0 is no limit. `include_steps`: whether `Step` events are wanted. `usages`:
    the host appends what the LLM reported for each call of it that has ended, None where it reported nothing.
    `receipt`: see `Receipt`; it is complete when the generator of `Host.run` is closed, or resumed after its last
    event. `questions`: see `Questions`; they are complete when the generator has ended.
    """

    model: str
    conversation: Conversation
    person: Person
    context: object = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    functions: Functions | None = None
    format: JsonFormat | None = None
    remember: bool = True
    conversation_only: bool = False
    timeout: float = 0
    include_steps: bool = False
    usages: list[Usage | None] = field(default_factory=list, compare=False)
    cancellation: Cancellation = field(default_factory=Cancellation)
    receipt: Receipt = field(default_factory=Receipt)
    questions: Questions = field(default_factory=Questions)


class DimensionsRefused(Exception):
    """The embedder does not make vectors of the requested size."""


@dataclass(frozen=True)
class Embeddings:
    """`vectors`: one for each text, in their order, of numbers that fit into 32-bit floats. `tokens`: of all texts
    together, as the embedder reported them; None if it did not."""

    vectors: Sequence[Sequence[float]]
    tokens: int | None = None


class Embedder(ABC):
    """The Cat's own embedder, as it is configured now."""

    @abstractmethod
    async def embed(self, texts: Sequence[str], dimensions: int | None) -> Embeddings:
        """`dimensions`: the size of the vectors, where the embedder can choose.

        Raises `DimensionsRefused` or `UpstreamError`. When it is cancelled, no further text is embedded.
        """


class Host(ABC):
    """A running Cat."""

    embedder_setting: ClassVar[str]
    """Where in the Cat the embedder is chosen, for error messages."""

    is_open_without_key: ClassVar[bool] = False
    """Whether a Cat without an API key lets everybody do everything."""

    storage: Storage
    """Rows that survive a restart of the Cat."""

    usage: UsageTable
    """Sums of requests and tokens, in the same database."""

    problem: str | None = None
    """Why the plugin cannot work with this Cat, in sentences for clients; None if it can."""

    @abstractmethod
    async def settings(self) -> "Settings":
        """The plugin's settings that are in force now."""

    @abstractmethod
    async def authenticate(self, connection: HTTPConnection, access: Access) -> Caller:
        """The caller of a request or a WebSocket. Raises `InvalidApiKey` or `InsufficientPermissions`."""

    @abstractmethod
    def api_key(self) -> str | None:
        """The Cat's own API key, which opens everything; None where it has none."""

    @abstractmethod
    def end_user(self, name: str) -> Person:
        """The end user that a service calls `name`, which may be any text. One name is always the same person."""

    @abstractmethod
    def key_holder(self, key_id: str) -> Person:
        """The holder of a key that is for no end user, whose `name` is `key_holder_name`. No end user is that person
        as long as none has a name that `is_key_holder_name`."""

    @abstractmethod
    def people(self, name: str) -> Sequence[Person]:
        """All whom an admin can mean by a name: the end user of that name, and a user of the Cat with that id."""

    @abstractmethod
    async def erase(self, person: Person) -> Mapping[str, int]:
        """Delete all that is stored of the person, and what runs under way would still store.

        That is the person's rows in the storage, and what the Cat itself remembers of the person because of this
        plugin. Returns numbers of what was deleted, by kind. Raises `StorageFailed`.
        """

    @abstractmethod
    def models(self) -> Sequence[str]:
        """Ids of the models that clients can chat with; the Cat itself is the first."""

    @abstractmethod
    def routes(self) -> list[BaseRoute]:
        """The list of the Cat's application: the routes of all plugins, in the order in which they are tried."""

    @abstractmethod
    async def has_llm(self) -> bool:
        """Whether an LLM is configured."""

    @abstractmethod
    def rewrites_replies(self, model: str) -> bool:
        """Whether an active plugin may change a finished reply of `model`."""

    @abstractmethod
    async def supports(self, model: str, capability: Capability) -> bool:
        """Whether the LLM of `model`, or another part of the Cat, accepts images, audio, files or functions."""

    @abstractmethod
    def run(self, run: Run, *, live: bool) -> AsyncGenerator[list[Event], None]:
        """Run the Cat's whole pipeline. Yields the events that have come since the last time, at least one.

        `live`: texts and pieces of calls as the LLM produces them; otherwise the final text in one `Text` event, as the
        pipeline's hooks left it, and then whole calls. The last event is an `End` with the final text.

        A run in which the LLM calls functions of the client ends when the Cat's own tools, which the LLM called with
        them, have finished. The results of those tools are stored, and a later run with the client's results finds
        them by the transcript. Closing the generator ends the run and closes the LLM's connection.

        Raises `UpstreamError`, `RequestTimeout` after `run.timeout` seconds, and `RunCancelled`.
        """

    @abstractmethod
    async def embedder(self) -> Embedder | None:
        """The Cat's embedder; None if none is configured."""

    def event_loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop of the Cat; None outside of a running Cat. Plugins may be imported in another thread."""
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            return None

    async def close(self) -> None:
        """Release connections and threads. Called once, when the plugin is switched off or the Cat stops."""
        await self.storage.close()

    def log_request(self, request: Mapping[str, Any]) -> None:
        """Write one line of JSON in ASCII for a request: no text from a client can start a line of its own."""
        self.log_info(f"OpenAI API: {encode(request).decode()}")

    @abstractmethod
    def log_info(self, message: str) -> None: ...

    @abstractmethod
    def log_warning(self, message: str) -> None: ...

    @abstractmethod
    def log_error(self, message: str) -> None:
        """In an `except` block the traceback is logged too."""
