"""`make soak`: mixed traffic with random faults, for minutes or for a night, against a Cat of its own.

Each request has the upstream LLM say a token that no other request has, and knows what it must get. Replies with
somebody else's token, with less than was said or with something twice are counted and make the exit code 1. So do
errors that neither the request nor what was done to the Cat at the time explains, and whatever grows in the Cat.

Growth is measured from after a warm-up, in which all that is done to the Cat has been done, to the end, with the
Cat idle both times. Memory is counted after Python's garbage and what the C library keeps of it are gone. Two
things are not counted: what users said, which Cheshire Cat 1.9 remembers for good and which is deleted before,
and the event loop's own threads, which grow to a fixed number.
"""

import argparse
import asyncio
import json
import math
import os
import random
import re
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import httpx
from host import KEY, ROOT, WHICH, Cat, link_entries, make_cat
from upstream import Upstream, complaint_about, script

Json = dict[str, Any]
T = TypeVar("T")

WINDOWS = 3
"""Of each user: so many requests at once."""
LONGEST_CHAT = 16
"""Messages."""
WARM_UP_SECONDS = 300
"""At most; a short soak has a shorter one."""
IDLE_SECONDS = 12
"""After which the servers have closed the connections that nobody uses, and AnyIO ends its threads."""
MOST_GROWTH = 0.05
LOOPS_OWN_THREADS = {"asyncio", "uvloop"}
"""Those of its default executor, at most 32 and at most 4 more than there are processors."""

ALLOCATOR = {"MALLOC_ARENA_MAX": "1"} if WHICH == "1.9" else {}
"""As compose.yml has it: glibc keeps what threads no longer need, for each of many apart."""

TOKEN = re.compile(r"u(\d+)c(\d+)n\d+z")
"""The user's number, the chat's, and the request's own."""
WORDS = ["tea", "time", "hat", "rabbit", "rose", "queen", "clock", "grin", "door", "key", "snail"]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
WORD = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": WORD}}]
FORM = {"type": "json_schema", "json_schema": {"name": "word", "schema": {**WORD, "additionalProperties": False}}}
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
KINDS = {
    "chat": 30,
    **dict.fromkeys(["functions", "own tools", "structured", "image", "message", "stop", "max_tokens"], 4),
    **dict.fromkeys(["sampling", "leaver", "LLM fault"], 4),
    **dict.fromkeys(["in background", "invalid", "slow sender"], 2),
    "slow reader": 1,
}
"""Of requests, and how often they come."""
LLM_FAULTS: list[Json] = [{"fail_status": 400}, {"fail_status": 401}, {"fail_status": 500}, {"rubbish": True}]
LLM_FAULTS += [{"break_after": 0}, {"break_after": 3}, {"error_after": 2}]
INVALID: list[tuple[str, Json]] = [
    ("missing_required_parameter", {"messages": [{"content": "no role"}]}),
    ("invalid_value", {"temperature": 9}),
    ("invalid_value", {"messages": []}),
    ("unsupported_parameter", {"n": 2}),
    ("model_not_found", {"model": "gpt-0"}),
]
SPELLS: dict[str, tuple[set[str], Json]] = {
    "short time-out": ({"timeout"}, {"request_timeout": 1}),
    "few places": ({"overloaded"}, {"max_concurrent_requests": 5}),
    "rate limit": ({"rate_limit_exceeded"}, {"rate_limit_per_minute": 5}),
    "history": (set(), {"history": "cat"}),
    # Cat 2 drops its connections to the LLM when that is saved.
    "LLM saved": ({"upstream_error"} if WHICH == "2" else set(), {}),
    "plugin off": ({"status 404", "upstream_error"}, {}),
}
"""Times in which the Cat refuses requests: with which errors, and what setting makes it."""
DEEDS = ["save settings"] * 5 + ["short time-out", "few places", "rate limit", "history"] * 2
DEEDS += ["LLM saved", "plugin off"]
WARM_UP = ["save settings", *SPELLS, *["plugin off"] * 9]
"""The first times that the plugin is off and on, memory is found for two of it."""


@dataclass(frozen=True)
class Asked:
    """A request, and what it must get: this text, a call with these arguments, or this error.

    `cut`: a beginning of the text is enough. `leaves`: seconds after which the client does.
    """

    kind: str
    token: str
    body: Json = field(default_factory=dict)
    path: str = "/custom/v1/chat/completions"
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    arguments: str = ""
    error: str = ""
    cut: bool = False
    leaves: float | None = None
    reads_slowly: bool = False
    sends_slowly: bool = False


