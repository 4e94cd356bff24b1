"""Whether a Cat that others can reach still has the API key that it came with."""

import asyncio
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from ..hosts.port import Host

WELL_KNOWN = frozenset({"meow"})
"""The API key of a fresh Cheshire Cat 2, and of the examples for Cheshire Cat 1.9."""

LISTENING = "0A"
"""The state of a listening socket in Linux' /proc/net/tcp."""

CHECK_INTERVAL = 0.5
"""Seconds between two looks for the socket of the server, which is opened after the plugin was loaded."""

CHECKS = 240


async def key_warning(host: Host) -> str | None:
    """What is wrong with the Cat's own API key, as a sentence for its admin; None if nothing is.

    A Cat that only this machine reaches may have any key. In a container a Cat nearly always listens on all addresses:
    which of its ports are published is not visible from within.
    """
    addresses = await _look_up_addresses()
    return _warning(host, addresses)


async def log_key_warning(host: Host) -> None:
    """Log the warning, if there is one, once the server listens."""
    for _ in range(CHECKS):
        addresses = await _look_up_addresses()
        if addresses or addresses is None:
            if warning := _warning(host, addresses):
                host.log_warning(f"OpenAI API: {warning}")
            return
        await asyncio.sleep(CHECK_INTERVAL)


def _warning(host: Host, addresses: "set[IPv4Address | IPv6Address] | None") -> str | None:
    if addresses is not None and all(address.is_loopback for address in addresses):
        return None
    key = host.api_key()
    if key is None and host.is_open_without_key:
        return "this Cat has no API key, and it listens to other machines: everybody may do everything in it"
    if key in WELL_KNOWN:
        return f'this Cat has the API key "{key}", which everybody knows, and it listens to other machines'
    return None


async def _look_up_addresses() -> "set[IPv4Address | IPv6Address] | None":
    """In a thread of its own, which ends with it: those that `asyncio.to_thread` starts stay."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="openai-api")
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, _listening_addresses)
    finally:
        executor.shutdown(wait=False)


def _listening_addresses() -> "set[IPv4Address | IPv6Address] | None":
    """The addresses on which this process listens; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    inodes = set(_inodes_of_sockets())
    addresses = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (Path("/proc/self/net") / table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTENING and fields[9] in inodes:
                addresses.add(_address(fields[1].partition(":")[0]))
    return addresses


def _inodes_of_sockets() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            name = os.readlink(descriptor)
        except OSError:  # closed meanwhile
            continue
        if name.startswith("socket:["):
            yield name[len("socket:[") : -1]


def _address(digits: str) -> IPv4Address | IPv6Address:
    """Of words of four bytes, each in the order of this machine."""
    data = bytes.fromhex(digits)
    words = [int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data), 4)]
    address = ip_address(b"".join(word.to_bytes(4, "big") for word in words))
    return getattr(address, "ipv4_mapped", None) or address
