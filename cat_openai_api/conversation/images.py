"""The images of a request: data URIs as they are sent, http(s) URLs downloaded with nothing private in reach."""

from asyncio import get_running_loop, to_thread
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import SOCK_STREAM
from ssl import SSLContext
from string import ascii_letters, digits
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit

from anyio import fail_after
from httpcore import (
    SOCKET_OPTION,
    URL,
    AnyIOBackend,
    AsyncConnectionPool,
    AsyncNetworkBackend,
    AsyncNetworkStream,
    ConnectError,
    NetworkError,
    ProtocolError,
    Response,
    TimeoutException,
    default_ssl_context,
)
from httpx import URL as ParsedURL
from httpx import InvalidURL

from ..domain.conversation import Image

Address: TypeAlias = IPv4Address | IPv6Address
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_BYTES = 10_000_000
MAX_SECONDS = 10
MAX_REDIRECTS = 5
REDIRECTS = {301, 302, 303, 307, 308}
# The cost of a host outside ASCII grows with the square of its length in idna before 3.7.
MAX_URL_CHARACTERS = 8192
MAX_AUTHORITY_CHARACTERS = 300

MIME_TYPES = {f"image/{name}": f"image/{name}" for name in ("png", "jpeg", "gif", "webp")}
MIME_TYPES["image/jpg"] = "image/jpeg"
MAX_HEAD_CHARACTERS = 256
HEADERS = [
    (b"Accept", b"image/png, image/jpeg, image/gif, image/webp"),
    (b"Accept-Encoding", b"identity"),
    (b"User-Agent", b"cat-openai-api"),
]
BASE64_ALPHABET = f"{ascii_letters}{digits}+/".encode()