@dataclass
class Got:
    status: int = 0
    text: str = ""
    arguments: str = ""
    error: str = ""
    ended: bool = False
    left: bool = False
    request_id: str = ""

    def read(self, raw: str, *, is_stream: bool) -> None:
        events = re.findall("^data: (.*)$", raw, re.MULTILINE) if is_stream else [raw]
        self.ended = not is_stream or events[-1:] == ["[DONE]"]
        for event in events:
            # Of the last one that a client got who left there may be a part.
            with suppress(ValueError):
                self._take(json.loads(event), "delta" if is_stream else "message")
        if self.status >= 400 and not self.error:
            self.error = f"status {self.status}"

    def _take(self, reply: Json, part: str) -> None:
        if isinstance(reply.get("error"), dict):
            self.error = reply["error"]["code"]
        self.text += reply.get("text", "")
        for choice in reply.get("choices", []):
            self.text += choice[part].get("content") or ""
            for call in choice[part].get("tool_calls") or []:
                self.arguments += call["function"]["arguments"]


def verdict(asked: Asked, got: Got, excused: set[str]) -> str:
    """In one word or two; in capitals what must not be."""
    heard, wanted = got.text + got.arguments, asked.text + asked.arguments
    if {found.group() for found in TOKEN.finditer(heard)} - {asked.token}:
        return "MIXED"
    if not (asked.text.startswith(got.text) and asked.arguments.startswith(got.arguments)):
        return "DUPLICATED" if heard.count(asked.token) > wanted.count(asked.token) else "WRONG"
    if got.left:
        return "left"
    if got.error:
        return got.error if got.error in {asked.error, *excused} else f"UNEXPECTED {got.error}"
    if asked.error:
        return f"UNEXPECTED reply, no {asked.error}"
    return "ok" if got.ended and (heard == wanted or (asked.cut and heard)) else "LOST"


@dataclass
class Numbers:
    """Of the Cat. `mib`: as it is, and tidied up."""

    mib: tuple[int, int]
    counts: dict[str, int]

    def __str__(self) -> str:
        return f"{self.mib[0]} MiB, tidied {self.mib[1]} MiB, {listed(self.counts)}"

    def growth(self, before: "Numbers") -> float:
        return self.mib[1] / before.mib[1] - 1

    def more_than(self, before: "Numbers") -> dict[str, str]:
        """Which counts have grown, and how."""
        return {
            name: f"{before.counts.get(name, 0)} {name} have become {count}"
            for name, count in self.counts.items()
            if count > before.counts.get(name, 0) and name not in ("texts remembered", "requests")
        }


