"""The host on a Cat that lacks names that the plugin uses: it can do nothing but log."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NoReturn

from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from ...domain.conversation import Capability
from ...domain.events import Event
from ...domain.people import Access, Person
from ...errors import HostIncompatible
from ..port import Host, Run


class IncompatibleHost(Host):
    """`problem`: see `Host`. `log`: the Cat's, or one of the standard library.

    Routes that need the Cat ask for `problem` first. Whatever calls the host all the same gets `HostIncompatible`.
    """

    embedder_setting = ""

    def __init__(self, problem: str, log: Any) -> None:
        self.problem = problem
        self._log = log

    def _refuse(self) -> NoReturn:
        raise HostIncompatible(self.problem or "")

    async def settings(self) -> NoReturn:
        self._refuse()

    async def authenticate(self, connection: HTTPConnection, access: Access) -> NoReturn:
        self._refuse()

    def api_key(self) -> str | None:
        return None

    def end_user(self, name: str) -> Person:
        self._refuse()

    def key_holder(self, key_id: str) -> Person:
        self._refuse()

    def people(self, name: str) -> Sequence[Person]:
        self._refuse()

    async def erase(self, person: Person) -> Mapping[str, int]:
        self._refuse()

    def models(self) -> Sequence[str]:
        return []

    def routes(self) -> list[BaseRoute]:
        return []

    async def has_llm(self) -> bool:
        return False

    def rewrites_replies(self, model: str) -> bool:
        return False

    async def supports(self, model: str, capability: Capability) -> bool:
        return False

    def run(self, run: Run, *, live: bool) -> AsyncGenerator[list[Event], None]:
        self._refuse()

    async def embedder(self) -> None:
        return None

    async def close(self) -> None:
        """There is nothing to release."""

    def log_info(self, message: str) -> None:
        self._log.info(message)

    def log_warning(self, message: str) -> None:
        self._log.warning(message)

    def log_error(self, message: str) -> None:
        self._log.error(message)