# What the IANA registries of special-purpose addresses say is not for the public internet. The rule is our own
# because that of `ipaddress` changes with the version of Python.
NOT_PUBLIC_4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by its number, but Azure's own service for its virtual machines
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
PUBLIC_6 = IPv6Network("2000::/3")
# Within it: protocols with Teredo, documentation, 6to4, documentation.
NOT_PUBLIC_6 = [IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
# IPv4-mapped and NAT64: the last 32 bits are the IPv4 address that is reached.
IPV4_INSIDE = [IPv6Network(network) for network in ("::ffff:0:0/96", "64:ff9b::/96")]

INSTEAD = "Send a public http(s) URL of a PNG, JPEG, GIF or WebP image, or the image itself as a data URI."
# One message for whatever keeps a server out of reach: it does not tell what is inside a private network.
UNREACHABLE = f"The image could not be downloaded: its URL leads to no public server that answers. {INSTEAD}"


class ImageRefused(Exception):
    """An image that the request cannot have; the message is for the client."""


def is_public(address: Address) -> bool:
    """Whether the address belongs to the public internet, the same on every Python."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_4)
    if any(address in network for network in IPV4_INSIDE):
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in PUBLIC_6 and not any(address in network for network in NOT_PUBLIC_6)


async def resolve(host: str, port: int) -> list[str]:
    """All addresses that the system finds for a name, or for an address in any spelling. Raises `OSError`."""
    found = await get_running_loop().getaddrinfo(host, port, type=SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@cache
def default_tls() -> SSLContext:
    return default_ssl_context()


def parse_data_uri(url: str) -> Image:
    """The image of a base64 data URI, with its type as OpenAI writes it. Raises `ImageRefused`."""
    head, comma, _ = url[:MAX_HEAD_CHARACTERS].partition(",")
    kind, *parameters = head.lower().split(";")
    mime_type = MIME_TYPES.get(kind.removeprefix("data:").strip())
    is_encoded = bool(comma and parameters) and parameters[-1].strip() == "base64"
    if not kind.startswith("data:") or not mime_type or not is_encoded:
        raise ImageRefused(
            "The image is no data URI of a type that is taken. "
            "Send `data:image/png;base64,…`, or the same with jpeg, gif or webp."
        )
    data = url[len(head) + 1 :]
    if not is_base64(data):
        raise ImageRefused(
            "The data of the image's data URI are empty or no base64. "
            "Send the whole file in standard base64 with its padding, with no spaces or line breaks."
        )
    return Image(f"data:{mime_type};base64,{data}")


def is_base64(text: str) -> bool:
    """Whether it is standard base64 of at least one byte, found without decoding it."""
    if not text or len(text) % 4 or not text.isascii():
        return False
    padding = text.encode().translate(None, BASE64_ALPHABET)
    return padding in (b"", b"=", b"==") and text.endswith(padding.decode())


def image_type(data: bytes) -> str | None:
    """The MIME type that the first bytes tell; None for what is no image that OpenAI takes."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else None


class CheckedNetwork(AsyncNetworkBackend):
    """Connects only to hosts whose every address is allowed, and to the very addresses that were checked."""

    def __init__(self, is_allowed: Callable[[Address], bool], resolver: Resolver) -> None:
        self._is_allowed = is_allowed
        self._resolve = resolver
        self._network = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        addresses = [ip_address(address) for address in await self._resolve(host, port)]
        if all(map(self._is_allowed, addresses)):
            for address in map(str, addresses):
                with suppress(ConnectError):
                    return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
        raise ConnectError


@dataclass(frozen=True)
class Fetcher:
    """Downloads images. The defaults are what holds for clients; tests give others."""

    is_allowed: Callable[[Address], bool] = is_public
    resolver: Resolver = resolve
    tls: Callable[[], SSLContext] = default_tls
    max_seconds: float = MAX_SECONDS
    max_bytes: int = MAX_BYTES

    async def fetch(self, url: str) -> Image:
        """The image behind an http(s) URL, as a data URI. Raises `ImageRefused`."""
        try:
            with fail_after(self.max_seconds):
                data = await self._download(url)
        except TimeoutError:
            raise ImageRefused(
                f"The image could not be downloaded within {self.max_seconds:g} seconds. {INSTEAD}"
            ) from None
        mime_type = image_type(data)
        if not mime_type:
            raise ImageRefused(f"What the image's URL leads to is no image that is taken. {INSTEAD}")
        return Image(f"data:{mime_type};base64,{b64encode(data).decode()}")

    async def _download(self, url: str) -> bytes:
        # The sockets' own time limits are off: that of all of it, around this, is shorter.
        network = CheckedNetwork(self.is_allowed, self.resolver)
        target = http_url(url)
        try:
            async with AsyncConnectionPool(ssl_context=await to_thread(self.tls), network_backend=network) as pool:
                for _ in range(MAX_REDIRECTS + 1):
                    on_the_wire = URL(
                        scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
                    )
                    headers = [(b"Host", target.netloc), *HEADERS]
                    async with pool.stream("GET", on_the_wire, headers=headers) as response:
                        location = header(response, b"location")
                        if response.status not in REDIRECTS or not location:
                            return await self._body(response)
                    target = http_url(location.decode(errors="replace"), str(target))
        # ValueError: a host or a header that Python's network modules cannot make sense of.
        except (NetworkError, ProtocolError, TimeoutException, OSError, ValueError):
            raise ImageRefused(UNREACHABLE) from None
        raise ImageRefused(f"The image's URL redirects more than {MAX_REDIRECTS} times. {INSTEAD}")

    async def _body(self, response: Response) -> bytes:
        if response.status != 200:
            raise ImageRefused(f"The image's server answered with status {response.status}. {INSTEAD}")
        # It was asked for none, and a small body can decompress to a huge one.
        if (header(response, b"content-encoding") or b"identity").strip().lower() != b"identity":
            raise ImageRefused(f"The image's server sent it compressed, unasked. {INSTEAD}")
        too_large = ImageRefused(f"The image is larger than {self.max_bytes // 1_000_000} MB. Send a smaller one.")
        if int(header(response, b"content-length") or 0) > self.max_bytes:
            raise too_large
        data = bytearray()
        async for piece in response.aiter_stream():
            data += piece
            if len(data) > self.max_bytes:
                raise too_large
        return bytes(data)


async def fetch_image(url: str) -> Image:
    """The image behind an http(s) URL on the public internet, as a data URI. Raises `ImageRefused`."""
    return await Fetcher().fetch(url)


def http_url(reference: str, base: str = "") -> ParsedURL:
    """An absolute http(s) URL with a host and without credentials. Raises `ImageRefused`."""
    try:
        parts = urlsplit(urljoin(base, reference))
        text = parts.geturl()
        if (
            parts.scheme in {"http", "https"}
            and parts.hostname
            and "@" not in parts.netloc
            and len(parts.netloc) <= MAX_AUTHORITY_CHARACTERS
            and len(text) <= MAX_URL_CHARACTERS
            and parts.port != 0  # asked for its range too: another port is a ValueError
        ):
            return ParsedURL(text)
    except (ValueError, InvalidURL):
        pass
    raise ImageRefused(f"The image's URL has to be a valid http(s) URL without a user name or password. {INSTEAD}")


def header(response: Response, name: bytes) -> bytes | None:
    return next((value for key, value in response.headers if key.lower() == name), None)