class Soak:
    """The traffic's two ends, what is done to the Cat between them, and what came of it."""

    def __init__(self, cat: Cat, upstream: Upstream, seed: str) -> None:
        self.cat, self.upstream, self.seed = cat, upstream, seed
        self.first = [*WARM_UP]
        self.rng = random.Random(seed)
        self.ends = 0.0
        self.serials = count()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.faults: Counter[str] = Counter()
        self.details: list[str] = []
        self.remembered = self.cats_failures = 0
        self.settings: Json = {"rate_limit_per_minute": 0, "max_concurrent_requests": 0, "max_tokens": 0}
        self.spell_ended = dict.fromkeys(SPELLS, 0.0)
        limits = httpx.Limits(max_connections=None, keepalive_expiry=2)
        little_room = httpx.AsyncHTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
        self.client = httpx.AsyncClient(base_url=cat.url, limits=limits, timeout=60)
        self.slow_client = httpx.AsyncClient(base_url=cat.url, transport=little_room, timeout=60)
        self.reports = httpx.AsyncClient(base_url=upstream.base_url.removesuffix("v1"), timeout=60)

    async def mischief(self) -> None:
        while self.first or time.monotonic() < self.ends:
            pause = self.rng.uniform(1, 8) if not self.first else 1
            deed = self.first.pop() if self.first else self.rng.choice(DEEDS)
            if deed in SPELLS:
                self.spell_ended[deed] = math.inf
                await self._cast(deed)
                self.spell_ended[deed] = time.monotonic()
            else:
                for name in ("enable_streaming", "debug_mode", "metrics", "skip_background_tasks"):
                    self.settings[name] = self.rng.random() < 0.5
                self.settings["stream_after_hooks"] = self.rng.choice(["auto", "always", "never"])
                await self.put()
            await asyncio.sleep(pause)

    async def _cast(self, spell: str) -> None:
        if spell == "LLM saved":
            await self.insist(lambda: self.cat.use_llm(self.upstream.base_url))
        elif spell == "plugin off":
            await self.insist(lambda: self._switch(on=False))
            await asyncio.sleep(self.rng.uniform(0, 1))
            await self.insist(lambda: self._switch(on=True))
        else:
            await self.put(**SPELLS[spell][1])
            await asyncio.sleep(self.rng.uniform(1, 4))
            await self.put()

    def spells_since(self, moment: float) -> list[str]:
        return [spell for spell, ended in self.spell_ended.items() if ended >= moment]

    def _switch(self, *, on: bool) -> None:
        if self.cat.http.get("/custom/health").is_success != on:
            self.cat.toggle(self.cat.folder or "")

    async def put(self, **values: Any) -> None:
        await self.insist(lambda: self.cat.put_settings({**self.settings, **values}).raise_for_status())

    async def insist(self, ask: Callable[[], T]) -> T:
        """The Cat itself fails at times, Cat 2 where others write into its SQLite database meanwhile."""
        for _ in range(20):
            with suppress(httpx.HTTPError):
                return await asyncio.to_thread(ask)
            self.cats_failures += 1
            await asyncio.sleep(0.5)
        raise RuntimeError("the Cat's own routes fail")

    async def ask(self, asked: Asked) -> Got:
        began = time.monotonic()
        got = Got()
        try:
            async with asyncio.timeout(asked.leaves):
                await self._exchange(asked, got)
        except TimeoutError:
            got.left = True
        except httpx.HTTPError as error:
            got.error = type(error).__name__
        spells = self.spells_since(began)
        outcome = verdict(asked, got, set().union(*(SPELLS[spell][0] for spell in spells)))
        self.outcomes[asked.kind, outcome] += 1
        if outcome[:2].isupper():
            seen = f"wanted …{asked.text[-200:]!r} {asked.error}, {replace(got, text=got.text[-200:])}"
            self.details.append(f"{time.strftime('%X')} {asked.kind}, {asked.token}: {outcome}, {spells}, {seen}")
        if outcome == "ok":
            self.remembered += asked.body.get("store") is not False
            await self._check_upstream(asked.token, asked.body)
        if outcome in ("overloaded", "rate_limit_exceeded"):
            await asyncio.sleep(1)
        return got

    async def _exchange(self, asked: Asked, got: Got) -> None:
        content = json.dumps(asked.body).encode()
        headers = {**HEADERS, "Content-Length": str(len(content)), **asked.headers}
        client = self.slow_client if asked.reads_slowly else self.client
        sent = dribbled(content) if asked.sends_slowly else content
        raw, is_stream = bytearray(), False
        try:
            async with client.stream("POST", asked.path, content=sent, headers=headers) as response:
                got.status, got.request_id = response.status_code, response.headers.get("x-request-id", "")
                is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
                async for piece in response.aiter_raw():
                    raw += piece
                    await asyncio.sleep(0.01 if asked.reads_slowly else 0)
        finally:
            got.read(raw.decode("utf-8", "replace"), is_stream=is_stream)

    async def _check_upstream(self, token: str, body: Json) -> None:
        """What reached the LLM is this person's, this chat's where the client sends that, and in order."""
        records = (await self.reports.get("/_test/requests", params={"tag": token})).raise_for_status().json()
        was_kept = "messages" not in body or "history" in self.spells_since(time.monotonic() - 60)
        for sent in (record["body"] for record in records):
            said = [message for message in sent["messages"] if message["role"] != "system"]
            if {user for user, _ in TOKEN.findall(json.dumps(sent))} != set(TOKEN.findall(token)[0][:1]):
                self.faults["another person's words reached the LLM"] += 1
            if not was_kept and len(set(TOKEN.findall(json.dumps(said)))) > 1:
                self.faults["another chat's words reached the LLM"] += 1
            if any(sent.get(name) != body[name] for name in ("seed", "temperature") if name in body):
                self.faults["another request's sampling reached the LLM"] += 1
            if complaint := complaint_about(sent):
                self.faults["OpenAI's LLM would say: " + re.sub(r"call_\w+", "…", complaint)] += 1

    async def numbers(self) -> Numbers:
        untidy = self.cat.memory()
        await self._onlooker("tidy")
        mib = untidy // 2**20, self.cat.memory() // 2**20
        counts = {"texts remembered": self.remembered, "requests": self.outcomes.total()}
        counts["LLM requests"] = await asyncio.to_thread(self.upstream.open_requests)
        # The test plugin tells names, and under load some task has none.
        with suppress(httpx.HTTPStatusError):
            counts["tasks"] = len(await asyncio.to_thread(self.cat.tasks))
        return Numbers(mib, counts)

    async def numbers_of_idle(self) -> Numbers:
        """With all threads, by name, and sockets, by who is at the other end."""
        if self.remembered and WHICH != "2":
            await self.insist(lambda: self.cat.http.delete("/memory/collections/episodic").raise_for_status())
        # An LLM that was just saved has no pool of connections yet, and what was left in the old one is closed.
        await self.insist(lambda: self.cat.use_llm(self.upstream.base_url))
        await asyncio.sleep(IDLE_SECONDS)
        numbers = await self.numbers()
        threads = (await self._onlooker("threads")).json()
        own = {name: count for name, count in threads.items() if name not in LOOPS_OWN_THREADS}
        others = self.cat.threads() - sum(threads.values())
        numbers.counts |= {f"threads {name}": count for name, count in own.items()} | {"threads of no name": others}
        numbers.counts |= self._sockets()
        loops = sum(threads.values()) - sum(own.values())
        if loops > min(32, (os.cpu_count() or 1) + 4):
            self.faults[f"the event loop's {loops} own threads"] += 1
        return numbers

    async def _onlooker(self, path: str) -> httpx.Response:
        ask = self.cat.http.get
        return await self.insist(lambda: ask(f"/onlooker/{path}").raise_for_status())

    def _sockets(self) -> Counter[str]:
        """As Linux tells: addresses are in hexadecimal, and state 0A is one that listens."""
        process = Path("/proc") / str(self.cat.pid)
        llms = httpx.URL(self.upstream.base_url).port
        peers: dict[str, str] = {}
        for table in ("tcp", "tcp6"):
            for line in (process / "net" / table).read_text("ascii").splitlines()[1:]:
                _, local, remote, state, *_, inode = line.split()[:10]
                here, there = (int(address.rpartition(":")[2], 16) for address in (local, remote))
                peers[f"socket:[{inode}]"] = (
                    "sockets that listen" if state == "0A"
                    else "sockets to clients" if here == self.cat.port
                    else "sockets to the LLM" if there == llms
                    else "sockets to others"
                )  # fmt: skip
        return Counter(peers.get(name, "sockets within") for name in self.cat.sockets())


