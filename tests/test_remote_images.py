"""Images by URL and as data URIs: which are accepted and refused, and that no private address is reached."""

import asyncio
import base64
import datetime
import gzip
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from bridge.cat_openai_api.conversation.images import (
    UNREACHABLE,
    Address,
    ImageDownloader,
    ImageError,
    download_image,
    is_public,
    parse_data_uri,
)
from bridge.cat_openai_api.domain.conversation import Image
from hypothesis import example, given
from hypothesis import strategies as st

Result = TypeVar("Result")

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
IMAGES = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(20),
    "image/gif": b"GIF89a" + bytes(20),
    "image/webp": b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(20),
}

# The part of the public internet is played by 127.0.0.1, that of a private network by 127.0.0.2.
PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"


def reply(body: bytes = PNG, status: str = "200 OK", length: bool = True, **headers: str) -> bytes:
    head = {"Content-Type": "image/png", "Connection": "close"}
    head |= {name.replace("_", "-"): value for name, value in headers.items()}
    if length:
        head.setdefault("Content-Length", str(len(body)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def redirect(to: str, status: str = "302 Found") -> bytes:
    return reply(b"", status, Location=to)


@dataclass
class Server:
    """Answers each path with its bytes, and stores the heads of the requests."""

    port: int = 0
    replies: dict[str, bytes] = field(default_factory=dict)
    pieces: Callable[[], AsyncIterator[bytes]] | None = None
    heads: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            writer.write(self.replies.get(head.split()[1], reply()))
            if self.pieces:
                async for piece in self.pieces():
                    writer.write(piece)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def url(self, path: str = "/", host: str = "pictures.test", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def serving(
    host: str = PUBLIC, port: int = 0, tls: ssl.SSLContext | None = None, **replies: bytes
) -> AsyncIterator[Server]:
    server = Server(replies={f"/{path}": answer for path, answer in replies.items()})
    try:
        listener = await asyncio.start_server(server.answer, host, port, ssl=tls)
    except OSError:
        if host == PUBLIC:
            raise
        pytest.skip(f"this machine has no {host}")
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


def names(**hosts: list[str]) -> Callable[[str, int], Awaitable[list[str]]]:
    """A resolver for these hosts (`_` for a dot), pictures.test, and IP addresses."""
    known = {name.replace("_", "."): found for name, found in hosts.items()}
    known.setdefault("pictures.test", [PUBLIC])

    async def resolver(host: str, port: int) -> list[str]:
        if host not in known:
            return [str(ipaddress.ip_address(host))]
        return known[host]

    return resolver


def is_first(address: Address) -> bool:
    return str(address) == PUBLIC


downloader = partial(ImageDownloader, is_allowed=is_first, resolver=names())


def run(test: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(asyncio.wait_for(test, 30))


async def refusal(fetching: Awaitable[Image]) -> str:
    with pytest.raises(ImageError) as refused:
        await fetching
    return str(refused.value)


async def fetched(answer: bytes, **options: Any) -> Image:
    async with serving(image=answer) as server:
        return await downloader(**options).download(server.url("/image"))


def refused(answer: bytes, **options: Any) -> str:
    return run(refusal(fetched(answer, **options)))


# What is taken


@pytest.mark.parametrize("mime_type", IMAGES)
@pytest.mark.parametrize("header", ["image/png", "application/octet-stream", "text/html"])
def test_an_image_becomes_a_data_uri_with_the_type_of_its_bytes(mime_type: str, header: str) -> None:
    image = run(fetched(reply(IMAGES[mime_type], Content_Type=header)))
    assert image.mime_type == mime_type
    assert base64.b64decode(image.base64) == IMAGES[mime_type]
    assert parse_data_uri(image.url) == image


def test_an_image_without_content_length_is_accepted() -> None:
    chunked = f"{len(PNG):x}\r\n".encode() + PNG + b"\r\n0\r\n\r\n"
    for answer in (reply(length=False), reply(chunked, length=False, Transfer_Encoding="chunked")):
        assert base64.b64decode(run(fetched(answer)).base64) == PNG


def test_the_request_has_the_urls_host_and_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cookie, credential or proxy is used, not even one from the environment."""

    async def test() -> None:
        async with serving(first=reply(b"", "302 Found", Location="/a%20b?c=d", Set_Cookie="a=b")) as server:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{server.port + 1}")
            await downloader().download(server.url("/first#fragment"))
            lines = server.heads[1].lower().split("\r\n")
            assert lines[0] == "get /a%20b?c=d http/1.1"
            assert f"host: pictures.test:{server.port}" in lines
            assert "accept-encoding: identity" in lines
            assert {line.split(":")[0] for line in lines[1:] if line} == {
                "host",
                "accept",
                "accept-encoding",
                "user-agent",
            }

    run(test())


def test_a_host_name_outside_ascii_is_encoded_for_dns() -> None:
    async def test() -> None:
        async with serving() as server:
            resolver = names(**{"xn--bcher-kva_test": [PUBLIC]})
            await downloader(resolver=resolver).download(server.url("/é", host="bücher.test"))
            assert server.heads[0].startswith("GET /%C3%A9 ")
            assert f"Host: xn--bcher-kva.test:{server.port}" in server.heads[0]

    run(test())


# Redirects


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_redirects_of_all_kinds_are_followed(status: str) -> None:
    async def test() -> None:
        async with serving() as server:
            server.replies["/1"] = redirect("2", status)
            server.replies["/2"] = redirect(server.url("/3"), status)
            server.replies["/3"] = redirect(f"//127.0.0.1:{server.port}/4", status)
            assert base64.b64decode((await downloader().download(server.url("/1"))).base64) == PNG
            assert [head.split()[1] for head in server.heads] == ["/1", "/2", "/3", "/4"]

    run(test())


def test_five_redirects_are_followed_and_no_sixth() -> None:
    async def test() -> None:
        async with serving() as server:
            server.replies |= {f"/{hop}": redirect(str(hop + 1)) for hop in range(6)}
            await downloader().download(server.url("/1"))
            assert "redirects" in await refusal(downloader().download(server.url("/0")))
            assert len(server.heads) == 6 + 6

    run(test())


def test_a_redirect_loop_ends() -> None:
    assert "redirects" in refused(redirect("/image"))


def test_a_redirect_to_a_private_address_is_never_followed() -> None:
    async def test() -> None:
        async with serving() as server, serving(PRIVATE) as inside:
            for target in (f"http://{PRIVATE}:{inside.port}/", inside.url("/", host="inside.test")):
                server.replies["/out"] = redirect(target)
                mine = downloader(resolver=names(inside_test=[PRIVATE]))
                assert await refusal(mine.download(server.url("/out"))) == UNREACHABLE
            assert len(server.heads) == 2
            assert inside.heads == []

    run(test())


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "data:image/png;base64,AAAA", "ftp://a.test/", "http://u:p@a.test/", "http://["],
)
def test_a_redirect_to_an_invalid_url_is_refused(target: str) -> None:
    assert "valid http(s) URL" in refused(redirect(target))


# Addresses


def test_a_name_with_a_private_address_among_its_addresses_is_refused() -> None:
    async def test() -> None:
        async with serving() as server:
            for mixed in ([PUBLIC, PRIVATE], [PRIVATE, PUBLIC], [PUBLIC, "::ffff:127.0.0.2"], []):
                resolver = names(pictures_test=mixed)
                assert await refusal(downloader(resolver=resolver).download(server.url())) == UNREACHABLE
            assert server.heads == []

    run(test())


def test_a_name_is_resolved_once_for_each_connection_and_the_checked_address_is_used() -> None:
    """DNS rebinding: the second resolution of the name gives the private address."""

    async def test() -> None:
        async with serving(PUBLIC) as server, serving(PRIVATE, server.port) as inside:
            asked = 0

            async def rebinding(host: str, port: int) -> list[str]:
                nonlocal asked
                asked += 1
                return [PUBLIC if asked == 1 else PRIVATE]

            await downloader(resolver=rebinding).download(server.url())
            assert (asked, len(server.heads), inside.heads) == (1, 1, [])

            asked = 0
            server.replies["/again"] = redirect("/")
            assert await refusal(downloader(resolver=rebinding).download(server.url("/again"))) == UNREACHABLE
            assert (asked, len(server.heads), inside.heads) == (2, 2, [])

    run(test())


def test_another_address_is_used_if_the_first_does_not_answer() -> None:
    async def test() -> None:
        async with serving(PUBLIC) as server:
            resolver = names(pictures_test=[PRIVATE, PUBLIC])
            await downloader(is_allowed=lambda address: True, resolver=resolver).download(server.url())
            assert len(server.heads) == 1

    run(test())


def test_private_unknown_and_closed_hosts_give_the_same_error() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    async def test() -> None:
        async with serving(PRIVATE) as inside:
            private = await refusal(downloader().download(f"http://{PRIVATE}:{inside.port}/"))
        closed = await refusal(downloader().download(inside.url()))
        nameless = await refusal(downloader(resolver=unknown).download(inside.url()))
        assert private == closed == nameless == UNREACHABLE

    run(test())


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "１２７.0.0.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "loc%61lhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[fe80::1%25lo]",
        "[fe80::1%lo]",
        "[::127.0.0.1]",
    ],
)
def test_this_machine_cannot_be_reached_by_any_notation(host: str) -> None:
    """With the rules and the resolver of production."""

    async def test() -> None:
        async with serving() as server:
            assert await refusal(download_image(server.url(host=host)))
            assert server.heads == []

    run(test())


PRIVATE_NETWORKS = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
    "192.0.2.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
    "::/96 ::ffff:0:0:0/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7 "
    "fe80::/10 fec0::/10 ff00::/8"
)


@given(st.sampled_from(PRIVATE_NETWORKS.split()).flatmap(lambda network: st.ip_addresses(network=network)))
def test_no_address_of_a_private_network_is_public(address: Address) -> None:
    assert not is_public(address)


@given(st.ip_addresses())
@example(ipaddress.ip_address("192.88.99.1"))
@example(ipaddress.ip_address("2001:1::1"))
def test_public_addresses_are_global_for_python_too(address: Address) -> None:
    if is_public(address) and address not in ipaddress.ip_network("64:ff9b::/96"):
        inner = getattr(address, "ipv4_mapped", None) or address
        assert inner.is_global
        assert not inner.is_multicast
        assert not inner.is_reserved


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::"]))
def test_an_ipv4_address_inside_an_ipv6_address_decides(inner: Address, prefix: str) -> None:
    assert is_public(ipaddress.IPv6Address(int(ipaddress.ip_address(prefix)) + int(inner))) == is_public(inner)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1", "2a00::1"])
def test_the_public_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "",
        "picture.png",
        "//pictures.test/",
        "file:///etc/passwd",
        "ftp://pictures.test/",
        "gopher://pictures.test/",
        "http://",
        "http:pictures.test",
        "http://user@pictures.test/",
        "http://user:secret@pictures.test/",
        "http://@pictures.test/",
        "http://pictures.test:0/",
        "http://pictures.test:65536/",
        "http://pictures.test:x/",
        "http://[::1/",
        "http://pictures.test/\ud800",
        "http://pictures.test/" + "a" * 9000,
        "http://" + "٠" * 60_000 + "/",
    ],
    ids=lambda url: ascii(url[:40]),
)
def test_an_invalid_url_is_refused(url: str) -> None:
    async def nothing(host: str, port: int) -> list[str]:
        raise AssertionError(host)

    message = run(refusal(downloader(resolver=nothing).download(url)))
    assert "valid http(s) URL" in message
    assert "secret" not in message


@given(
    st.text(st.characters(), max_size=30),
    st.sampled_from(["http://", "https://", "http://pictures.test", "http://[", " http:", "\0http://\t@", ""]),
)
@example("", " http://pictures.test/")
@example("pictures.test/", "h\nttp://")
@example("", "http://[]/")
@example("", "http://pictures.test\\@other.test/")
def test_no_url_raises_another_exception(text: str, start: str) -> None:
    async def nobody(host: str, port: int) -> list[str]:
        raise OSError

    assert run(refusal(downloader(resolver=nobody).download(start + text)))


# Replies


def test_an_image_may_have_the_maximum_size_and_no_byte_more() -> None:
    assert run(fetched(reply(), max_bytes=len(PNG)))
    chunked = b"".join(f"1\r\n{chr(byte)}\r\n".encode("latin-1") for byte in PNG) + b"0\r\n\r\n"
    for answer in (
        reply(),
        reply(length=False),
        reply(chunked, length=False, Transfer_Encoding="chunked"),
        reply(b"", Content_Length="99999999999"),
    ):
        assert "larger" in refused(answer, max_bytes=len(PNG) - 1)


def test_an_endless_image_is_refused() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1_000_000
            yield bytes(1_000_000)

    async def test() -> None:
        async with serving(image=reply(length=False)) as server:
            server.pieces = endless
            message = await refusal(downloader().download(server.url("/image")))
            assert "larger than 10 MB" in message

    run(test())
    assert sent < 30_000_000


@pytest.mark.parametrize("start", ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"])
def test_a_slow_server_is_abandoned_after_the_time_limit(start: str) -> None:
    """Each byte comes in time for a limit between two bytes, but the whole image is too slow."""

    async def drip() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.02)
            yield b"X"

    async def test() -> None:
        async with serving(image=start.encode()) as server:
            server.pieces = drip
            assert "within 0.3 seconds" in await refusal(downloader(timeout=0.3).download(server.url("/image")))

    run(test())


def test_the_time_limit_includes_redirects_and_dns() -> None:
    async def slow(host: str, port: int) -> list[str]:
        await asyncio.sleep(0.15)
        return [PUBLIC]

    message = refused(redirect("/image"), resolver=slow, timeout=0.3)
    assert "within 0.3 seconds" in message


@pytest.mark.parametrize(
    "body", [b"", b"<html>internal secret</html>", b"%PDF-1.7", b"RIFF\0\0\0\0WAVEfmt ", b"BM" + PNG]
)
def test_bytes_of_no_image_are_refused_whatever_the_content_type_is(body: bytes) -> None:
    message = refused(reply(body, Content_Type="image/png"))
    assert "not lead to an image" in message
    assert "secret" not in message


@pytest.mark.parametrize("status", ["404 Not Found", "500 Broken", "204 No Content", "206 Partial", "304 Not Modified"])
def test_a_status_other_than_200_is_refused(status: str) -> None:
    assert f"status {status[:3]}" in refused(reply(b"" if status[:3] in {"204", "304"} else PNG, status))


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "GZIP"])
def test_a_compressed_image_is_refused(encoding: str) -> None:
    assert "compressed" in refused(reply(gzip.compress(PNG), Content_Encoding=encoding))
    assert run(fetched(reply(Content_Encoding="Identity")))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6 secret\r\n",
        b"HTTP/1.1 200 OK\r\nbroken secret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"secret" * 50_000,
        reply(Content_Length="999"),
        reply(Content_Length="-1"),
        reply(length=False, Transfer_Encoding="gzip, chunked"),
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: secret\r\n\r\n",
    ],
    ids=["nothing", "ssh", "broken header", "endless header", "cut off", "negative length", "gzip", "upgrade"],
)
def test_an_incomplete_http_response_is_refused(answer: bytes) -> None:
    assert "secret" not in refused(answer)


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for pictures.test, with its key."""
    x509 = pytest.importorskip("cryptography.x509")
    ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
    hashes = pytest.importorskip("cryptography.hazmat.primitives.hashes")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pictures.test")])
    today = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), today - day, today + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("pictures.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


def test_https_needs_a_certificate_of_the_name_in_the_url(certificate: Path) -> None:
    async def test() -> None:
        server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server_side.load_cert_chain(certificate)
        trusting = partial(downloader, tls_context=lambda: ssl.create_default_context(cafile=certificate))
        async with serving(tls=server_side) as server:
            url = server.url(scheme="https")
            assert (await trusting().download(url)).mime_type == "image/png"
            assert len(server.heads) == 1

            assert await refusal(downloader().download(url)) == UNREACHABLE
            other = server.url(host="other.test", scheme="https")
            assert await refusal(trusting(resolver=names(other_test=[PUBLIC])).download(other)) == UNREACHABLE
            assert len(server.heads) == 1

    run(test())


# Data URIs


@pytest.mark.parametrize(
    ("head", "mime_type"),
    [
        *((f"data:{mime_type};base64", mime_type) for mime_type in IMAGES),
        ("data:image/jpg;base64", "image/jpeg"),
        ("DATA:Image/PNG;BASE64", "image/png"),
        ("data:image/gif;charset=utf-8;name=a.gif;base64", "image/gif"),
    ],
)
def test_data_uris_are_normalised(head: str, mime_type: str) -> None:
    data = base64.b64encode(PNG).decode()
    assert parse_data_uri(f"{head},{data}") == Image(f"data:{mime_type};base64,{data}")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "data:",
        "data:,",
        "data:;base64,AAAA",
        "data:image/png,AAAA",
        "data:image/png;base64",
        "data:image/png;base64;charset=utf-8,AAAA",
        "data:image/svg+xml;base64,AAAA",
        "data:image/bmp;base64,AAAA",
        "data:text/html;base64,AAAA",
        "data:data:image/png;base64,AAAA",
        "image/png;base64,AAAA",
        "data:image/png;" + "a=b;" * 5_000_000 + "base64,AAAA",
        "data:image/png" + ";" * (256 - 20) + "base64/AAAA",
    ],
    ids=lambda uri: uri[:45],
)
def test_an_invalid_data_uri_is_refused(uri: str) -> None:
    with pytest.raises(ImageError, match="not a base64 data URI of a supported"):
        parse_data_uri(uri)


@given(st.binary(min_size=1, max_size=50))
def test_valid_base64_is_accepted(data: bytes) -> None:
    encoded = base64.b64encode(data).decode()
    assert base64.b64decode(parse_data_uri(f"data:image/png;base64,{encoded}").base64) == data


@given(st.text("AZaz09+/=-_ \n%é٠,", max_size=12))
@example("")
@example("AAA")
@example("====")
@example("A===")
@example("AA=A")
@example("AA==AAAA")
@example("=AAA")
def test_only_valid_base64_is_accepted(text: str) -> None:
    """Reference: the grammar of RFC 4648."""
    character = "[A-Za-z0-9+/]"
    valid = re.fullmatch(f"({character}{{4}})*({character}{{4}}|{character}{{3}}=|{character}{{2}}==)", text)
    if valid:
        assert parse_data_uri(f"data:image/png;base64,{text}").base64 == text
    else:
        with pytest.raises(ImageError, match="not valid base64"):
            parse_data_uri(f"data:image/png;base64,{text}")
