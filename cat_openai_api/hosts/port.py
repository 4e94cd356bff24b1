"""The port: what the plugin needs of a Cat, in words that no Cat owns.

Each line of the Cheshire Cat has one module beside this file that implements `Host`; `current` picks the one
that fits. Only those modules know the names of `cat.*`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from ..conversation import Conversation, Turn
from ..wire import encode

if TYPE_CHECKING:
    from ...settings import Settings

THE_CAT = "cheshire-cat"
"""Id of the model that is the Cat itself."""


class Access(Enum):
    """What a route needs of its caller."""

    READ = "read"
    WRITE = "write"


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
class Run:
    """One question to the Cat.

    `model`: id of a model that the host listed. `sampling`: OpenAI's sampling parameters that the client set, by
    OpenAI's names; they are for the LLM of this run alone, as far as its type takes them. `timeout`: seconds for
    all of it; 0 is no limit.
    """

    model: str
    conversation: Conversation
    person: Person
    request: Request
    sampling: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 0


class Host(ABC):
    """A running Cat."""

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
    def run(self, run: Run, *, live: bool) -> AsyncGenerator[list[Text], None]:
        """Put the question through the Cat's whole pipeline; yields the events that are there, at least one.

        `live`: each text as the LLM produces it; otherwise one text, the reply that the pipeline's hooks left.
        Closing the generator ends the run and closes the LLM's connection. Raises `UpstreamError`, and
        `RequestTimeout` after `run.timeout`.
        """

    @abstractmethod
    async def kept_turns(self, person: Person) -> list[Turn]:
        """The conversation that the Cat itself keeps with the person, oldest turn first."""

    @abstractmethod
    async def keep_turns(self, person: Person, turns: Sequence[Turn]) -> None:
        """Replace that conversation."""

    def log_path(self, path: Mapping[str, Any]) -> None:
        """A line for debug mode, as JSON: what a client sent makes no line of its own in it."""
        self.log_info(f"OpenAI API: {encode(path).decode()}")

    @abstractmethod
    def log_info(self, message: str) -> None: ...

    @abstractmethod
    def log_error(self, message: str) -> None:
        """In an `except` block the traceback is logged too."""