async def dribbled(content: bytes) -> AsyncIterator[bytes]:
    step = len(content) // 8 + 1
    for at in range(0, len(content), step):
        yield content[at : at + step]
        await asyncio.sleep(0.1)


class Talk:
    """What one end user does in one window: chat after chat, with requests of all kinds."""

    def __init__(self, soak: Soak, user: int, window: int) -> None:
        self.soak, self.user, self.chat = soak, user, window
        self.rng = random.Random(f"{soak.seed} {user} {window}")
        self.messages: list[Json] = []

    async def go_on(self) -> None:
        while time.monotonic() < self.soak.ends:
            kind = self.rng.choices([*KINDS], [*KINDS.values()])[0]
            if len(self.messages) > self.rng.uniform(0, LONGEST_CHAT) or kind == "in background":
                self.chat, self.messages = self.chat + WINDOWS, []
            asked = Asked(kind, f"u{self.user}c{self.chat}n{next(self.soak.serials)}z")
            words = [f" {self.rng.choice(WORDS)}" for _ in range(self.rng.randint(0, 30))]
            pieces = [asked.token, *words, f" {asked.token}"]
            await self._turn(replace(asked, text="".join(pieces)), pieces)
            await asyncio.sleep(self.rng.uniform(0, 0.3))

    async def _turn(self, asked: Asked, pieces: list[str]) -> None:
        if asked.kind == "message":
            body: Json = {"text": script(tag=asked.token, say=pieces), "user_id": f"user {self.user}"}
            await self.soak.ask(replace(asked, path="/custom/message", body=body))
        elif asked.kind == "invalid":
            error, wrong = self.rng.choice(INVALID)
            body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}], **wrong}
            await self.soak.ask(replace(asked, text="", error=error, body=body))
        else:
            play, fields, changes = self._variations(asked.token, pieces).get(asked.kind, ({}, {}, {}))
            play = play or {"say": pieces, "delay": self.rng.choice([0, 0, 0.01, 0.03])}
            text = {"in background": "### Task:\nGenerate a title. ", "own tools": "[procedures] ring the bell"}
            content = script(text.get(asked.kind, "") + self.rng.choice(WORDS), tag=asked.token, **play)
            parts = [{"type": "text", "text": content}, PICTURE] if asked.kind == "image" else content
            question = {"role": "user", "content": parts}
            got = await self._ask(replace(asked, **changes), [question], **fields)
            if asked.kind == "functions" and got.arguments and not got.error and self.rng.random() < 0.9:
                await self._give_result(asked, question, got.arguments)

    def _variations(self, token: str, pieces: list[str]) -> dict[str, tuple[Json, Json, Json]]:
        """By kind: what the LLM does instead of saying the pieces, the request's fields, what else changes."""
        rng = self.rng
        form, line = json.dumps({"word": token}), f"{token} {' '.join(WORDS * 4)}\n"
        looks_up = [{"id": f"call_{token}", "name": "look_up", "arguments": form}]
        asks = {"turns": [{"tool_calls": looks_up}, {"say": pieces}]}
        stopped = {"say": [token, " tea [st", "op] ", token]}
        waits = {"say": pieces, "delay": 0.05, **rng.choice([{}, {"hang": True}, {"first_delay": 0.5}])}
        settings = {"seed": next(self.soak.serials), "temperature": rng.randint(0, 20) / 10, "top_p": 0.5}
        variations: dict[str, tuple[Json, Json, Json]] = {
            "functions": (asks, {"tools": TOOLS}, {"text": "", "arguments": form}),
            "structured": ({"say": [form[:8], form[8:]]}, {"response_format": FORM}, {"text": form}),
            "stop": (stopped, {"stop": ["[stop]", "never"]}, {"text": f"{token} tea "}),
            "max_tokens": ({}, {"max_tokens": 10}, {"cut": True}),
            "sampling": ({}, settings, {}),
            "leaver": (waits, {}, {"leaves": rng.uniform(0, 1.5)}),
            "LLM fault": ({"say": pieces, **rng.choice(LLM_FAULTS)}, {}, {"error": "upstream_error"}),
            "slow sender": ({}, {}, {"sends_slowly": True}),
            "slow reader": ({"say": line, "repeat": 1000}, {}, {"text": line * 1000, "reads_slowly": True}),
        }
        if rng.random() < 0.2:
            variations["structured"] = ({}, {"response_format": FORM}, {"error": "invalid_model_output"})
        if WHICH == "2":
            # An agent's tools, one of which asks another agent.
            hatter = {"question": script(tag=token, say=["mine: ", token])}
            call = rng.choice([{"name": "clock"}, {"name": "ask_the_hatter", "arguments": hatter}])
            turns = [{"tool_calls": [call]}, {"say": pieces}]
            variations["own tools"] = ({"turns": turns}, {"model": "cheshire-cat:alice"}, {})
        else:
            # The LLM says which tool it chooses, and here says that once more when the tool has run.
            choice = json.dumps({"action": "bell", "action_input": token})
            variations["own tools"] = ({"say": choice}, {}, {"text": choice})
        return variations

    async def _give_result(self, asked: Asked, question: Json, arguments: str) -> None:
        function = {"name": "look_up", "arguments": arguments}
        call = {"id": f"call_{asked.token}", "type": "function", "function": function}
        called = {"role": "assistant", "content": None, "tool_calls": [call]}
        result = {"role": "tool", "tool_call_id": call["id"], "content": f"found {asked.token}"}
        await self._ask(replace(asked, kind="a function's result"), [question, called, result], tools=TOOLS)

    async def _ask(self, asked: Asked, new: list[Json], **fields: Any) -> Got:
        """What is answered is part of the chat from then on."""
        body: Json = {"model": "cheshire-cat", "messages": [*self.messages, *new]}
        headers = {}
        if self.rng.random() < 0.5:
            body["user"] = f"user {self.user}"
        else:
            headers["X-User-Id"] = f"user {self.user}"
        if self.rng.random() < (0.5 if WHICH == "2" else 0.98):
            body["store"] = False
        body |= {"stream": self.rng.random() < 0.6, **fields}
        got = await self.soak.ask(replace(asked, body=body, headers=headers))
        if got.ended and got.text and not got.error and asked.kind not in ("in background", "slow reader"):
            self.messages += [*new, {"role": "assistant", "content": got.text}]
        return got


