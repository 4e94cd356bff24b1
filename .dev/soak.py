"""`make soak`: mixed traffic with random faults, for minutes or for a night, against a Cat of its own.

For each request the upstream LLM's reply contains a unique token, and the expected response is known. These problems
are counted and make the exit code 1: a response with the token of another request, with missing or duplicated text; an
error that neither the request nor a disturbance of the Cat at that time explains; and growth of the Cat's memory,
threads, sockets or tasks.

Growth is measured between the end of a warm-up, during which every disturbance happens once, and the end of the run,
with the Cat idle both times. Memory is measured after garbage collection and after glibc has returned unused memory.
Two things are excluded: the users' messages that Cheshire Cat 1.9 remembers, which are deleted first, and the event
loop's executor threads, which grow to a fixed number.
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

CHATS_AT_ONCE = 3
"""Chats that each user has at the same time."""
MAX_CHAT_LENGTH = 16
"""In messages."""
WARM_UP_SECONDS = 300
"""The longest warm-up; a short soak has a shorter one."""
IDLE_SECONDS = 12
"""After this time the servers have closed unused connections, and AnyIO ends idle threads."""
MAX_GROWTH = 0.05
EXECUTOR_THREADS = {"asyncio", "uvloop"}
"""Threads of the default executor: at most 32, and at most 4 more than there are processors."""

ALLOCATOR = {"MALLOC_ARENA_MAX": "1"} if WHICH == "1.9" else {}
"""As in compose.yml: one arena for all threads, so that glibc holds less unused memory."""

TOKEN = re.compile(r"u(\d+)c(\d+)n\d+z")
"""The numbers of the user, the chat and the request."""
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
"""Kinds of requests, with their relative frequencies."""
LLM_FAULTS: list[Json] = [{"fail_status": 400}, {"fail_status": 401}, {"fail_status": 500}, {"rubbish": True}]
LLM_FAULTS += [{"break_after": 0}, {"break_after": 3}, {"error_after": 2}]
INVALID: list[tuple[str, Json]] = [
    ("missing_required_parameter", {"messages": [{"content": "no role"}]}),
    ("invalid_value", {"temperature": 9}),
    ("invalid_value", {"messages": []}),
    ("unsupported_parameter", {"n": 2}),
    ("model_not_found", {"model": "gpt-0"}),
]
DISTURBANCES: dict[str, tuple[set[str], Json]] = {
    "short time-out": ({"timeout"}, {"request_timeout": 1}),
    "few slots": ({"overloaded"}, {"max_concurrent_requests": 5}),
    "rate limit": ({"rate_limit_exceeded"}, {"rate_limit_per_minute": 5}),
    "history": (set(), {"history": "cat"}),
    # Cat 2 closes its connections to the LLM when the LLM's settings are saved.
    "LLM saved": ({"upstream_error"} if WHICH == "2" else set(), {}),
    "plugin off": ({"status 404", "upstream_error"}, {}),
}
"""Disturbances of the Cat: the errors that requests may get during each, and the settings that cause it."""
ACTIONS = ["save settings"] * 5 + ["short time-out", "few slots", "rate limit", "history"] * 2
ACTIONS += ["LLM saved", "plugin off"]
WARM_UP = ["save settings", *DISTURBANCES, *["plugin off"] * 9]
"""The plugin is switched off and on several times, because its memory use still grows at the first times."""


@dataclass(frozen=True)
class Case:
    """A request and the expected response: a text, a call with these arguments, or an error.

    `cut`: a prefix of the text is enough. `leaves`: seconds after which the client disconnects.
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
class Received:
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
            # After a disconnect the last event may be incomplete.
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


def judge(case: Case, received: Received, excused: set[str]) -> str:
    """The outcome in one word or two; problems are in capitals."""
    received_text, expected_text = received.text + received.arguments, case.text + case.arguments
    if {found.group() for found in TOKEN.finditer(received_text)} - {case.token}:
        return "MIXED"
    if not (case.text.startswith(received.text) and case.arguments.startswith(received.arguments)):
        return "DUPLICATED" if received_text.count(case.token) > expected_text.count(case.token) else "WRONG"
    if received.left:
        return "left"
    if received.error:
        return received.error if received.error in {case.error, *excused} else f"UNEXPECTED {received.error}"
    if case.error:
        return f"UNEXPECTED reply, no {case.error}"
    return "ok" if received.ended and (received_text == expected_text or (case.cut and received_text)) else "LOST"


