"""What a client gets of the generations for its request: whole, or as the events of a stream."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from functools import reduce
from operator import add

from ..domain.usage import Usage
from ..errors import ApiError
from ..wire.models import WireReply
from .generation import Generation


class Renderer(ABC):
    """One response in the wire format of an API resource. Close it."""

    def __init__(self, generations: Sequence[Generation]) -> None:
        self.generations = generations

    @abstractmethod
    async def whole(self) -> WireReply:
        """Wait for the end of the generations. Raises what `Reply.deltas` raises."""

    @abstractmethod
    def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        """All events of a stream, each as bytes; not `live`: with the content in one piece."""

    @abstractmethod
    def failed(self, error: ApiError) -> bytes:
        """The events that end a stream which fails."""

    async def usage(self) -> Usage:
        """The tokens of all generations together. They go into the record of the request as well."""
        usage = reduce(add, [await generation.usage() for generation in self.generations])
        self.generations[0].record.usage = usage
        return usage

    async def aclose(self) -> None:
        """End the runs that have not ended."""
        async with AsyncExitStack() as closing:
            for generation in reversed(self.generations):
                closing.push_async_callback(generation.aclose)
