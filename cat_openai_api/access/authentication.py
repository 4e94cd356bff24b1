"""Who sends a request: the holder of a key of this API, or whomever the Cat knows."""

import hmac
import time

from starlette.requests import HTTPConnection

from ..domain.keys import ApiKey
from ..domain.people import Access, Caller, Person
from ..errors import InsufficientPermissions, InvalidApiKey
from ..hosts.port import Host
from .keys import PREFIX, KeyStore


class Authentication:
    def __init__(self, host: Host, keys: KeyStore) -> None:
        self._host = host
        self._keys = keys

    async def authenticate(self, connection: HTTPConnection, access: Access) -> Caller:
        """The caller of a request or a WebSocket.

        A key of this API never reaches the Cat: a Cat 1.9 without an API key of its own would accept it as that of an
        admin. Raises `InvalidApiKey`, `InsufficientPermissions`, and `StorageFailed` where keys have never been read.
        """
        credentials = connection.headers.get("authorization", "").split()
        if not any(part.startswith(PREFIX) for part in credentials) or self._is_of_the_cat(credentials[-1]):
            return await self._host.authenticate(connection, access)
        is_bearer = len(credentials) == 2 and credentials[0].lower() == "bearer"
        key = await self._keys.find(credentials[-1] if is_bearer else "")
        if key is None:
            raise InvalidApiKey("Incorrect API key provided.")
        if not key.is_enabled:
            raise InvalidApiKey("This API key is disabled.")
        if key.has_expired(time.time()):
            raise InvalidApiKey("This API key has expired.")
        if access is Access.ADMIN:
            raise InsufficientPermissions("A key of this API may not do this: it needs the Cat's API key or an admin.")
        self._keys.note_use(key)
        return Caller(self._person(key), key.is_service, connection, key)

    def _is_of_the_cat(self, credential: str) -> bool:
        """Whether it is the Cat's own API key, which an admin may have chosen to begin like the keys of this API."""
        own = self._host.api_key()
        return own is not None and hmac.compare_digest(credential.encode(), own.encode())

    def _person(self, key: ApiKey) -> Person:
        return self._host.key_holder(key.id) if key.end_user is None else self._host.end_user(key.end_user)
