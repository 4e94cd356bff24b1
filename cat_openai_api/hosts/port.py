"""The port: what the plugin needs of a Cat, in words that no Cat owns.

Each line of the Cheshire Cat has one module beside this file that implements `Host`; `current` picks the one
that fits. Only those modules know the names of `cat.*`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from starlette.requests import Request

from ..conversation import Audio, Conversation, File, Functions, Image, JsonFormat
from ..wire import encode

if TYPE_CHECKING:
    from ...settings import Settings

THE_CAT = "cheshire-cat"
"""Id of the model that is the Cat itself."""

THE_EMBEDDER = "cheshire-cat-embedder"
"""Id of the model that is the Cat's embedder, whichever that is at the moment."""


class Access(Enum):
    """What a route needs of its caller. ADMIN: what is about all users, for those who run the Cat."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True)
class Person:
    """Somebody the Cat keeps memory for.

    `key` tells people apart: two persons never share one. `identity` is the host's own object for the person,
    and only the host that made it looks inside.
    """

    key: str
    name: str
    identity: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Caller:
    """Whom the host authenticated. `is_service`: holds the master key, and so speaks for its end users."""

    person: Person
    is_service: bool


@dataclass(frozen=True)
class Text:
    """Event of a run: the reply goes on with `delta`, which is never empty."""

    delta: str


@dataclass(frozen=True)
class Step:
    """Event of a run: something that the Cat did before it spoke, or between, told in a line or a few. It is no
    part of the reply."""

    text: str


@dataclass(frozen=True)
class Refusal:
    """Event of a run: the LLM declines, in OpenAI's field of that name, and goes on doing so with `delta`."""

    delta: str


@dataclass(frozen=True)
class CallDelta:
    """Event of a run: a piece of a call that the client is to make of one of its functions.

    `index`: which call, from 0. `id` and `name` are set in the first piece of each call and empty in those
    after it.
    """

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Usage:
    """Tokens that the LLM reported. `cached` and `reasoning`: the parts of `prompt` and `completion` that OpenAI
    gives in the details; None where the LLM says nothing of them."""

    prompt: int
    completion: int
    total: int
    cached: int | None = None
    reasoning: int | None = None

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.total + other.total,
            _sum(self.cached, other.cached),
            _sum(self.reasoning, other.reasoning),
        )


def total(reported: Sequence[Usage | None]) -> Usage | None:
    """Of all the LLM's calls in a run; None unless there were calls and it reported on each."""
    known = [usage for usage in reported if usage is not None]
    return reduce(add, known) if known and len(known) == len(reported) else None


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


@dataclass(frozen=True)
class Fingerprint:
    """Event of a run: the LLM's configuration, as it calls it itself. It comes before what the LLM says, if at
    all."""

    value: str


CutShort: TypeAlias = Literal["length", "content_filter"]

CUT_SHORT: Mapping[str | None, CutShort] = {"length": "length", "content_filter": "content_filter"}
"""Those finish reasons of an LLM that are no end of its own."""


@dataclass(frozen=True)
class End:
    """Event of a run: the last one, unless the run fails or is closed.

    `reason`: why the LLM ended where that was no end of its own. `usage`: of all the LLM's calls in the run; None
    unless it reported on each.
    """

    reason: CutShort | None = None
    usage: Usage | None = None


Kind: TypeAlias = type[Image | Audio | File | Functions]
"""Of what not every Cat takes."""

Event: TypeAlias = Text | Refusal | CallDelta | Step | Fingerprint | End


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
    """One question to the Cat.

    `model`: id of a model that the host listed. `sampling`: OpenAI's sampling parameters that the client set,
    by OpenAI's names; they are for the LLM of this run alone, as far as its type takes them. `functions`: the
    client's, offered beside the Cat's own tools. `format`: JSON as the form of the reply. `remember`: false for
    a run that leaves no trace in the Cat's memory. `timeout`: seconds for all of it; 0 is no limit. `with_steps`:
    whether the steps are wanted.
    """

    model: str
    conversation: Conversation
    person: Person
    request: Request
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

    @abstractmethod
    async def settings(self) -> "Settings":
        """The settings as they stand now in the Cat's panel."""

    @abstractmethod
    async def authenticate(self, request: Request, access: Access) -> Caller:
        """Who calls. Raises `InvalidApiKey` or `InsufficientPermissions`."""

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
    async def takes(self, model: str, kind: Kind) -> bool:
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

    @abstractmethod
    async def load(self, key: str) -> Any:
        """What is saved under the key in the Cat's own storage; None where nothing is (any more).

        Raises `StorageFailed`.
        """

    @abstractmethod
    async def update(self, key: str, change: Callable[[Any], Any]) -> None:
        """Save under the key what `change` makes of what `load` would give: a JSON value.

        It is kept for as long as the Cat's storage keeps anything, and nothing is lost that another Cat on that
        storage saves at the same time. Raises `StorageFailed`.
        """

    def log_request(self, request: Mapping[str, Any]) -> None:
        """A line for a request, as JSON: what a client sent makes no line of its own in it."""
        self.log_info(f"OpenAI API: {encode(request).decode()}")

    @abstractmethod
    def log_info(self, message: str) -> None: ...

    @abstractmethod
    def log_error(self, message: str) -> None:
        """In an `except` block the traceback is logged too."""