@dataclass
class Numbers:
    """Measurements of the Cat. `mib`: memory before and after freeing unused memory."""

    mib: tuple[int, int]
    counts: dict[str, int]

    def __str__(self) -> str:
        return f"{self.mib[0]} MiB, after freeing {self.mib[1]} MiB, {listed(self.counts)}"

    def growth(self, before: "Numbers") -> float:
        return self.mib[1] / before.mib[1] - 1

    def more_than(self, before: "Numbers") -> dict[str, str]:
        """The counts that have grown, each with a message."""
        return {
            name: f"{name}: {before.counts.get(name, 0)} at the start, {count} at the end"
            for name, count in self.counts.items()
            if count > before.counts.get(name, 0) and name not in ("texts remembered", "requests")
        }


class Soak:
    """The clients, the upstream LLM, the disturbances of the Cat between them, and the outcomes."""

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
        self.disturbance_ended = dict.fromkeys(DISTURBANCES, 0.0)
        limits = httpx.Limits(max_connections=None, keepalive_expiry=2)
        little_room = httpx.AsyncHTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
        self.client = httpx.AsyncClient(base_url=cat.url, limits=limits, timeout=60)
        self.slow_client = httpx.AsyncClient(base_url=cat.url, transport=little_room, timeout=60)
        self.reports = httpx.AsyncClient(base_url=upstream.base_url.removesuffix("v1"), timeout=60)

    async def disturb(self) -> None:
        while self.first or time.monotonic() < self.ends:
            pause = self.rng.uniform(1, 8) if not self.first else 1
            action = self.first.pop() if self.first else self.rng.choice(ACTIONS)
            if action in DISTURBANCES:
                self.disturbance_ended[action] = math.inf
                await self._disturb(action)
                self.disturbance_ended[action] = time.monotonic()
            else:
                for name in ("enable_streaming", "debug_mode", "metrics", "skip_background_tasks"):
                    self.settings[name] = self.rng.random() < 0.5
                self.settings["stream_after_hooks"] = self.rng.choice(["auto", "always", "never"])
                await self.put()
            await asyncio.sleep(pause)

    async def _disturb(self, disturbance: str) -> None:
        if disturbance == "LLM saved":
            await self.retry(lambda: self.cat.use_llm(self.upstream.base_url))
        elif disturbance == "plugin off":
            await self.retry(lambda: self._switch(on=False))
            await asyncio.sleep(self.rng.uniform(0, 1))
            await self.retry(lambda: self._switch(on=True))
        else:
            await self.put(**DISTURBANCES[disturbance][1])
            await asyncio.sleep(self.rng.uniform(1, 4))
            await self.put()

    def disturbances_since(self, moment: float) -> list[str]:
        return [disturbance for disturbance, ended in self.disturbance_ended.items() if ended >= moment]

    def _switch(self, *, on: bool) -> None:
        if self.cat.http.get("/custom/health").is_success != on:
            self.cat.toggle(self.cat.folder or "")

    async def put(self, **values: Any) -> None:
        await self.retry(lambda: self.cat.put_settings({**self.settings, **values}).raise_for_status())

    async def retry(self, ask: Callable[[], T]) -> T:
        """Retry `ask`: the Cat's own routes fail at times, on Cat 2 during concurrent writes to its SQLite database."""
        for _ in range(20):
            with suppress(httpx.HTTPError):
                return await asyncio.to_thread(ask)
            self.cats_failures += 1
            await asyncio.sleep(0.5)
        raise RuntimeError("the Cat's own routes fail")

    async def ask(self, case: Case) -> Received:
        began = time.monotonic()
        received = Received()
        try:
            async with asyncio.timeout(case.leaves):
                await self._exchange(case, received)
        except TimeoutError:
            received.left = True
        except httpx.HTTPError as error:
            received.error = type(error).__name__
        disturbances = self.disturbances_since(began)
        outcome = judge(case, received, set().union(*(DISTURBANCES[disturbance][0] for disturbance in disturbances)))
        self.outcomes[case.kind, outcome] += 1
        if outcome[:2].isupper():
            seen = f"expected …{case.text[-200:]!r} {case.error}, {replace(received, text=received.text[-200:])}"
            self.details.append(f"{time.strftime('%X')} {case.kind}, {case.token}: {outcome}, {disturbances}, {seen}")
        if outcome == "ok":
            self.remembered += case.body.get("store") is not False
            await self._check_upstream(case.token, case.body)
        if outcome in ("overloaded", "rate_limit_exceeded"):
            await asyncio.sleep(1)
        return received

    async def _exchange(self, case: Case, received: Received) -> None:
        content = json.dumps(case.body).encode()
        headers = {**HEADERS, "Content-Length": str(len(content)), **case.headers}
        client = self.slow_client if case.reads_slowly else self.client
        sent = send_slowly(content) if case.sends_slowly else content
        raw, is_stream = bytearray(), False
        try:
            async with client.stream("POST", case.path, content=sent, headers=headers) as response:
                received.status, received.request_id = response.status_code, response.headers.get("x-request-id", "")
                is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
                async for piece in response.aiter_raw():
                    raw += piece
                    await asyncio.sleep(0.01 if case.reads_slowly else 0)
        finally:
            received.read(raw.decode("utf-8", "replace"), is_stream=is_stream)

    async def _check_upstream(self, token: str, body: Json) -> None:
        """Check that the LLM received messages of this user and chat only, in order, and this request's sampling."""
        records = (await self.reports.get("/_test/requests", params={"tag": token})).raise_for_status().json()
        is_stored = "messages" not in body or "history" in self.disturbances_since(time.monotonic() - 60)
        for sent in (record["body"] for record in records):
            messages = [message for message in sent["messages"] if message["role"] != "system"]
            if {user for user, _ in TOKEN.findall(json.dumps(sent))} != set(TOKEN.findall(token)[0][:1]):
                self.faults["messages of another user reached the LLM"] += 1
            if not is_stored and len(set(TOKEN.findall(json.dumps(messages)))) > 1:
                self.faults["messages of another chat reached the LLM"] += 1
            if any(sent.get(name) != body[name] for name in ("seed", "temperature") if name in body):
                self.faults["sampling parameters of another request reached the LLM"] += 1
            if complaint := complaint_about(sent):
                self.faults["OpenAI would refuse the request to the LLM: " + re.sub(r"call_\w+", "…", complaint)] += 1

    async def numbers(self) -> Numbers:
        untidy = self.cat.memory()
        await self._inspect("tidy")
        mib = untidy // 2**20, self.cat.memory() // 2**20
        counts = {"texts remembered": self.remembered, "requests": self.outcomes.total()}
        counts["LLM requests"] = await asyncio.to_thread(self.upstream.open_requests)
        # The test plugin fails if a task has no name, which happens under load.
        with suppress(httpx.HTTPStatusError):
            counts["tasks"] = len(await asyncio.to_thread(self.cat.tasks))
        return Numbers(mib, counts)

    async def numbers_of_idle(self) -> Numbers:
        """The numbers of the idle Cat, with its threads by name and its sockets by peer."""
        if self.remembered and WHICH != "2":
            await self.retry(lambda: self.cat.http.delete("/memory/collections/episodic").raise_for_status())
        # Saving the LLM's settings closes the old connection pool, and the new one is still empty.
        await self.retry(lambda: self.cat.use_llm(self.upstream.base_url))
        await asyncio.sleep(IDLE_SECONDS)
        numbers = await self.numbers()
        threads = (await self._inspect("threads")).json()
        own = {name: count for name, count in threads.items() if name not in EXECUTOR_THREADS}
        others = self.cat.threads() - sum(threads.values())
        numbers.counts |= {f"threads {name}": count for name, count in own.items()} | {"threads of no name": others}
        numbers.counts |= self._sockets()
        loops = sum(threads.values()) - sum(own.values())
        if loops > min(32, (os.cpu_count() or 1) + 4):
            self.faults[f"the event loop has {loops} executor threads"] += 1
        return numbers

    async def _inspect(self, path: str) -> httpx.Response:
        ask = self.cat.http.get
        return await self.retry(lambda: ask(f"/onlooker/{path}").raise_for_status())

    def _sockets(self) -> Counter[str]:
        """From /proc: addresses are hexadecimal, and state 0A is a listening socket."""
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


