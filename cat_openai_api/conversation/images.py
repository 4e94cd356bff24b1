"""The images of a request: validating data URIs, and downloading http(s) URLs from public addresses only."""

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
DOWNLOAD_TIMEOUT = 10
"""Seconds for a download with all its redirects."""

MAX_REDIRECTS = 5
REDIRECT_STATUSES = {301, 302, 303, 307, 308}

MAX_URL_CHARACTERS = 8192
MAX_AUTHORITY_CHARACTERS = 300
"""Before version 3.7 of idna, the time for encoding a host outside of ASCII is quadratic."""

MIME_TYPES = {f"image/{name}": f"image/{name}" for name in ("png", "jpeg", "gif", "webp")}
MIME_TYPES["image/jpg"] = "image/jpeg"
"""The types that OpenAI accepts, by the names that clients use for them."""

MAX_DATA_URI_HEAD_CHARACTERS = 256
"""Of the part of a data URI before its data."""

REQUEST_HEADERS = [
    (b"Accept", b"image/png, image/jpeg, image/gif, image/webp"),
    (b"Accept-Encoding", b"identity"),
    (b"User-Agent", b"cat-openai-api"),
]
BASE64_ALPHABET = f"{ascii_letters}{digits}+/".encode()

# From the IANA registries of special-purpose addresses. `ipaddress.is_global` differs between versions of Python.
NOT_PUBLIC_IPV4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # a public address that Azure uses for internal services of its virtual machines
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
PUBLIC_IPV6 = IPv6Network("2000::/3")
# Within it: protocol assignments such as Teredo, documentation, 6to4, documentation.
NOT_PUBLIC_IPV6 = [IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
# IPv4-mapped and NAT64 addresses: the last 32 bits are an IPv4 address.
EMBEDDED_IPV4 = [IPv6Network(network) for network in ("::ffff:0:0/96", "64:ff9b::/96")]

HINT = "Send a public http(s) URL of a PNG, JPEG, GIF or WebP image, or the image as a data URI."
# One message for all causes, so that it reveals nothing about hosts in a private network.
UNREACHABLE = f"the image could not be downloaded: its URL does not lead to a public server that answers. {HINT}"


class ImageError(Exception):
    """An image that cannot be used. The message is for the client."""


def is_public(address: Address) -> bool:
    """Whether the address belongs to the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_IPV4)
    if any(address in network for network in EMBEDDED_IPV4):
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in PUBLIC_IPV6 and not any(address in network for network in NOT_PUBLIC_IPV6)


async def resolve_host(host: str, port: int) -> list[str]:
    """All addresses of a host name, or of an IP address in any notation. Raises OSError."""
    found = await get_running_loop().getaddrinfo(host, port, type=SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@cache
def default_tls_context() -> SSLContext:
    return default_ssl_context()


def parse_data_uri(url: str) -> Image:
    """The image of a base64 data URI, with its type normalised to OpenAI's name for it. Raises `ImageError`."""
    head, comma, _ = url[:MAX_DATA_URI_HEAD_CHARACTERS].partition(",")
    prefix, *parameters = head.lower().split(";")
    mime_type = MIME_TYPES.get(prefix.removeprefix("data:").strip())
    is_encoded = bool(comma and parameters) and parameters[-1].strip() == "base64"
    if not prefix.startswith("data:") or not mime_type or not is_encoded:
        raise ImageError(
            "the URL is not a base64 data URI of a supported image type. "
            "Send `data:image/png;base64,…`, or the same with jpeg, gif or webp."
        )
    data = url[len(head) + 1 :]
    if not is_base64(data):
        raise ImageError(
            "the data of the data URI is empty or not valid base64. "
            "Send the whole file in standard base64 with padding, without spaces or line breaks."
        )
    return Image(f"data:{mime_type};base64,{data}")


def is_base64(text: str) -> bool:
    """Whether `text` is standard base64 of at least one byte. It is not decoded."""
    if not text or len(text) % 4 or not text.isascii():
        return False
    padding = text.encode().translate(None, BASE64_ALPHABET)
    return padding in (b"", b"=", b"==") and text.endswith(padding.decode())


def image_type(data: bytes) -> str | None:
    """The MIME type by the first bytes of `data`; None unless it is an image of a type that OpenAI accepts."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else None


class CheckedNetwork(AsyncNetworkBackend):
    """Connects only to hosts all of whose addresses are allowed.

    It connects to the addresses that were checked: a second resolution of the name could have another result.
    """

    def __init__(self, is_allowed: Callable[[Address], bool], resolver: Resolver) -> None:
        self._is_allowed = is_allowed
        self._resolver = resolver
        self._network = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        addresses = [ip_address(address) for address in await self._resolver(host, port)]
        if all(map(self._is_allowed, addresses)):
            for address in map(str, addresses):
                with suppress(ConnectError):
                    return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
        raise ConnectError


@dataclass(frozen=True)
class ImageDownloader:
    """Downloads images. `timeout`: seconds for a whole download. Only tests change the defaults."""

    is_allowed: Callable[[Address], bool] = is_public
    resolver: Resolver = resolve_host
    tls_context: Callable[[], SSLContext] = default_tls_context
    timeout: float = DOWNLOAD_TIMEOUT
    max_bytes: int = MAX_BYTES

    async def download(self, url: str) -> Image:
        """The image at an http(s) URL, as a data URI. Raises `ImageError`."""
        try:
            with fail_after(self.timeout):
                data = await self._download(url)
        except TimeoutError:
            raise ImageError(f"the image could not be downloaded within {self.timeout:g} seconds. {HINT}") from None
        mime_type = image_type(data)
        if not mime_type:
            raise ImageError(f"the URL does not lead to an image of a supported type. {HINT}")
        return Image(f"data:{mime_type};base64,{b64encode(data).decode()}")

    async def _download(self, url: str) -> bytes:
        # The pool has no timeouts of its own, because `download` limits the time of everything here.
        network = CheckedNetwork(self.is_allowed, self.resolver)
        target = parse_http_url(url)
        try:
            tls_context = await to_thread(self.tls_context)
            async with AsyncConnectionPool(ssl_context=tls_context, network_backend=network) as pool:
                for _ in range(MAX_REDIRECTS + 1):
                    request_url = URL(
                        scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
                    )
                    headers = [(b"Host", target.netloc), *REQUEST_HEADERS]
                    async with pool.stream("GET", request_url, headers=headers) as response:
                        location = header(response, b"location")
                        if response.status not in REDIRECT_STATUSES or not location:
                            return await self._read_body(response)
                    target = parse_http_url(location.decode(errors="replace"), str(target))
        # ValueError: for hosts and headers that Python's network modules cannot encode or parse.
        except (NetworkError, ProtocolError, TimeoutException, OSError, ValueError):
            raise ImageError(UNREACHABLE) from None
        raise ImageError(f"the image's URL redirects more than {MAX_REDIRECTS} times. {HINT}")

    async def _read_body(self, response: Response) -> bytes:
        if response.status != 200:
            raise ImageError(f"the image's server responded with status {response.status}. {HINT}")
        # The request does not accept compression: a small body could decompress to a huge one.
        if (header(response, b"content-encoding") or b"identity").strip().lower() != b"identity":
            raise ImageError(f"the image's server sent it compressed, which is not supported. {HINT}")
        too_large = ImageError(f"the image is larger than {self.max_bytes // 1_000_000} MB. Send a smaller one.")
        if int(header(response, b"content-length") or 0) > self.max_bytes:
            raise too_large
        data = bytearray()
        async for piece in response.aiter_stream():
            data += piece
            if len(data) > self.max_bytes:
                raise too_large
        return bytes(data)


async def download_image(url: str) -> Image:
    """The image at an http(s) URL on the public internet, as a data URI. Raises `ImageError`."""
    return await ImageDownloader().download(url)


def parse_http_url(reference: str, base: str = "") -> ParsedURL:
    """Parse an http(s) URL with a host and without credentials, relative to `base`. Raises `ImageError`."""
    try:
        parts = urlsplit(urljoin(base, reference))
        text = parts.geturl()
        if (
            parts.scheme in {"http", "https"}
            and parts.hostname
            and "@" not in parts.netloc
            and len(parts.netloc) <= MAX_AUTHORITY_CHARACTERS
            and len(text) <= MAX_URL_CHARACTERS
            and parts.port != 0  # reading a port that is out of range raises ValueError
        ):
            return ParsedURL(text)
    except (ValueError, InvalidURL):
        pass
    raise ImageError(f"the image's URL must be a valid http(s) URL without a user name or password. {HINT}")


def header(response: Response, name: bytes) -> bytes | None:
    return next((value for key, value in response.headers if key.lower() == name), None)
