"""`make plugins`: other people's plugins in the Cat's own chat and through this API, turn by turn.

For each plugin of a folder a Cat is started that has this plugin and that one. The same turns are said to the Cat in
its own chat and through the API: as whole replies, as streams, as responses that continue each other, and to
`/message`. Each conversation is another user's, and the plugin is switched off and on before it. The replies, all that
reached the LLM, the Cat's steps and its errors have to be the same. What already differs between two runs of the Cat's
own chat is left out, such as the time.

Nothing is fetched: a plugin that lacks packages is reported. With `--install` the Cat installs what the plugin's
requirements.txt asks for into its own environment.
"""

import argparse
import difflib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import httpx
from host import KEY, WHICH, Cat, make_cat
from openai import OpenAI
from upstream import Upstream, script
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

Json = dict[str, Any]

TURNS_FILE = "turns.json"
OWN_TURNS = Path(__file__).resolve().parent / "plugin_turns.json"
"""Turns for plugins that were tried, by the name in their `plugin.json`."""
DEFAULT_TURNS: list[Any] = [
    "Hello! I am Alice, and my address is alice@example.com.",
    "Why is a raven like a writing desk?",
    {
        "text": "Tell me about tea.",
        "llm": {"say": ["It is ", "always ", "tea time. ", "<b>Always.</b>"], "delay": 0.01},
    },
    "Thank you. What was my address?",
]
LIKE_SETTINGS: Json = {"rate_limit_per_minute": 0, "max_tokens": 0, "show_steps": True}
QUIET_SECONDS = 0.5
"""How long a plugin's own threads may go on after a reply."""
TURN_SECONDS = 60
SHOWN = 300
"""Characters of each side of a difference."""

FAILED = "failed: "
"""Begins the reply of a turn that failed."""

CHANGING = [
    (re.compile(r"\b\d+ (seconds?|minutes?|hours?) ago|just now", re.IGNORECASE), "<ago>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?"), "<time>"),
    (re.compile(r"\b\d{9,}(\.\d+)?\b"), "<number>"),
    (re.compile(r"0x[0-9a-f]{6,}|(?<![0-9a-f-])[0-9a-f]{8}(-[0-9a-f-]{27})?(?![0-9a-f])"), "<id>"),
]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Seen:
    """What one turn did.

    `asked`: the messages of each request to the LLM. `steps`: what the Cat told meanwhile. `tokens`: the text that the
    Cat streamed in its own chat, also that of plugins. `extra`: fields of the Cat's own message that OpenAI's form has
    no place for.
    """

    reply: str = ""
    asked: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    tokens: str = ""
    errors: Counter[str] = field(default_factory=Counter)
    extra: set[str] = field(default_factory=set)


@dataclass
class Result:
    """`cells`: of the table. `details`: what differs, in words. `notes`: what is no difference but worth knowing.
    `is_stable`: whether two runs of the Cat's own chat were the same in at least one turn."""

    plugin: str
    version: str
    problem: str = ""
    is_stable: bool = True
    cells: dict[str, int] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """`turns`: what the user says. `settings`: of the plugin; on Cheshire Cat 2 by the slug of the settings."""

    turns: list[str]
    settings: Json


class Conversation:
    """Turns of one user, said in one way."""

    def __init__(self, cat: Cat, model: str) -> None:
        self.cat = cat
        self.model = model
        self.user = f"u{uuid.uuid4().hex[:12]}"
        self.turns: list[Json] = []

    def say(self, text: str) -> Seen:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to close by default."""


class OwnChat2(Conversation):
    """`POST /agents/{slug}/message`; the client keeps all messages, as the Cat's own page does."""

    def say(self, text: str) -> Seen:
        self.turns.append({"role": "user", "content": [{"type": "text", "text": text}]})
        task = {"messages": self.turns, "stream": False}
        slug = self.model.partition(":")[2] or "default"
        reply = self.cat.http.post(f"/agents/{slug}/message", json=task, timeout=TURN_SECONDS)
        if reply.is_error:
            self.turns.pop()
            return Seen(f"failed: {reply.status_code}")
        added = reply.json()["messages"]
        self.turns += added
        said = [message["text"] for message in added if message["role"] == "assistant" and message["text"]]
        calls = [call["name"] for message in added for call in message["tool_calls"]]
        return Seen(joined(said), steps=[f"{name}(" for name in calls])


