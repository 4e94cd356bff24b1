"""Texts that clients keep and send back, but can neither read nor change nor pass on to another person.

The key is stored where responses are, so that all Cats on one database share it and it outlives a restart.
"""

import asyncio
import base64
import secrets
from collections.abc import Iterable
from importlib import import_module

from ..domain.people import Person
from ..hosts.collections import NOBODY, SECRETS
from ..hosts.port import Host
from ..packages import ensure_installed

REQUIREMENT = "cryptography>=41"
"""Both Cats bring it, with packages that they need for something else."""

KEY_NAME = "sealing"

KEY_BYTES = 32

NONCE_BYTES = 12
"""As NIST SP 800-38D recommends for random ones; with them a key is good for 2**32 texts."""

VERSION = b"\x01"


class BrokenSeal(Exception):
    """The text was sealed for another person or purpose, or with another key, or has been changed, or is no sealed
    text."""


class Seal:
    """Seals texts for one person and one purpose, with AES-256-GCM."""

    def __init__(self, key: bytes, person: Person, purpose: str) -> None:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  see `REQUIREMENT`
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self._invalid_tag = InvalidTag
        self._cipher = AESGCM(key)
        self._bound_to = f"{purpose}\0{person.key}".encode("utf-8", "surrogatepass")

    def close(self, text: str) -> str:
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode("utf-8", "surrogatepass"), self._bound_to)
        return base64.urlsafe_b64encode(VERSION + nonce + sealed).decode()

    def open(self, sealed: str) -> str:
        """Raises `BrokenSeal`."""
        try:
            data = base64.b64decode(sealed.encode("ascii"), altchars=b"-_", validate=True)
            if not data.startswith(VERSION):
                raise BrokenSeal
            nonce, encrypted = data[1 : 1 + NONCE_BYTES], data[1 + NONCE_BYTES :]
            return self._cipher.decrypt(nonce, encrypted, self._bound_to).decode("utf-8", "surrogatepass")
        except (self._invalid_tag, ValueError) as error:
            raise BrokenSeal from error


def open_with_any(seals: Iterable[Seal], sealed: str) -> str:
    """The text, sealed with any of `seals`. Raises `BrokenSeal`."""
    for seal in seals:
        try:
            return seal.open(sealed)
        except BrokenSeal:  # noqa: PERF203  of another person: the next one may fit
            continue
    raise BrokenSeal


def _import_library() -> None:
    """To be called in a thread: it takes some tenths of a second, and seconds where the library has to be installed."""
    ensure_installed("cryptography", REQUIREMENT)
    import_module("cryptography.hazmat.primitives.ciphers.aead")


class Sealing:
    """Makes seals. The key is made when it is first needed."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._key: bytes | None = None

    async def seal(self, person: Person, purpose: str) -> Seal:
        """Raises `StorageFailed`."""
        if self._key is None:
            await asyncio.to_thread(_import_library)
            self._key = await self._load_key()
        return Seal(self._key, person, purpose)

    async def _load_key(self) -> bytes:
        storage = self._host.storage
        row = await storage.load(SECRETS, NOBODY, KEY_NAME)
        while row is None:
            # Of several Cats that make one at once, one is the first, and the others load its key.
            await storage.insert(SECRETS, NOBODY, KEY_NAME, base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
            row = await storage.load(SECRETS, NOBODY, KEY_NAME)
        return base64.b64decode(row.value)