async def watch(soak: Soak) -> None:
    """Print the numbers each minute, until the end."""
    began, before, minutes = time.monotonic(), soak.outcomes.total(), 0
    while (now := time.monotonic()) < soak.ends:
        await asyncio.sleep(min(10, soak.ends - now))
        await soak.reports.delete("/_test/requests")
        if time.monotonic() - began > 60 * (minutes + 1) - 1:
            minutes += 1
            print(f"minute {minutes}: {await soak.numbers()}", flush=True)
    print(f"{(soak.outcomes.total() - before) / (time.monotonic() - began):.1f} requests/s", flush=True)


async def traffic(soak: Soak, talks: list[Talk], seconds: float) -> tuple[Numbers, Json]:
    """Numbers of the Cat, and its objects, when it is idle again."""
    soak.ends = time.monotonic() + seconds
    await soak.put()
    async with asyncio.TaskGroup() as group:
        for talk in talks:
            group.create_task(talk.go_on())
        group.create_task(soak.mischief())
        group.create_task(watch(soak))
    numbers = await soak.numbers_of_idle()
    return numbers, await soak.insist(soak.cat.objects)


def listed(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())


def report(soak: Soak, start: Numbers, end: Numbers) -> bool:
    """Whether all is well."""
    print("\nRequests, by what came of them")
    bad: Counter[str] = Counter()
    for kind in sorted({kind for kind, _ in soak.outcomes}):
        own = {outcome: number for (other, outcome), number in soak.outcomes.most_common() if other == kind}
        bad.update({outcome: number for outcome, number in own.items() if outcome[:2].isupper()})
        expected = {outcome: number for outcome, number in own.items() if outcome not in bad}
        print(f"  {kind:20}{sum(own.values()):6}   {listed(expected)}")
    print(f"Not as they should be: {listed(bad) or 'none'}", *soak.details[:30], sep="\n  ")
    print(f"\nstart, idle: {start}\nend, idle:   {end}")
    growth, grown = end.growth(start), end.more_than(start)
    print(f"memory, tidied: {growth:+.1%}")
    print(f"failures of the Cat's own routes: {soak.cats_failures}")
    problems = [f"{number} {outcome}" for outcome, number in bad.items()]
    problems += [f"{number} times: {fault}" for fault, number in soak.faults.items()]
    problems += [f"memory has grown by {growth:.1%}"] if growth > MOST_GROWTH else []
    problems += grown.values()
    print("\n".join(["\nNOT WELL", *problems] if problems else ["\nAll is well"]))
    return not problems