class OwnChat1(Conversation):
    """`POST /message`, with a web socket of the same user for what the Cat tells meanwhile."""

    FIELDS: ClassVar = {"type", "user_id", "who", "text", "content", "why", "when", "image", "audio"}

    def __init__(self, cat: Cat, model: str) -> None:
        super().__init__(cat, model)
        self._tokens = ""
        address = f"{cat.url.replace('http', 'ws', 1)}/ws/{self.user}?token={KEY}"
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(connect(address, open_timeout=TURN_SECONDS, max_size=None))

    def say(self, text: str) -> Seen:
        headers = {"user_id": self.user}
        reply = self.cat.http.post("/message", json={"text": text}, headers=headers, timeout=TURN_SECONDS)
        if reply.is_error:
            return Seen(f"failed: {reply.status_code}", steps=self._told())
        message = reply.json()
        if "error" in message or "text" not in message:
            return Seen("failed: the Cat's own error", steps=self._told())
        steps = self._told()
        return Seen(message["text"], steps=steps, tokens=self._tokens, extra={*message} - self.FIELDS)

    def _told(self) -> list[str]:
        told = []
        self._tokens = ""
        try:
            while True:
                message = json.loads(self._socket.recv(timeout=0.1))
                if message["type"] in ("notification", "chat") and message.get("content"):
                    told.append(str(message["content"]))
                elif message["type"] == "chat_token":
                    self._tokens += str(message["content"])
        except (TimeoutError, ConnectionClosed):
            return told

    def close(self) -> None:
        self._stack.close()


class Api(Conversation):
    def __init__(self, cat: Cat, model: str) -> None:
        super().__init__(cat, model)
        self.sdk = OpenAI(base_url=cat.base_url, api_key=KEY, max_retries=0, timeout=TURN_SECONDS)

    def close(self) -> None:
        self.sdk.close()


class Whole(Api):
    stream = False

    def say(self, text: str) -> Seen:
        self.turns.append({"role": "user", "content": text})
        seen = self.ask({"model": self.model, "messages": self.turns, "user": self.user})
        self.turns.append({"role": "assistant", "content": seen.reply})
        return seen

    def ask(self, request: Any) -> Seen:
        message = self.sdk.chat.completions.create(**request).choices[0].message
        return Seen(message.content or "", steps=steps_in((message.model_extra or {}).get("reasoning_content")))


class Streamed(Whole):
    def ask(self, request: Any) -> Seen:
        texts, steps = [], []
        for chunk in self.sdk.chat.completions.create(**request, stream=True):
            for choice in chunk.choices:
                texts.append(choice.delta.content or "")
                steps.append((choice.delta.model_extra or {}).get("reasoning_content") or "")
        return Seen("".join(texts), steps=steps_in("".join(steps)))


class Responses(Api):
    previous: str | None = None

    def say(self, text: str) -> Seen:
        request: Any = {"model": self.model, "input": text, "user": self.user, "previous_response_id": self.previous}
        response = self.sdk.responses.create(**request)
        self.previous = response.id
        summaries = [part.text for item in response.output if item.type == "reasoning" for part in item.summary]
        return Seen(response.output_text, steps=summaries)


class Message(Conversation):
    """`POST /message` of the API, which keeps the conversation. It tells no steps."""

    def say(self, text: str) -> Seen:
        body = {"text": text, "user_id": self.user}
        reply = self.cat.http.post("/custom/message", json=body, timeout=TURN_SECONDS).raise_for_status()
        return Seen(reply.json()["text"])


OWN: type[Conversation] = OwnChat2 if WHICH == "2" else OwnChat1
WAYS: dict[str, type[Conversation]] = {
    "own": OWN,
    "own again": OWN,
    "whole": Whole,
    "streamed": Streamed,
    "response": Responses,
    "message": Message,
}


def joined(texts: list[str]) -> str:
    """As the API joins the messages of one reply."""
    reply = ""
    for text in texts:
        reply += ("" if not reply or reply[-1].isspace() or text[0].isspace() else "\n\n") + text
    return reply


def steps_in(thoughts: str | None) -> list[str]:
    return [thoughts] if thoughts else []


def normal(text: str, user: str) -> str:
    """Without what differs from run to run by its nature."""
    text = text.replace(user, "<user>")
    for pattern, name in CHANGING:
        text = pattern.sub(name, text)
    return text


