"""One call of the API, whichever transport it came by: its caller, settings, end user and limits."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

from ..access.end_user import resolve_end_user
from ..access.rate_limiter import DEFAULT_BUCKET
from ..domain.people import Access, Caller, Person
from ..errors import HostIncompatible, InsufficientPermissions
from ..hosts.storage import request_began
from ..runtime import runtime
from ..telemetry.record import RequestRecord

if TYPE_CHECKING:
    from ...settings import Settings

LEFT_OUT_TOOLS = "x-left-out-tools"
"""The response header that names the client's tools that the LLM is not offered."""


def require_compatible_host() -> None:
    """Raises `HostIncompatible`."""
    if runtime.host.problem:
        raise HostIncompatible(runtime.host.problem)


class ApiCall:
    """An HTTP request, or one turn on a WebSocket.

    `record`: of the call. `response_headers`: headers for its response; a WebSocket has no place for them. `settings`:
    read once for the call, limited to what the caller's key may do; available after `authenticate`. `bucket`: of the
    rate limit. `size`: bytes of what the client has sent.
    """

    record: RequestRecord
    response_headers: dict[str, str]
    settings: "Settings"
    bucket: str = DEFAULT_BUCKET
    size: int = 0
    _caller: Caller | None = None

    @property
    def connection(self) -> HTTPConnection:
        """What the call came by."""
        raise NotImplementedError

    @property
    def caller(self) -> Caller:
        if self._caller is None:
            raise RuntimeError("The route needs no credentials, so there is no caller.")
        return self._caller

    async def authenticate(self, access: Access) -> None:
        """Set `caller` and `settings`. Raises `InvalidApiKey` or `InsufficientPermissions`."""
        self._caller = await runtime.authentication.authenticate(self.connection, access)
        self.record.key_id = self._caller.key_id
        self.settings = await runtime.host.settings()
        if key := self._caller.key:
            self.settings = self.settings.for_key(key.models, key.rate_limit_per_minute)
        self.record.debug = self.settings.debug_mode
        runtime.metrics.apply(self.settings)

    async def is_admin(self) -> bool:
        """Whether the caller, who has been authenticated, may call the routes for admins too."""
        try:
            await self.authenticate(Access.ADMIN)
        except InsufficientPermissions:
            return False
        return True

    def end_user(self, name: str | None) -> Person:
        """See `resolve_end_user`. The call's record gets the person, and the storage learns when the call began: see
        `request_began`."""
        self.record.person = resolve_end_user(self.caller, name, self.connection.headers, self.settings, runtime.host)
        request_began.set(self.record.began)
        return self.record.person

    async def admit(self, person: Person, generations: int = 1, *, uses_tokens: bool = True) -> Callable[[], None]:
        """Admit the call for `person`, see `Admission.admit`. `uses_tokens`: whether its key's budget counts.

        Returns the function that releases the slots of the concurrency limit and counts the usage, also in the budget
        of the caller's key; call it when the call has ended and its record has the usage. Raises `Overloaded`,
        `RateLimitExceeded` or `InsufficientQuota`.
        """
        caller = self.caller if uses_tokens else replace(self.caller, key=None)
        admitted = await runtime.admission.admit(
            person, caller, self.settings, self.bucket, generations=generations, size=self.size
        )
        self.response_headers.update(admitted.headers)

        def release() -> None:
            admitted.release(self.record.usage)
            runtime.usage.add_request(self.record)

        return release

    def add_left_out_tools(self, names: Sequence[str]) -> None:
        """Name the client's tools that the LLM is not offered, in the log and in a header of the response."""
        self.record.left_out_tools = names
        if names:
            self.response_headers[LEFT_OUT_TOOLS] = ", ".join(names)

    async def add_rate_limit_headers(self) -> None:
        """Add the headers for the caller, which a call keeps that ends before its end user is resolved."""
        person = self.caller.person
        self.response_headers.update(await runtime.admission.rate_limit_headers(person, self.settings, self.bucket))