async def send_slowly(content: bytes) -> AsyncIterator[bytes]:
    step = len(content) // 8 + 1
    for at in range(0, len(content), step):
        yield content[at : at + step]
        await asyncio.sleep(0.1)


class ChatClient:
    """One end user's client: one chat after another, with requests of all kinds."""

    def __init__(self, soak: Soak, user: int, chat: int) -> None:
        self.soak, self.user, self.chat = soak, user, chat
        self.rng = random.Random(f"{soak.seed} {user} {chat}")
        self.messages: list[Json] = []

    async def run(self) -> None:
        while time.monotonic() < self.soak.ends:
            kind = self.rng.choices([*KINDS], [*KINDS.values()])[0]
            if len(self.messages) > self.rng.uniform(0, MAX_CHAT_LENGTH) or kind == "in background":
                self.chat, self.messages = self.chat + CHATS_AT_ONCE, []
            case = Case(kind, f"u{self.user}c{self.chat}n{next(self.soak.serials)}z")
            words = [f" {self.rng.choice(WORDS)}" for _ in range(self.rng.randint(0, 30))]
            pieces = [case.token, *words, f" {case.token}"]
            await self._turn(replace(case, text="".join(pieces)), pieces)
            await asyncio.sleep(self.rng.uniform(0, 0.3))

    async def _turn(self, case: Case, pieces: list[str]) -> None:
        if case.kind == "message":
            body: Json = {"text": script(tag=case.token, say=pieces), "user_id": f"user {self.user}"}
            await self.soak.ask(replace(case, path="/custom/message", body=body))
        elif case.kind == "invalid":
            error, wrong = self.rng.choice(INVALID)
            body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}], **wrong}
            await self.soak.ask(replace(case, text="", error=error, body=body))
        else:
            play, fields, changes = self._variations(case.token, pieces).get(case.kind, ({}, {}, {}))
            play = play or {"say": pieces, "delay": self.rng.choice([0, 0, 0.01, 0.03])}
            text = {"in background": "### Task:\nGenerate a title. ", "own tools": "[procedures] ring the bell"}
            content = script(text.get(case.kind, "") + self.rng.choice(WORDS), tag=case.token, **play)
            parts = [{"type": "text", "text": content}, PICTURE] if case.kind == "image" else content
            question = {"role": "user", "content": parts}
            received = await self._ask(replace(case, **changes), [question], **fields)
            if case.kind == "functions" and received.arguments and not received.error and self.rng.random() < 0.9:
                await self._give_result(case, question, received.arguments)

    def _variations(self, token: str, pieces: list[str]) -> dict[str, tuple[Json, Json, Json]]:
        """By kind of request: the LLM's script if it is not the pieces, the request's fields, changes of the `Case`."""
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
            # An agent's tools, one of which is another agent.
            hatter = {"question": script(tag=token, say=["mine: ", token])}
            call = rng.choice([{"name": "clock"}, {"name": "ask_the_hatter", "arguments": hatter}])
            turns = [{"tool_calls": [call]}, {"say": pieces}]
            variations["own tools"] = ({"turns": turns}, {"model": "cheshire-cat:alice"}, {})
        else:
            # The LLM replies with its choice of a tool, and repeats this reply after the tool has run.
            choice = json.dumps({"action": "bell", "action_input": token})
            variations["own tools"] = ({"say": choice}, {}, {"text": choice})
        return variations

    async def _give_result(self, case: Case, question: Json, arguments: str) -> None:
        function = {"name": "look_up", "arguments": arguments}
        call = {"id": f"call_{case.token}", "type": "function", "function": function}
        called = {"role": "assistant", "content": None, "tool_calls": [call]}
        result = {"role": "tool", "tool_call_id": call["id"], "content": f"found {case.token}"}
        await self._ask(replace(case, kind="a function's result"), [question, called, result], tools=TOOLS)

    async def _ask(self, case: Case, new: list[Json], **fields: Any) -> Received:
        """Send a request; if it succeeds, its messages and the reply become part of the chat."""
        body: Json = {"model": "cheshire-cat", "messages": [*self.messages, *new]}
        headers = {}
        if self.rng.random() < 0.5:
            body["user"] = f"user {self.user}"
        else:
            headers["X-User-Id"] = f"user {self.user}"
        if self.rng.random() < (0.5 if WHICH == "2" else 0.98):
            body["store"] = False
        body |= {"stream": self.rng.random() < 0.6, **fields}
        received = await self.soak.ask(replace(case, body=body, headers=headers))
        if (
            received.ended
            and received.text
            and not received.error
            and case.kind not in ("in background", "slow reader")
        ):
            self.messages += [*new, {"role": "assistant", "content": received.text}]
        return received


