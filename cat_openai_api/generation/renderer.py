"""What a client gets of generations: whole, or as the events of a stream."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator

from ..errors import ApiError
from ..wire.models import WireReply
from .generation import Generation


class Renderer(ABC):
    """What a client gets of an exchange, in the wire form of one API resource. To be closed."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation

    @abstractmethod
    async def whole(self) -> WireReply: ...

    @abstractmethod
    def events(self, *, live: bool) -> AsyncGenerator[bytes, None]:
        """Those of a stream, up to its end; not `live`: all of the content in one."""

    @abstractmethod
    def failed(self, error: ApiError) -> bytes:
        """The events that end a stream which cannot go on."""

    async def aclose(self) -> None:
        await self.generation.aclose()