async def soaked(soak: Soak, minutes: float, users: int) -> bool:
    talks = [Talk(soak, user, window) for user in range(users) for window in range(WINDOWS)]
    print("Warming up", flush=True)
    start, before = await traffic(soak, talks, min(WARM_UP_SECONDS, 60 + minutes * 20))
    print(f"start, idle: {start}", flush=True)
    end, after = await traffic(soak, talks, minutes * 60)
    more = Counter(after) - Counter(before)
    print("objects of the plugin, more than at the start:", listed(dict(more.most_common(8))) or "none")
    return report(soak, start, end)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--users", type=int, default=8, help=f"each with {WINDOWS} requests at once")
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    options = parser.parse_args()
    log = ROOT / ".cat" / "soak.log"
    log.parent.mkdir(exist_ok=True)
    print(f"MINUTES={options.minutes:g} SEED={options.seed} CAT={WHICH}, whose log will be {log}", flush=True)
    upstream = Upstream.start(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        cat = make_cat(Path(folder) / "home")
        link_entries(ROOT / ".dev" / "onlooker", cat.plugins / "onlooker")
        cat.start(**ALLOCATOR)
        try:
            if WHICH != "2":
                cat.toggle("onlooker")
            cat.use_llm(upstream.base_url)
            soak = Soak(cat, upstream, options.seed)
            return 0 if asyncio.run(soaked(soak, options.minutes, options.users)) else 1
        finally:
            log.write_text(cat.log(), "utf-8")
            cat.stop()
            upstream.stop()


if __name__ == "__main__":
    sys.exit(main())