async def watch(soak: Soak) -> None:
    """Print the measurements each minute, until the end."""
    began, before, minutes = time.monotonic(), soak.outcomes.total(), 0
    while (now := time.monotonic()) < soak.ends:
        await asyncio.sleep(min(10, soak.ends - now))
        await soak.reports.delete("/_test/requests")
        if time.monotonic() - began > 60 * (minutes + 1) - 1:
            minutes += 1
            print(f"minute {minutes}: {await soak.numbers()}", flush=True)
    print(f"{(soak.outcomes.total() - before) / (time.monotonic() - began):.1f} requests/s", flush=True)


async def traffic(soak: Soak, chat_clients: list[ChatClient], seconds: float) -> tuple[Numbers, Json]:
    """Run the traffic; return the measurements and the object counts of the Cat when it is idle again."""
    soak.ends = time.monotonic() + seconds
    await soak.put()
    async with asyncio.TaskGroup() as group:
        for chat_client in chat_clients:
            group.create_task(chat_client.run())
        group.create_task(soak.disturb())
        group.create_task(watch(soak))
    numbers = await soak.numbers_of_idle()
    return numbers, await soak.retry(soak.cat.objects)


def listed(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())


def report(soak: Soak, start: Numbers, end: Numbers) -> bool:
    """Print the outcomes and problems; return whether there are no problems."""
    print("\nRequests by kind and outcome")
    bad: Counter[str] = Counter()
    for kind in sorted({kind for kind, _ in soak.outcomes}):
        own = {outcome: number for (other, outcome), number in soak.outcomes.most_common() if other == kind}
        bad.update({outcome: number for outcome, number in own.items() if outcome[:2].isupper()})
        expected = {outcome: number for outcome, number in own.items() if outcome not in bad}
        print(f"  {kind:20}{sum(own.values()):6}   {listed(expected)}")
    print(f"Wrong outcomes: {listed(bad) or 'none'}", *soak.details[:30], sep="\n  ")
    print(f"\nstart, idle: {start}\nend, idle:   {end}")
    growth, grown = end.growth(start), end.more_than(start)
    print(f"memory after freeing: {growth:+.1%}")
    print(f"failures of the Cat's own routes: {soak.cats_failures}")
    problems = [f"{number} {outcome}" for outcome, number in bad.items()]
    problems += [f"{number} times: {fault}" for fault, number in soak.faults.items()]
    problems += [f"memory has grown by {growth:.1%}"] if growth > MAX_GROWTH else []
    problems += grown.values()
    print("\n".join(["\nFAILED", *problems] if problems else ["\nOK"]))
    return not problems


async def run_soak(soak: Soak, minutes: float, users: int) -> bool:
    chat_clients = [ChatClient(soak, user, chat) for user in range(users) for chat in range(CHATS_AT_ONCE)]
    print("Warming up", flush=True)
    start, before = await traffic(soak, chat_clients, min(WARM_UP_SECONDS, 60 + minutes * 20))
    print(f"start, idle: {start}", flush=True)
    end, after = await traffic(soak, chat_clients, minutes * 60)
    more = Counter(after) - Counter(before)
    print("more objects of the plugin than at the start:", listed(dict(more.most_common(8))) or "none")
    return report(soak, start, end)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--users", type=int, default=8, help=f"each with {CHATS_AT_ONCE} chats at the same time")
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    options = parser.parse_args()
    log = ROOT / ".cat" / "soak.log"
    log.parent.mkdir(exist_ok=True)
    print(f"MINUTES={options.minutes:g} SEED={options.seed} CAT={WHICH}, log in {log}", flush=True)
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
            return 0 if asyncio.run(run_soak(soak, options.minutes, options.users)) else 1
        finally:
            log.write_text(cat.log(), "utf-8")
            cat.stop()
            upstream.stop()


if __name__ == "__main__":
    sys.exit(main())