class Bench:
    """One plugin beside this one on a Cat."""

    def __init__(
        self, source: Path, upstream: Upstream, home: Path, plan: Plan, beside: list[Path], *, install: bool
    ) -> None:
        self.source = source
        self.upstream = upstream
        self.plan = plan
        self.cat = make_cat(home)
        self.folder = re.sub(r"\W", "_", source.name)
        if self.folder == self.cat.folder:
            self.folder += "_other"
        self.install = install
        self.beside = [each.name for each in beside if each != source]
        for each in beside:
            if each != source:
                shutil.copytree(each, self.cat.plugins / each.name)
        self.copy()

    def copy(self) -> None:
        """The plugin as it came: what it has stored in its folder is gone."""
        target = self.cat.plugins / self.folder
        shutil.rmtree(target, ignore_errors=True)
        ignored = shutil.ignore_patterns(".git", "__pycache__", *([] if self.install else ["requirements.txt"]))
        shutil.copytree(self.source, target, ignore=ignored)

    def start(self) -> str:
        """Why the plugin does not work here; empty if it does."""
        # Cheshire Cat 1.9 has a key of its own for web sockets.
        self.cat.start(CCAT_API_KEY_WS=KEY).use_llm(self.upstream.base_url)
        self.cat.put_settings(LIKE_SETTINGS).raise_for_status()
        if WHICH != "2":
            for each in self.beside:
                self.cat.toggle(each)
            reply = self.cat.http.put(f"/plugins/toggle/{self.folder}", timeout=TURN_SECONDS * 10)
            if reply.is_error:
                return f"cannot be switched on: {last_error(self.cat.log())}"
        return load_errors(self.cat.log(), self.folder)

    def models(self) -> list[str]:
        if WHICH != "2":
            return ["cheshire-cat"]
        agents = self.cat.http.get("/agents").raise_for_status().json()
        own = [agent["slug"] for agent in agents if agent["plugin_id"] == self.folder]
        return [f"cheshire-cat:{slug}" if slug != "default" else "cheshire-cat" for slug in own] or ["cheshire-cat"]

    def run(self, way: type[Conversation], model: str) -> list[Seen]:
        self.cat.toggle(self.folder)
        self.copy()
        self.cat.toggle(self.folder)
        self.configure()
        conversation = way(self.cat, model)
        try:
            return [self.turn(conversation, text) for text in self.plan.turns]
        finally:
            conversation.close()

    def configure(self) -> None:
        if WHICH == "2":
            for slug, values in self.plan.settings.items():
                self.cat.http.put(f"/settings/{slug}", json=values).raise_for_status()
        elif self.plan.settings:
            address = f"/plugins/settings/{self.folder}"
            saved = self.cat.http.get(address).raise_for_status().json()["value"]
            self.cat.http.put(address, json={**saved, **self.plan.settings}).raise_for_status()

    def turn(self, conversation: Conversation, text: str) -> Seen:
        before, log = len(self.upstream.requests()), len(self.cat.log())
        try:
            seen = conversation.say(text)
        except httpx.HTTPError as error:
            seen = Seen(f"failed: {type(error).__name__}")
        except Exception as error:
            # The SDK's errors, and what a plugin does to a reply: each is a reply of its own here.
            seen = Seen(f"failed: {str(error)[:SHOWN]}")
        self.wait_until_quiet()
        clean = [normal(asked_text(record["body"]), conversation.user) for record in self.upstream.requests()[before:]]
        errors = Counter(normal(line, conversation.user) for line in error_lines(self.cat.log()[log:]))
        tokens = normal(seen.tokens, conversation.user)
        return Seen(normal(seen.reply, conversation.user), clean, seen.steps, tokens, errors, seen.extra)

    def wait_until_quiet(self) -> None:
        """Until no request of the plugin to the LLM is under way any more."""
        deadline, count, since = time.monotonic() + TURN_SECONDS, -1, time.monotonic()
        while time.monotonic() < deadline:
            now = len(self.upstream.requests()), self.upstream.open_requests()
            if now != (count, 0):
                count, since = now[0], time.monotonic()
            elif time.monotonic() - since > QUIET_SECONDS:
                return
            time.sleep(0.1)


def asked_text(body: Json) -> str:
    """The messages of a request to the LLM, one after the other."""
    lines = []
    for message in body["messages"]:
        content = message.get("content") or ""
        text = content if isinstance(content, str) else json.dumps(content)
        calls = [call["function"]["name"] for call in message.get("tool_calls") or []]
        lines.append(f"{message['role']}: {text}{calls or ''}")
    return "\n".join(lines)


