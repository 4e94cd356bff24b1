"""The port: what the plugin needs of a Cat, in words that no Cat owns.

Each line of the Cheshire Cat has one module beside this file that implements `Host`; `current` picks the one
that fits. Only those modules know the names of `cat.*`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from starlette.requests import HTTPConnection

from ..domain.conversation import Capability, Conversation, Functions, JsonFormat
from ..domain.events import Event
from ..domain.people import Access, Caller, Person
from ..wire.json import encode
from .storage import Storage

if TYPE_CHECKING:
    from ...settings import Settings


class RunCancelled(Exception):
    """Somebody has cancelled the run."""


class Cancellation:
    """A way to end a run from outside."""

    def __init__(self) -> None:
        self._is_cancelled = False
        self._end_run: Callable[[], object] = lambda: None

    def when_cancelled(self, end_run: Callable[[], object]) -> None:
        """For a host: called once, at once where the run was cancelled before."""
        self._end_run = end_run
        if self._is_cancelled:
            end_run()

    def cancel(self) -> None:
        if not self._is_cancelled:
            self._is_cancelled = True
            self._end_run()


@dataclass(frozen=True)
class Run:
    """What the Cat is asked to do for one generation.

    `model`: id of a model that the host listed. `context`: that of the `Caller`. `sampling`: OpenAI's sampling
    parameters that the client set, by OpenAI's names, for the LLM of this run alone and as far as its type takes them.
    `functions`: the client's, offered beside the Cat's own tools. `format`: of the reply, if it is to be JSON.
    `remember`: false for a run that leaves no trace in the Cat's memory. `timeout`: seconds for the whole run; 0 is no
    limit. `with_steps`: whether `Step` events are wanted.
    """

    model: str
    conversation: Conversation
    person: Person
    context: object = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    functions: Functions | None = None
    format: JsonFormat | None = None
    remember: bool = True
    timeout: float = 0
    with_steps: bool = False
    cancellation: Cancellation = field(default_factory=Cancellation)


class DimensionsRefused(Exception):
    """An embedder does not give vectors of the size that was asked for."""


@dataclass(frozen=True)
class Embeddings:
    """`vectors`: one for each text, in their order; each number has a place in 32 bits. `tokens`: those of all the
    texts, as the embedder reported them; None where it did not."""

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
    """Where in the Cat its embedder is chosen."""

    storage: Storage

    problem: str | None = None
    """Why the plugin cannot work with this Cat, in sentences for clients; None where it can."""

    @abstractmethod
    async def settings(self) -> "Settings":
        """The settings as they stand now in the Cat's panel."""

    @abstractmethod
    async def authenticate(self, connection: HTTPConnection, access: Access) -> Caller:
        """The caller of a request or a WebSocket. Raises `InvalidApiKey` or `InsufficientPermissions`."""

    @abstractmethod
    def end_user(self, name: str) -> Person:
        """The person whom a service calls `name`: any text, always the same person for the same name."""

    @abstractmethod
    def models(self) -> Sequence[str]:
        """Ids of what a client can talk to, their names on the wire; the Cat itself first."""

    @abstractmethod
    async def has_llm(self) -> bool:
        """Whether an LLM is configured."""

    @abstractmethod
    def rewrites_replies(self) -> bool:
        """Whether an active plugin may change a reply after the LLM has finished it."""

    @abstractmethod
    async def takes(self, model: str, kind: Capability) -> bool:
        """Whether that kind of thing reaches the Cat's LLM, or another part of the Cat that is there for it."""

    @abstractmethod
    def run(self, run: Run, *, live: bool) -> AsyncGenerator[list[Event], None]:
        """Put the question through the Cat's whole pipeline; yields the events that are there, at least one.

        `live`: each text and each piece of a call as the LLM produces it; otherwise one text, the reply that the
        pipeline's hooks left, and whole calls after it. The run ends with the calls of the client's functions, when
        the Cat's own tools that the LLM called beside them have run; what those said is found again by the ids of
        the calls. Closing the generator ends the run and closes the LLM's connection. Raises `UpstreamError`,
        `RequestTimeout` after `run.timeout`, and `RunCancelled`.
        """

    @abstractmethod
    async def embedder(self) -> Embedder | None:
        """None where none is configured."""

    async def close(self) -> None:
        """Release what the plugin holds of this Cat. Called once, when the plugin is switched off."""
        await self.storage.close()

    def log_request(self, request: Mapping[str, Any]) -> None:
        """A line for a request, as JSON: what a client sent makes no line of its own in it."""
        self.log_info(f"OpenAI API: {encode(request).decode()}")

    @abstractmethod
    def log_info(self, message: str) -> None: ...

    @abstractmethod
    def log_error(self, message: str) -> None:
        """In an `except` block the traceback is logged too."""
