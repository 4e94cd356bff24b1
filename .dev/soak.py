"""`make soak`: mixed traffic with random faults, for minutes or for a night, against a Cat of its own.

Each request has the upstream LLM say a token that no other request has, and knows what it must get. Replies with
somebody else's token, with less than was said or with something twice are counted and make the exit code 1. So do
errors that neither the request nor what was done to the Cat at the time explains, and whatever grows in the Cat.

What users say, Cheshire Cat 1.9 remembers for good, in its own memory. So nearly all requests to it say
`store: false`, and what the others leave there is taken off before its growth is judged.
"""

import argparse
import asyncio
import json
import math
import random
import re
import socket
import statistics
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
from host import KEY, ROOT, WHICH, Cat, make_cat
from upstream import Upstream, complaint_about, script

Json = dict[str, Any]
T = TypeVar("T")

USERS, WINDOWS = 8, 3
LONGEST_CHAT = 16
"""Messages."""
IDLE_SECONDS = 8
"""After which the servers have closed the connections that nobody uses."""
MIB_REMEMBERED = 0 if WHICH == "2" else 0.2
"""What one text takes in Cheshire Cat 1.9's own vector memory, as measured with nothing else going on."""
SLACK = 5
"""So many threads, tasks or sockets more than at the start are no growth: pools breathe."""

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


class Soak:
    """The traffic's two ends, what is done to the Cat between them, and what came of it."""

    def __init__(self, cat: Cat, upstream: Upstream, seed: str) -> None:
        self.cat, self.upstream, self.seed = cat, upstream, seed
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
        while time.monotonic() < self.ends:
            deed = self.rng.choice(DEEDS)
            if deed in SPELLS:
                self.spell_ended[deed] = math.inf
                await self._cast(deed)
                self.spell_ended[deed] = time.monotonic()
            else:
                for name in ("enable_streaming", "debug_mode", "metrics", "skip_background_tasks"):
                    self.settings[name] = self.rng.random() < 0.5
                self.settings["stream_after_hooks"] = self.rng.choice(["auto", "always", "never"])
                await self.put()
            await asyncio.sleep(self.rng.uniform(1, 8))

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

    async def numbers(self) -> dict[str, int]:
        numbers = {"MiB": self.cat.memory() // 2**20, "texts": self.remembered}
        numbers |= {"threads": self.cat.threads(), "sockets": self.cat.sockets()}
        numbers["LLM requests"] = await asyncio.to_thread(self.upstream.open_requests)
        # The test plugin tells names, and under load some task has none.
        with suppress(httpx.HTTPStatusError):
            numbers["tasks"] = len(await asyncio.to_thread(self.cat.tasks))
        return numbers


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


async def watch(soak: Soak, memory: list[float]) -> None:
    """Print the numbers each minute, until the end."""
    began, before = time.monotonic(), soak.outcomes.total()
    while (now := time.monotonic()) < soak.ends:
        await asyncio.sleep(min(10, soak.ends - now))
        memory.append(soak.cat.memory() / 2**20 - soak.remembered * MIB_REMEMBERED)
        await soak.reports.delete("/_test/requests")
        if len(memory) % 6 == 0:
            requests = {"requests": soak.outcomes.total() - before}
            print(f"minute {len(memory) // 6}: {listed(await soak.numbers() | requests)}", flush=True)
    print(f"{(soak.outcomes.total() - before) / (time.monotonic() - began):.1f} requests/s", flush=True)


async def traffic(
    soak: Soak, talks: list[Talk], seconds: float, memory: list[float]
) -> tuple[dict[str, int], Json]:
    """Numbers of the Cat, and its objects, when it is idle again."""
    soak.ends = time.monotonic() + seconds
    await soak.put()
    async with asyncio.TaskGroup() as group:
        for talk in talks:
            group.create_task(talk.go_on())
        group.create_task(soak.mischief())
        group.create_task(watch(soak, memory))
    # An LLM that was just saved has no pool of connections yet, and what was left in the old one is closed.
    await soak.insist(lambda: soak.cat.use_llm(soak.upstream.base_url))
    await asyncio.sleep(IDLE_SECONDS)
    objects = await soak.insist(soak.cat.objects)
    return await soak.numbers(), objects


def grows_steadily(memory: list[float]) -> bool:
    """By 2 % from each third of the time to the next."""
    third = len(memory) // 3
    means = [statistics.mean(memory[at * third : (at + 1) * third]) for at in range(3)] if third else [1, 1, 1]
    return means[0] * 1.02 < means[1] and means[1] * 1.02 < means[2]


def listed(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())


def report(soak: Soak, start: dict[str, int], end: dict[str, int], memory: list[float]) -> bool:
    """Whether all is well."""
    print("\nRequests, by what came of them")
    bad: Counter[str] = Counter()
    for kind in sorted({kind for kind, _ in soak.outcomes}):
        own = {outcome: number for (other, outcome), number in soak.outcomes.most_common() if other == kind}
        bad.update({outcome: number for outcome, number in own.items() if outcome[:2].isupper()})
        expected = {outcome: number for outcome, number in own.items() if outcome not in bad}
        print(f"  {kind:20}{sum(own.values()):6}   {listed(expected)}")
    print(f"Not as they should be: {listed(bad) or 'none'}", *soak.details[:30], sep="\n  ")
    growth = (end["MiB"] - end["texts"] * MIB_REMEMBERED) / (start["MiB"] - start["texts"] * MIB_REMEMBERED) - 1
    print(f"\nstart, idle: {listed(start)}\nend, idle:   {listed(end)}")
    print(f"memory {growth:+.1%} (5 % are usual), without {MIB_REMEMBERED} MiB for each text remembered")
    print(f"failures of the Cat's own routes: {soak.cats_failures}")
    problems = [f"{number} {outcome}" for outcome, number in bad.items()]
    problems += [f"{number} times: {fault}" for fault, number in soak.faults.items()]
    if growth > 0.2 and grows_steadily(memory):
        problems.append(f"memory has grown by {growth:.0%}, and went on growing")
    for name in ("threads", "tasks", "sockets", "LLM requests"):
        before, after = start.get(name, 0), end.get(name, 0)
        if after > before + (0 if name == "LLM requests" else SLACK):
            problems += [f"{before} {name} have become {after}"]
    print("\n".join(["\nNOT WELL", *problems] if problems else ["\nAll is well"]))
    return not problems


async def soaked(soak: Soak, minutes: float) -> bool:
    talks = [Talk(soak, user, window) for user in range(USERS) for window in range(WINDOWS)]
    print("Warming up", flush=True)
    start, before = await traffic(soak, talks, min(60, 20 + minutes * 8), [])
    print(f"start, idle: {listed(start)}", flush=True)
    memory: list[float] = []
    end, after = await traffic(soak, talks, minutes * 60, memory)
    more = Counter(after) - Counter(before)
    print("objects of the plugin, more than at the start:", listed(dict(more.most_common(8))) or "none")
    return report(soak, start, end, memory)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    options = parser.parse_args()
    log = ROOT / ".cat" / "soak.log"
    log.parent.mkdir(exist_ok=True)
    print(f"MINUTES={options.minutes:g} SEED={options.seed} CAT={WHICH}, whose log will be {log}", flush=True)
    upstream = Upstream.start(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        cat = make_cat(Path(folder) / "home").start()
        try:
            cat.use_llm(upstream.base_url)
            return 0 if asyncio.run(soaked(Soak(cat, upstream, options.seed), options.minutes)) else 1
        finally:
            log.write_text(cat.log(), "utf-8")
            cat.stop()
            upstream.stop()


if __name__ == "__main__":
    sys.exit(main())