def plain_lines(log: str) -> Iterator[str]:
    yield from COLOUR.sub("", log).splitlines()


def error_lines(log: str) -> list[str]:
    """The Cat's errors of plugins. Tracebacks are left out: they name what runs a plugin."""
    return [line for line in plain_lines(log) if re.search(r"Error in plugin|Error when|LLM did not", line)]


def load_errors(log: str, plugin: str) -> str:
    """Names of the modules that are missing, or the lines on a plugin that cannot be loaded."""
    failed = re.compile(
        rf"Unable to load plugin {re.escape(plugin)}\b|Could not load plugin in .*/{re.escape(plugin)}/"
    )
    lines = [line.strip() for line in plain_lines(log) if failed.search(line)]
    missing = sorted({*re.findall(r"No module named '([^']+)'", log)})
    return f"lacks {', '.join(missing)}" if lines and missing else "; ".join(lines[:1])


def last_error(log: str) -> str:
    missing = sorted({*re.findall(r"No module named '([^']+)'", log)})
    lines = [line.strip() for line in plain_lines(log) if "Error" in line or "ERROR" in line]
    return f"lacks {', '.join(missing)}" if missing else (lines or ["see the Cat's log"])[-1][:SHOWN]


def compare(own: list[Seen], again: list[Seen], other: list[Seen], way: str) -> Iterator[tuple[str, str]]:
    """What differs, each with its column and in words. What differs between the two runs of the own chat does not
    count; from there on the conversations are different ones."""
    for number, (mine, repeated, theirs) in enumerate(zip(own, again, other, strict=True), 1):
        place = f"turn {number}, {way}"
        if mine.reply != repeated.reply or mine.asked != repeated.asked:
            return
        fail_both = mine.reply.startswith(FAILED) and theirs.reply.startswith(FAILED)
        if theirs.reply != mine.reply and not fail_both and not (way == "streamed" and announces(mine, theirs)):
            yield way, f"{place}: the reply\n{sides(mine.reply, theirs.reply)}"
        if theirs.asked != mine.asked:
            yield "LLM", f"{place}: what reached the LLM\n{difference(mine.asked, theirs.asked)}"
        told = "\n".join(theirs.steps)
        lost = [step for step in mine.steps if step not in told and step != mine.reply]
        if lost and way != "message":
            yield "steps", f"{place}: steps that the client does not see\n    {shorten('; '.join(lost))}"
        new_errors = theirs.errors - mine.errors
        if new_errors:
            yield "errors", f"{place}: the Cat's log\n    {shorten('; '.join(new_errors))}"


def announces(mine: Seen, theirs: Seen) -> bool:
    """Whether a stream has texts of plugins before the reply that the Cat's own chat streams as well."""
    announced = theirs.reply.removesuffix(mine.reply).strip()
    return theirs.reply.endswith(mine.reply) and announced in mine.tokens


def sides(own: str, other: str) -> str:
    return f"    own chat: {shorten(own)}\n    API:      {shorten(other)}"


def difference(own: list[str], other: list[str]) -> str:
    if len(own) != len(other):
        return f"    own chat: {len(own)} requests, API: {len(other)}"
    pairs = zip("\n".join(own).splitlines(), "\n".join(other).splitlines(), strict=False)
    first = next(((mine, theirs) for mine, theirs in pairs if mine != theirs), None)
    if first:
        matcher = difflib.SequenceMatcher(None, *first, autojunk=False)
        at = max(0, matcher.find_longest_match().size - 40) if first[0][:1] == first[1][:1] else 0
        return sides(first[0][at:], first[1][at:])
    return f"    own chat: {len(own)} lines, API: {len(other)} lines"


def shorten(text: str) -> str:
    text = text.replace("\n", "\\n")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def plan_for(source: Path, name: str, given: Any) -> Plan:
    """Of the option, else of the plugin's folder, else of those that were tried, else the default one."""
    own = json.loads(OWN_TURNS.read_text("utf-8"))
    found = given.get(source.name) or given.get(name) if isinstance(given, dict) else given
    if not found and (source / TURNS_FILE).is_file():
        found = json.loads((source / TURNS_FILE).read_text("utf-8"))
    found = found or own.get(name) or DEFAULT_TURNS
    plan = found if isinstance(found, dict) else {"turns": found}
    turns = plan.get("turns", DEFAULT_TURNS)
    texts = [turn if isinstance(turn, str) else script(turn["text"], **turn.get("llm", {})) for turn in turns]
    return Plan(texts, plan.get("settings", {}))


