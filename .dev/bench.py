"""`make bench`: the latency and throughput that the plugin adds between the LLM and the client.

Each round reads the same reply of the same upstream LLM in three ways: directly from the upstream, from the Cat's own
stream (`/agents/default/message`) and through the plugin. It prints medians with quartiles, and ratios; only the ratios
are meaningful on another machine.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from host import KEY, Cat, make_cat
from upstream import Upstream, script

ALLOWED_DELAY_MS = 3.0
"""How much later the plugin's first token may come than that of the Cat's own stream."""


@dataclass(frozen=True)
class Way:
    """One way to read the reply. `mark`: bytes that each chunk with content contains once."""

    name: str
    url: str
    key: str
    body: dict[str, object]
    mark: bytes


@dataclass(frozen=True)
class Reading:
    """Seconds from the request to the first content, and chunks per second from then on."""

    first: float
    rate: float


def ways(cat: Cat, upstream: Upstream, chunks: int) -> list[Way]:
    text = script(say=[" word"], repeat=chunks)
    messages = [{"role": "user", "content": text}]
    task = {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}], "stream": True}
    return [
        Way(
            "upstream",
            f"{upstream.base_url}/chat/completions",
            "key",
            {"model": "test-model", "messages": messages, "stream": True},
            b'"content":" word"',
        ),
        Way("host", f"{cat.url}/agents/default/message", KEY, task, b'"delta": " word"'),
        Way(
            "plugin",
            f"{cat.base_url}/chat/completions",
            KEY,
            {"model": "cheshire-cat", "messages": messages, "stream": True},
            b'"content":" word"',
        ),
    ]


async def read(way: Way, chunks: int) -> Reading:
    """Read one stream over a new connection, with as little work in this process as possible."""
    host, _, path = way.url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    body = json.dumps(way.body).encode()
    head = (
        f"POST /{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {way.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(name, int(port))
    started = time.perf_counter()
    writer.write(head.encode() + body)
    received = b""
    while way.mark not in received:
        piece = await reader.read(65536)
        if not piece:
            raise RuntimeError(f"{way.name} sent no content: {received[:500]!r}")
        received += piece
    first = time.perf_counter()
    pieces = [received]
    while piece := await reader.read(65536):
        pieces.append(piece)
    ended = time.perf_counter()
    writer.close()
    counted = b"".join(pieces).replace(b" ", b"").count(way.mark.replace(b" ", b""))
    # Chunked transfer encoding may split a few marks, but not more than these.
    if counted < chunks * 0.99:
        raise RuntimeError(f"{way.name} sent {counted} of {chunks} chunks")
    return Reading(first - started, chunks / (ended - first))


async def rounds(all_ways: list[Way], count: int, chunks: int, at_once: int) -> dict[str, list[Reading]]:
    readings: dict[str, list[Reading]] = {way.name: [] for way in all_ways}
    for number in range(count + 1):
        for way in all_ways:
            started = time.perf_counter()
            together = await asyncio.gather(*(read(way, chunks) for _ in range(at_once)))
            elapsed = time.perf_counter() - started
            # The first round is a warm-up.
            if number:
                first = statistics.median(reading.first for reading in together)
                rate = together[0].rate if at_once == 1 else at_once * chunks / elapsed
                readings[way.name].append(Reading(first, rate))
    return readings


def spread(values: list[float], unit: str) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:9.2f} {unit} ({low:.2f} to {high:.2f})"


def report(title: str, readings: dict[str, list[Reading]]) -> None:
    print(f"\n{title}")
    firsts = {name: [reading.first * 1000 for reading in some] for name, some in readings.items()}
    rates = {name: [reading.rate for reading in some] for name, some in readings.items()}
    for name in readings:
        print(f"  {name:9} first token {spread(firsts[name], 'ms')}   {spread(rates[name], 'chunks/s')}")
    for other in ("host", "upstream"):
        later = statistics.median(firsts["plugin"]) - statistics.median(firsts[other])
        first = statistics.median(firsts["plugin"]) / statistics.median(firsts[other])
        rate = statistics.median(rates["plugin"]) / statistics.median(rates[other])
        print(f"  plugin : {other:9} first token {later:+.2f} ms (x {first:.2f}), chunks per second x {rate:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--chunks", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=20)
    options = parser.parse_args()
    upstream = Upstream.start(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        cat = make_cat(Path(folder) / "home").start()
        try:
            cat.use_llm(upstream.base_url)
            cat.put_settings({"rate_limit_per_minute": 0, "max_tokens": 32000}).raise_for_status()
            print(f"Allowed: first token {ALLOWED_DELAY_MS:+.0f} ms after the host's, chunks per second x 1.")
            alone = ways(cat, upstream, options.chunks)
            report("One stream", asyncio.run(rounds(alone, options.rounds, options.chunks, 1)))
            few = max(3, options.rounds // 6)
            some = ways(cat, upstream, options.chunks // 4)
            title = f"{options.at_once} streams at once (chunks of all together)"
            report(title, asyncio.run(rounds(some, few, options.chunks // 4, options.at_once)))
        finally:
            cat.stop()
            upstream.stop()


if __name__ == "__main__":
    main()
