"""The base class for the responses of all API resources that generate text."""

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
    """Renders the replies of generations in the wire format of an API resource. It must be closed."""

    def __init__(self, generations: Sequence[Generation]) -> None:
        self.generations = generations

    @abstractmethod
    async def render(self) -> WireReply:
        """The complete response, after the end of all generations. Raises what `Reply.deltas` raises."""

    def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        """The encoded events of a stream. `live`: see `Generation.deltas`. Raises what `Reply.deltas` raises.

        A resource without streams does not have this method and the next one.
        """
        raise NotImplementedError

    def error_events(self, error: ApiError) -> bytes:
        """The encoded events with which a stream ends after an error."""
        raise NotImplementedError

    async def usage(self) -> Usage:
        """The usage of all generations together, after their end."""
        return reduce(add, [await generation.usage() for generation in self.generations])

    async def aclose(self) -> None:
        """Close all generations."""
        async with AsyncExitStack() as stack:
            for generation in reversed(self.generations):
                stack.push_async_callback(generation.aclose)