def examine(source: Path, upstream: Upstream, folder: Path, given: Any, beside: list[Path], *, install: bool) -> Result:
    manifest = json.loads((source / "plugin.json").read_text("utf-8")) if (source / "plugin.json").is_file() else {}
    name = manifest.get("name", source.name)
    result = Result(source.name, str(manifest.get("version", "")))
    plan = plan_for(source, name, given)
    bench = Bench(source, upstream, folder / source.name, plan, beside, install=install)
    try:
        result.problem = bench.start()
        for model in [] if result.problem else bench.models():
            compare_model(bench, model, result)
    except (RuntimeError, OSError, AssertionError, httpx.HTTPError, subprocess.SubprocessError) as error:
        result.problem = f"{type(error).__name__}: {str(error)[-SHOWN:]}"
    finally:
        stop(bench.cat)
    return result


def compare_model(bench: Bench, model: str, result: Result) -> None:
    seen = {way: bench.run(kind, model) for way, kind in WAYS.items() if way != "message" or model == "cheshire-cat"}
    own, again = seen.pop("own"), seen.pop("own again")
    stable = [mine.reply == other.reply and mine.asked == other.asked for mine, other in zip(own, again, strict=True)]
    result.is_stable = result.is_stable and stable[:1] == [True]
    if not all(stable):
        result.notes.append(
            f"{model}: not the same twice in the Cat's own chat, from turn {stable.index(False) + 1} on"
        )
    if extra := set().union(*(turn.extra for turn in own)):
        result.notes.append(f"{model}: no place in OpenAI's form for {', '.join(sorted(extra))}")
    if failed := [number for number, turn in enumerate(own, 1) if turn.reply.startswith(FAILED)]:
        result.notes.append(f"{model}: fails in the Cat's own chat too, turns {failed}")
    for way, turns in seen.items():
        result.cells.setdefault(way, 0)
        for column, text in compare(own, again, turns, way):
            result.cells[column] = result.cells.get(column, 0) + 1
            result.details.append(f"{model}, {text}")


def stop(cat: Cat) -> None:
    """A plugin's threads can keep a Cat from stopping."""
    try:
        cat.stop()
    except (subprocess.TimeoutExpired, AssertionError):
        print(f"  (the Cat did not stop by itself; its log is {cat.home}/log)", file=sys.stderr)


COLUMNS = ("whole", "streamed", "response", "message", "LLM", "steps", "errors")


def row(result: Result) -> str:
    def cell(column: str) -> str:
        count = result.cells.get(column)
        if not result.is_stable and not count:
            return "varies"
        return "same" if count == 0 or (count is None and column in COLUMNS[4:]) else str(count or "-")

    head = f"{result.plugin[:31]:31} {result.version[:11]:11}"
    return f"{head} {result.problem}" if result.problem else head + "".join(f" {cell(each):>8}" for each in COLUMNS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of plugins, or of one plugin")
    parser.add_argument("--only", default="", help="plugins whose folder's name contains this")
    parser.add_argument("--turns", type=Path, help="JSON: turns, or turns by plugin; see plugin_turns.json")
    parser.add_argument("--beside", type=Path, action="append", default=[], help="a plugin that others need")
    parser.add_argument("--install", action="store_true", help="let the Cat install what the plugins require")
    parser.add_argument("--keep", type=Path, help="an empty folder for the Cats, which stay there with their logs")
    options = parser.parse_args()
    given = json.loads(options.turns.read_text("utf-8")) if options.turns else None
    is_plugin = (options.folder / "plugin.json").is_file()
    sources = [options.folder] if is_plugin else sorted(each for each in options.folder.iterdir() if each.is_dir())
    sources = [each.resolve() for each in sources if options.only in each.name and not each.name.startswith(".")]
    results = []
    with ExitStack() as stack:
        upstream = Upstream.start(sys.executable)
        stack.callback(upstream.stop)
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        print(f"{'plugin':31} {'version':11}" + "".join(f" {column:>8}" for column in COLUMNS), flush=True)
        for source in sources:
            beside = [each.resolve() for each in options.beside]
            results.append(examine(source, upstream, folder, given, beside, install=options.install))
            print(row(results[-1]), flush=True)
    for result in results:
        for text in [*result.details, *(f"note: {note}" for note in result.notes)]:
            print(f"\n{result.plugin}: {text}")
    return int(any(result.details for result in results))


if __name__ == "__main__":
    sys.exit(main())
