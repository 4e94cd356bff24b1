"""The upstream LLM of the test suite: an OpenAI-compatible server whose replies are scripted in the requests.

The last message of role "user" carries the script, on a line of its own; where that message is empty or missing, the
last message with a script does (see `script`)::

    @upstream {"tag": "t1", "turns": [{"tool_calls": [{"name": "clock"}]}, {"say": ["It is ", "5"]}]}

The index of the turn to play is the number of assistant messages after that user message, so the request that follows
a tool's result gets the second turn; the last turn repeats. A script with a single turn may have its fields next to
`tag` instead of `turns`. `Turn` lists the fields. Without a script the reply is derived from the request, see
`improvised`: calls of the functions that the user's message names, an instance of the schema, or the user's message
itself, word by word. The server has no state between requests, so any number of them can run at the same time.

Embeddings are word counts, so texts that share words have similar vectors. A script on a line of one of the texts has
one turn, for all of the texts: its failures, delays and usage apply.

Under `/_test` the server returns the requests that reached it, see `Journal`. `Upstream` starts the server in a test.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import math
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any, ClassVar, Literal

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

Json = dict[str, Any]
Ending = Literal["finished", "left", "failed"]
State = Literal["running"] | Ending

SCRIPT_MARK = "@upstream "
SECRET = "SECRET-PROVIDER-DETAIL"
"""Part of every error message of the provider; it must never reach the clients of a Cat."""

BAD_AUTHORIZATION = "Bearer bad-key"
MODELS = ("test-model", "test-embedder")
EMBEDDING_SIZE = 256
MAX_RECORDS = 20_000

JSON_TYPE = b"application/json"
HTML_TYPE = b"text/html; charset=utf-8"
EVENT_STREAM_TYPE = b"text/event-stream; charset=utf-8"

COMPACT = json.JSONEncoder(separators=(",", ":"))


def script(text: str = "", /, **fields: object) -> str:
    """A user message with `text` and a script of `fields` for the upstream LLM."""
    line = SCRIPT_MARK + json.dumps(fields)
    return f"{text}\n{line}" if text else line


class Upstream:
    """The server in a separate process, with a synchronous interface for tests.

    A record is `{"tag", "body", "headers", "chunks_sent", "state"}`. `chunks_sent` counts the chunks that
    carry text or parts of a tool call; it stays 0 when the reply is not streamed.
    """

    def __init__(self, process: subprocess.Popen[str], base_url: str) -> None:
        self.base_url = base_url
        self._process = process
        reports_url = base_url.removesuffix("/v1") + "/_test"
        self._reports = httpx.Client(base_url=reports_url, timeout=30, trust_env=False)

    @classmethod
    def start(cls, python: str) -> Upstream:
        """Start the server with the interpreter `python`, which needs starlette, uvicorn and httpx."""
        # A file, because a pipe that nobody reads would fill up while the server runs.
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                [python, __file__, "--port", "0"], stdout=subprocess.PIPE, stderr=errors, text=True
            )
            return cls(process, _announced_url(process, errors))

    def requests(self, tag: str | None = None) -> list[Json]:
        """The records of the requests with this tag (without a tag: of all requests), in order of arrival."""
        response = self._reports.get("/requests", params=_without_none(tag=tag))
        return self._records(response.raise_for_status())

    def wait(
        self, tag: str | None, count: int = 1, state: State | Literal["ended"] = "ended", timeout: float = 10
    ) -> list[Json]:
        """The tag's records as soon as `count` of them are in `state`; "ended" is any state but "running"."""
        params = _without_none(tag=tag, count=count, state=state, timeout=timeout)
        response = self._reports.get("/wait", params=params, timeout=timeout + 10)
        if response.status_code == 408:
            raise AssertionError(f"no {count} request(s) of tag {tag!r} {state} within {timeout} s: {response.text}")
        return self._records(response.raise_for_status())

    def open_requests(self) -> int:
        """How many requests are running now."""
        return int(self._reports.get("/open").raise_for_status().json()["open"])

    def stop(self) -> None:
        """End the process, with all requests that are still running."""
        self._reports.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _stdout(self._process).close()

    @staticmethod
    def _records(response: httpx.Response) -> list[Json]:
        records: list[Json] = response.json()
        return records


def _announced_url(process: subprocess.Popen[str], errors: IO[str]) -> str:
    line = _stdout(process).readline()
    if not line:
        status = process.wait()
        errors.seek(0)
        raise RuntimeError(f"the upstream died with status {status}:\n{errors.read()}")
    return str(json.loads(line)["base_url"])


def _stdout(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def _without_none(**params: str | float | None) -> dict[str, str | float]:
    return {name: value for name, value in params.items() if value is not None}


@dataclass(frozen=True)
class Turn:
    """The response to one request.

    "Chunks" are those that carry a piece of text or a part of a tool call, not the ones that frame the reply.
    """

    say: str | list[str] = field(default_factory=list)
    """The text, each string a chunk (a token, for `max_tokens` and the usage)."""
    repeat: int = 1
    """How many times the strings of `say` are repeated."""
    tool_calls: list[Json] = field(default_factory=list)
    """Each `{"name", "arguments", "id"?}`; arguments given as a string are sent unchanged."""
    refusal: str | list[str] = field(default_factory=list)
    """The text of a refusal, in chunks like those of `say`."""
    first_delay: float = 0
    """Seconds before the response, also before a failure."""
    delay: float = 0
    """Seconds between chunks. A reply that is not streamed takes as long as all its chunks would."""
    fail_status: int | None = None
    """Answer with this HTTP status."""
    fail_body: Any = None
    """The response's body instead of OpenAI's error object; a string is sent unchanged."""
    break_after: int | None = None
    """Drop the connection after so many chunks, or after the last if there are fewer."""
    error_after: int | None = None
    """Send an error event after so many chunks and end the response properly. Not streamed: status 500."""
    rubbish: bool = False
    """Answer 200 with HTML, as a captive portal does."""
    hang: bool = False
    """Never answer."""
    finish_reason: str | None = None
    reported_usage: Json | None = None
    usage: bool = True
    """False: report no usage, even if the request asks for it."""
    system_fingerprint: str | None = "fp_upstream"
    """None leaves it out, as many servers do."""
    reject: list[str] = field(default_factory=list)
    """Answer 400 to a request that has one of these fields, like a server that does not support them."""

    def pieces(self) -> list[str]:
        return as_list(self.say) * self.repeat


def as_list(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def error_body(status: int, message: str) -> Json:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": f"{SECRET}: {message}", "type": kind, "param": None, "code": None}}


def failure(status: int, message: str) -> Turn:
    return Turn(fail_status=status, fail_body=error_body(status, message))


def turn_for(body: Any, authorization: str | None) -> tuple[str | None, Turn]:
    """The tag and the turn for a request; for an invalid request or script, a turn with a 400."""
    try:
        tag, turn = scripted_turn(body)
        completions = int(body.get("n") or 1)
    except (TypeError, ValueError, LookupError, AttributeError) as problem:
        return None, failure(400, f"no valid request or script: {problem!r}")
    if authorization == BAD_AUTHORIZATION:
        return tag, failure(401, "incorrect API key provided")
    if completions > 1:
        return tag, failure(400, "this model gives one completion at a time")
    unknown = next((name for name in turn.reject if name in body), None)
    if unknown is not None:
        return tag, failure(400, f"Unrecognized request argument supplied: {unknown}")
    return tag, turn


def scripted_turn(body: Json) -> tuple[str | None, Turn]:
    messages = body["messages"]
    asked = max((at for at, message in enumerate(messages) if message["role"] == "user"), default=None)
    texts = [] if asked is None else message_texts(messages[asked])
    fields = script_in(texts)
    if fields is None and not any(texts):
        fields = next(filter(None, (script_in(message_texts(message)) for message in reversed(messages))), None)
    if fields is None:
        return None, improvised(body, "".join(texts), messages[asked:])
    tag = fields.pop("tag", None)
    turns = fields.pop("turns", None)
    if turns is None:
        return tag, Turn(**fields)
    if fields:
        raise ValueError(f"{sorted(fields)} beside turns")
    played = sum(message["role"] == "assistant" for message in messages[asked:])
    return tag, Turn(**turns[min(played, len(turns) - 1)])


def text_of(message: Json) -> str:
    """All of a message's text, which may be a string, parts or nothing."""
    return "".join(message_texts(message))


def message_texts(message: Json) -> list[str]:
    content = message.get("content") or []
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content if part.get("type") == "text"]


def script_in(texts: list[str]) -> Json | None:
    for text in texts:
        for line in text.split("\n"):
            if line.startswith(SCRIPT_MARK):
                return {**json.loads(line.removeprefix(SCRIPT_MARK))}
    return None


def words(text: str) -> list[str]:
    """The words of a text, each with the whitespace before it, so that joined they are the text."""
    return re.findall(r"\s*\S+|\s+", text)


def improvised(body: Json, text: str, since: list[Json]) -> Turn:
    """The turn for a request without a script. `text`: of the last user message. `since`: the messages from it on.

    - A `tool_choice` of "required" or of a function is obeyed. With "auto" the LLM calls each function that the text
      names (`get_time`, or "the time") and that `since` has no call of. Arguments are numbers and quoted words of the
      text, in order.
    - When there is nothing more to call, the reply has the results of the calls, or else repeats the text.
    - With a response format the reply is an instance of the schema, or an object with the text's quoted words.
    """
    complaint = complaint_about(body)
    if complaint is not None:
        return failure(400, complaint)
    values = Values(text)
    calls = improvised_calls(body, text, since, values)
    if calls:
        return Turn(tool_calls=calls)
    json_value = improvised_json(body.get("response_format") or {}, text, values)
    results = [text_of(message) for message in since if message["role"] == "tool"]
    return Turn(say=words(json_value or "\n".join(results) or text))


def complaint_about(body: Json) -> str | None:
    """The error message that OpenAI has for invalid functions or results in a request; None if they are valid."""
    if not body.get("tools"):
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) is not None:
                return f"'{name}' is only allowed when 'tools' are specified."
    open_calls: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_calls:
                return "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
            open_calls.remove(message["tool_call_id"])
        elif open_calls:
            break
        else:
            open_calls = [call["id"] for call in message.get("tool_calls") or []]
    return f"No tool messages respond to the tool_call_ids {open_calls}." if open_calls else None


def improvised_calls(body: Json, text: str, since: list[Json], values: Values) -> list[Json]:
    functions = [tool["function"] for tool in body.get("tools") or [] if tool["type"] == "function"]
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        choice, names = chosen(choice)
        functions = [function for function in functions if function["name"] in names]
        if len(functions) < len(names):
            raise ValueError(f"tool_choice {names} is not among the tools")
    calls_made = [call for message in since for call in message.get("tool_calls") or []]
    names_made = {call["function"]["name"] for call in calls_made}
    fresh = [function for function in functions if function["name"] not in names_made]
    for call in calls_made:
        values.discard_used(call["function"]["arguments"])
    called = [] if choice == "none" else named_in(text, fresh)
    if choice == "required":
        called = called or (fresh or functions)[:1]
    if body.get("parallel_tool_calls") is False:
        called = called[:1]
    return [{"name": f["name"], "arguments": values.fitting(f.get("parameters") or {})} for f in called]


def chosen(choice: Json) -> tuple[str, list[str]]:
    """The mode and the function names of a `tool_choice` that is an object."""
    if choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        return allowed["mode"], [tool["function"]["name"] for tool in allowed["tools"]]
    return "required", [choice["function"]["name"]]


def named_in(text: str, functions: list[Json]) -> list[Json]:
    """The functions whose names are in the text; if there are none, those of whose names all longer words are."""
    said = parts_of_names(text)
    return [f for f in functions if re.search(rf"(?<!\w){re.escape(f['name'])}(?!\w)", text)] or [
        f for f in functions if significant_parts(f["name"]) <= said
    ]


def significant_parts(name: str) -> set[str]:
    parts = parts_of_names(name)
    return {part for part in parts if len(part) > 3 or part.isdigit()} or parts or {name}


def parts_of_names(text: str) -> set[str]:
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", text)}


def improvised_json(response_format: Json, text: str, values: Values) -> str | None:
    kind = response_format.get("type", "text")
    if kind == "text":
        return None
    if kind == "json_schema":
        value = values.fitting(response_format["json_schema"].get("schema") or {})
    else:
        value = {word: word for word in quoted(text)} or {"text": text}
    return json.dumps(value, ensure_ascii=False)


def quoted(text: str) -> list[str]:
    return [one or other for one, other in re.findall(r"(?<!\w)'([^'\n]+)'(?!\w)|\"([^\"\n]+)\"", text)]


class Values:
    """Small values that fit JSON schemas. Numbers and quoted words of a text are used first, if they fit."""

    FORMATS: ClassVar = {
        "date": "2020-02-29",
        "date-time": "2020-02-29T12:00:00Z",
        "duration": "P1D",
        "email": "cat@example.com",
        "hostname": "example.com",
        "ipv4": "192.0.2.1",
        "ipv6": "2001:db8::1",
        "time": "12:00:00Z",
        "uri": "https://example.com/",
        "uuid": "00000000-0000-4000-8000-000000000000",
    }
    DEPTH = 8
    """From this level on the last option of a choice is taken: in recursive schemas it is usually null."""

    def __init__(self, text: str) -> None:
        self._text = text.lower()
        self._numbers: list[float] = [
            float(number) if "." in number else int(number)
            for number in re.findall(r"(?<![\w.-])-?\d+(?:\.\d+)?", text)
        ]
        self._words = quoted(text)
        self._root: Json = {}

    def fitting(self, schema: Json) -> Any:
        """An instance of the schema, which is that of an object unless it has another type."""
        self._root = schema
        return self._of(schema if {"$ref", "allOf", "anyOf"} & schema.keys() else {"type": "object", **schema}, "", 0)

    def discard_used(self, arguments: str) -> None:
        """Remove the values of an earlier call from those of the text."""
        with suppress(ValueError):
            given = json.loads(arguments)
            for value in given.values() if isinstance(given, dict) else []:
                for stock in (self._words, self._numbers):
                    if value in stock:
                        stock.remove(value)

    def _of(self, schema: Any, name: str, depth: int) -> Any:
        schema = self._plain(schema)
        choice = 0 if depth < self.DEPTH else -1
        options = schema.get("anyOf") or schema.get("oneOf")
        if options:
            return self._of(options[choice], name, depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            said = (one for one in schema["enum"] if isinstance(one, str) and one.lower() in self._text)
            return next(said, schema["enum"][0])
        kind = as_list(schema.get("type", "object" if "properties" in schema else "null"))[choice]
        if kind in ("object", "array"):
            return getattr(self, f"_{kind}")(schema, name, depth + 1)
        values = {"string": self._string, "integer": self._integer, "number": self._number}
        return values[kind](schema, name) if kind in values else {"boolean": False, "null": None}[kind]

    def _object(self, schema: Json, _name: str, depth: int) -> Json:
        fields = schema.get("properties", {})
        return {name: self._of(fields.get(name), name, depth) for name in schema.get("required", [])}

    def _array(self, schema: Json, name: str, depth: int) -> list[Any]:
        first = schema.get("prefixItems", [])
        others = [schema.get("items")] * (schema.get("minItems", 0) - len(first))
        return [self._of(item, name, depth) for item in [*first, *others]]

    def _plain(self, schema: Any) -> Json:
        """The schema with its `$ref` and `allOf` merged into it."""
        if not isinstance(schema, dict):
            return {}
        plain = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        referred = [self._at(schema["$ref"])] if "$ref" in schema else []
        for part in map(self._plain, [*schema.get("allOf", []), *referred]):
            fields = {**part.get("properties", {}), **plain.get("properties", {})}
            required = [*part.get("required", []), *plain.get("required", [])]
            plain = {**part, **plain, **({"properties": fields, "required": required} if fields else {})}
        return plain

    def _at(self, pointer: str) -> Any:
        found: Any = self._root
        for key in pointer.removeprefix("#").split("/")[1:]:
            found = found[key.replace("~1", "/").replace("~0", "~")]
        return found

    def _integer(self, schema: Json, name: str) -> int:
        return int(self._number({"multipleOf": 1, **schema}, name))

    def _number(self, schema: Json, _name: str) -> float:
        step = schema.get("multipleOf", 1)
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low))
        lowest, highest = math.ceil(low / step) * step, math.floor(high / step) * step
        made = [0, lowest, lowest + step, highest, highest - step, (low + high) / 2]
        number = next(n for n in [*self._numbers, *made] if is_within(n, schema))
        if number in self._numbers:
            self._numbers.remove(number)
        return number

    def _string(self, schema: Json, name: str) -> str:
        ready = self.FORMATS.get(schema.get("format", ""))
        if ready:
            return ready
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        for word in self._words:
            if least <= len(word) and word[:most] == word and re.search(schema.get("pattern", ""), word):
                self._words.remove(word)
                return word
        return (name or "text").ljust(least, ".")[:most]


def is_within(number: float, schema: Json) -> bool:
    return (
        schema.get("minimum", -math.inf) <= number <= schema.get("maximum", math.inf)
        and schema.get("exclusiveMinimum", -math.inf) < number < schema.get("exclusiveMaximum", math.inf)
        and ("multipleOf" not in schema or number % schema["multipleOf"] == 0)
    )


@dataclass(frozen=True)
class Reply:
    """The reply of a turn, within the limits of the request."""

    pieces: list[str]
    refusal: list[str]
    tool_calls: list[Json]
    finish_reason: str
    usage: Json | None
    system_fingerprint: str | None

    def chunk_count(self) -> int:
        return len(self.pieces) + len(self.refusal) + sum(1 for call in self.tool_calls for _ in tool_call_parts(call))


def compose(turn: Turn, body: Json) -> Reply:
    pieces, cut = limited(turn.pieces(), body)
    tool_calls = [] if cut else [openai_tool_call(call) for call in turn.tool_calls]
    finish_reason = turn.finish_reason or cut or ("tool_calls" if tool_calls else "stop")
    refusal = as_list(turn.refusal)
    prompt = sum(len(text.split()) for message in body["messages"] for text in message_texts(message))
    usage = turn.reported_usage or {
        "prompt_tokens": prompt,
        "completion_tokens": len(pieces) + len(refusal),
        "total_tokens": prompt + len(pieces) + len(refusal),
    }
    reported = usage if turn.usage else None
    return Reply(pieces, refusal, tool_calls, finish_reason, reported, turn.system_fingerprint)


def limited(pieces: list[str], body: Json) -> tuple[list[str], str | None]:
    """The pieces up to the token limit and the first stop sequence, and the finish reason if something was cut."""
    allowed = pieces[: body.get("max_completion_tokens") or body.get("max_tokens")]
    stops = body.get("stop") or []
    kept = before_stop(allowed, [stops] if isinstance(stops, str) else stops)
    if kept is not None:
        return kept, "stop"
    return allowed, "length" if len(allowed) < len(pieces) else None


def before_stop(pieces: list[str], stops: Iterable[str]) -> list[str] | None:
    text = "".join(pieces)
    end = min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)
    if end is None:
        return None
    kept = []
    for piece in pieces:
        if end <= 0:
            break
        kept.append(piece[:end])
        end -= len(piece)
    return kept


def openai_tool_call(call: Json) -> Json:
    arguments = call.get("arguments", {})
    return {
        "id": call.get("id") or f"call_{uuid.uuid4().hex}",
        "type": "function",
        "function": {
            "name": call["name"],
            "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
        },
    }


def encode(value: Any) -> bytes:
    """JSON in ASCII, which unlike UTF-8 can represent lone surrogates from a request."""
    return COMPACT.encode(value).encode("ascii")


def event(value: Any) -> bytes:
    return b"data: " + encode(value) + b"\n\n"


class Wire:
    """Encodes a reply in OpenAI's form."""

    def __init__(self, body: Json, reply: Reply) -> None:
        self._reply = reply
        self._identity = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": body.get("model"),
        }
        if reply.system_fingerprint is not None:
            self._identity["system_fingerprint"] = reply.system_fingerprint
        asked = bool((body.get("stream_options") or {}).get("include_usage"))
        self._include_usage = asked and reply.usage is not None

    def completion(self) -> bytes:
        message: Json = {"role": "assistant", "content": "".join(self._reply.pieces), "refusal": None}
        if self._reply.refusal:
            message |= {"content": message["content"] or None, "refusal": "".join(self._reply.refusal)}
        if self._reply.tool_calls:
            message |= {"content": message["content"] or None, "tool_calls": self._reply.tool_calls}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self._reply.finish_reason,
        }
        completion = {**self._identity, "object": "chat.completion", "choices": [choice]}
        return encode(completion if self._reply.usage is None else {**completion, "usage": self._reply.usage})

    def opening(self) -> bytes:
        return self._delta({"role": "assistant", "content": "", "refusal": None})

    def chunks(self) -> Iterator[bytes]:
        encoded: dict[str, bytes] = {}
        for piece in self._reply.pieces:
            if piece not in encoded:
                encoded[piece] = self._delta({"content": piece})
            yield encoded[piece]
        for piece in self._reply.refusal:
            yield self._delta({"refusal": piece})
        for index, call in enumerate(self._reply.tool_calls):
            for part in tool_call_parts(call):
                yield self._delta({"tool_calls": [{"index": index, **part}]})

    def closing(self) -> bytes:
        last = self._delta({}, self._reply.finish_reason)
        usage = self._chunk([], self._reply.usage) if self._include_usage else b""
        return last + usage + b"data: [DONE]\n\n"

    def _delta(self, delta: Json, finish_reason: str | None = None) -> bytes:
        return self._chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}])

    def _chunk(self, choices: list[Json], usage: Json | None = None) -> bytes:
        chunk = {**self._identity, "object": "chat.completion.chunk", "choices": choices}
        return event({**chunk, "usage": usage} if self._include_usage else chunk)


def tool_call_parts(call: Json) -> Iterator[Json]:
    function = call["function"]
    arguments = function["arguments"]
    middle = len(arguments) // 2
    yield {**call, "function": {**function, "arguments": ""}}
    for half in (arguments[:middle], arguments[middle:]):
        yield {"function": {"arguments": half}}


@dataclass
class Exchange:
    """One request and its outcome. Its attributes are the record that tests get."""

    tag: str | None
    body: Any
    headers: dict[str, str]
    chunks_sent: int = 0
    state: State = "running"


class Journal:
    """The last requests, in order of arrival.

    An exchange is "finished" when its reply was sent completely, "left" when the client closed the connection before
    that, and "failed" when it got an error or a broken reply, scripted or not.
    """

    def __init__(self) -> None:
        self.open = 0
        self._changed = asyncio.Condition()
        self._all: deque[Exchange] = deque()
        self._by_tag: dict[str | None, deque[Exchange]] = {}

    async def begin(self, exchange: Exchange) -> None:
        self.open += 1
        self._keep(exchange)
        if len(self._all) > MAX_RECORDS:
            self._forget_oldest()
        await self.notify()

    def end(self, exchange: Exchange, state: Ending) -> None:
        """Set the final state; later calls have no effect. The caller must call `notify` afterwards."""
        if exchange.state == "running":
            self.open -= 1
            exchange.state = state

    async def notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def records(self, tag: str | None) -> list[Json]:
        return [vars(exchange) for exchange in self._of(tag)]

    async def until(self, tag: str | None, count: int, state: str) -> None:
        def reached() -> bool:
            return sum(self._is(exchange, state) for exchange in self._of(tag)) >= count

        async with self._changed:
            await self._changed.wait_for(reached)

    def forget_ended(self) -> None:
        running = [exchange for exchange in self._all if exchange.state == "running"]
        self._all.clear()
        self._by_tag.clear()
        for exchange in running:
            self._keep(exchange)

    def _of(self, tag: str | None) -> Iterable[Exchange]:
        return self._all if tag is None else self._by_tag.get(tag, ())

    @staticmethod
    def _is(exchange: Exchange, state: str) -> bool:
        return exchange.state != "running" if state == "ended" else exchange.state == state

    def _keep(self, exchange: Exchange) -> None:
        self._all.append(exchange)
        self._by_tag.setdefault(exchange.tag, deque()).append(exchange)

    def _forget_oldest(self) -> None:
        oldest = self._all.popleft()
        same_tag = self._by_tag[oldest.tag]
        same_tag.popleft()
        if not same_tag:
            del self._by_tag[oldest.tag]


class Answer:
    """Sends the response of a turn to the client of one exchange."""

    def __init__(self, turn: Turn, exchange: Exchange, send: Send) -> None:
        self._turn = turn
        self._exchange = exchange
        self._send = send

    async def play(self) -> Ending:
        turn = self._turn
        await asyncio.sleep(turn.first_delay)
        if turn.hang:
            await asyncio.Event().wait()
        if turn.fail_status is not None:
            return await self._fail(turn.fail_status)
        if turn.rubbish:
            page = f"<html><body>{SECRET}: please log in</body></html>".encode()
            await self._respond(200, HTML_TYPE, page)
            return "failed"
        return await self._reply()

    async def _reply(self) -> Ending:
        turn = self._turn
        reply = compose(turn, self._exchange.body)
        wire = Wire(self._exchange.body, reply)
        if self._exchange.body.get("stream"):
            return await self._stream(wire)
        await asyncio.sleep(turn.delay * (reply.chunk_count() - 1))
        return await self._complete(wire)

    async def _fail(self, status: int) -> Ending:
        body = self._turn.fail_body
        if body is None:
            body = error_body(status, "the provider failed, as scripted")
        await self._respond(status, JSON_TYPE, body.encode() if isinstance(body, str) else encode(body))
        return "failed"

    async def _complete(self, wire: Wire) -> Ending:
        if self._turn.error_after is not None:
            return await self._fail(500)
        content = wire.completion()
        if self._turn.break_after is not None:
            await self._start(200, JSON_TYPE, length=len(content))
            await self._write(content[: len(content) // 2])
            return "failed"
        await self._respond(200, JSON_TYPE, content)
        return "finished"

    async def _stream(self, wire: Wire) -> Ending:
        turn, exchange = self._turn, self._exchange
        await self._start(200, EVENT_STREAM_TYPE)
        await self._write(wire.opening())
        until = turn.error_after if turn.break_after is None else turn.break_after
        for chunk in islice(wire.chunks(), until):
            if exchange.chunks_sent:
                # Even a delay of 0 lets other requests run, and makes each chunk a separate write.
                await asyncio.sleep(turn.delay)
            await self._write(chunk)
            exchange.chunks_sent += 1
        if turn.break_after is not None:
            return "failed"
        if turn.error_after is not None:
            await self._write(event(error_body(500, "the provider failed in mid-stream")), more=False)
            return "failed"
        await self._write(wire.closing(), more=False)
        return "finished"

    async def _respond(self, status: int, media_type: bytes, content: bytes) -> None:
        await self._start(status, media_type, length=len(content))
        await self._write(content, more=False)

    async def _start(self, status: int, media_type: bytes, length: int | None = None) -> None:
        headers = [(b"content-type", media_type)]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _write(self, content: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": more})


class ChatCompletions:
    """The chat endpoint, as a plain ASGI application, which can break off a response.

    When an application returns before its response is complete, uvicorn drops the connection.
    """

    turn_for: ClassVar[Callable[[Any, str | None], tuple[str | None, Turn]]] = staticmethod(turn_for)
    answer: ClassVar[type[Answer]] = Answer

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = parsed(await request.body())
        tag, turn = self.turn_for(body, request.headers.get("authorization"))
        exchange = Exchange(tag, body, dict(request.headers))
        await self._journal.begin(exchange)
        playing = asyncio.create_task(self._play(turn, exchange, send))
        leaving = asyncio.create_task(client_left(receive))
        try:
            await asyncio.wait({playing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            # The end of the response also ends `client_left`.
            if playing.done():
                playing.result()
            else:
                self._journal.end(exchange, "left")
        finally:
            playing.cancel()
            leaving.cancel()
            await self._journal.notify()

    async def _play(self, turn: Turn, exchange: Exchange, send: Send) -> None:
        ending: Ending = "failed"
        try:
            ending = await self.answer(turn, exchange, send).play()
        finally:
            # Nothing runs between the last write and this: a client that has the whole reply finds the record ended.
            self._journal.end(exchange, ending)


async def client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def json_response(value: Any, status: int = 200) -> Response:
    return Response(encode(value), status, media_type="application/json")


def is_refused(request: Request) -> bool:
    return request.headers.get("authorization") == BAD_AUTHORIZATION


async def list_models(request: Request) -> Response:
    if is_refused(request):
        return json_response(error_body(401, "incorrect API key provided"), 401)
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "tests"} for name in MODELS]
    return json_response({"object": "list", "data": models})


def embeddings_turn_for(body: Any, authorization: str | None) -> tuple[str | None, Turn]:
    try:
        inputs = embedding_inputs(body["input"])
        fields = script_in([value for value in inputs if isinstance(value, str)]) or {}
        tag, turn = fields.pop("tag", None), Turn(**fields)
    except (TypeError, ValueError, LookupError, AttributeError) as problem:
        return None, failure(400, f"no valid request or script: {problem!r}")
    if authorization == BAD_AUTHORIZATION:
        return tag, failure(401, "incorrect API key provided")
    unknown = next((name for name in turn.reject if name in body), None)
    if unknown is not None:
        return tag, failure(400, f"This model does not support specifying {unknown}.")
    return tag, turn


def embedding_inputs(given: Any) -> list[str | list[int]]:
    """The inputs as a list: OpenAI accepts a text, a list of token ids, and lists of either."""
    is_single = isinstance(given, str) or all(isinstance(item, int) for item in given)
    return [given] if is_single else given


def embedding(value: str | list[int], size: int, *, as_base64: bool) -> list[float] | str:
    """A vector of length 1: counts of the words, each at an index from the word's hash. Numbers are 32-bit floats."""
    counts = [0.0] * size
    for word in re.findall(r"\w+", value.lower()) if isinstance(value, str) else value:
        place = hashlib.blake2b(encode(word), digest_size=8).digest()
        counts[int.from_bytes(place, "big") % size] += 1
    length = math.hypot(*counts) or 1
    packed = struct.pack(f"<{size}f", *(count / length for count in counts))
    return base64.b64encode(packed).decode() if as_base64 else [*struct.unpack(f"<{size}f", packed)]


class EmbeddingsAnswer(Answer):
    async def _reply(self) -> Ending:
        body, turn = self._exchange.body, self._turn
        inputs = embedding_inputs(body["input"])
        size, as_base64 = body.get("dimensions", EMBEDDING_SIZE), body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": embedding(value, size, as_base64=as_base64)}
            for index, value in enumerate(inputs)
        ]
        tokens = sum(len(value.split() if isinstance(value, str) else value) for value in inputs)
        usage = turn.reported_usage or {"prompt_tokens": tokens, "total_tokens": tokens}
        reply = {"object": "list", "data": data, "model": body.get("model")}
        await self._respond(200, JSON_TYPE, encode({**reply, "usage": usage} if turn.usage else reply))
        return "finished"


class Embeddings(ChatCompletions):
    """The embeddings endpoint."""

    turn_for = staticmethod(embeddings_turn_for)
    answer = EmbeddingsAnswer


class Reports:
    """The endpoints that tests use to get the records."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def requests(self, request: Request) -> Response:
        return json_response(self._journal.records(request.query_params.get("tag")))

    async def forget(self, _request: Request) -> Response:
        self._journal.forget_ended()
        return Response(status_code=204)

    async def open(self, _request: Request) -> Response:
        return json_response({"open": self._journal.open})

    async def wait(self, request: Request) -> Response:
        query = request.query_params
        tag = query.get("tag")
        waiting = self._journal.until(tag, int(query.get("count", "1")), query.get("state", "ended"))
        try:
            await asyncio.wait_for(waiting, float(query.get("timeout", "10")))
        except asyncio.TimeoutError:
            return json_response(self._journal.records(tag), 408)
        return json_response(self._journal.records(tag))


def application() -> Starlette:
    journal = Journal()
    reports = Reports(journal)
    routes = [
        Route("/v1/chat/completions", ChatCompletions(journal), methods=["POST"]),
        Route("/v1/models", list_models),
        Route("/v1/embeddings", Embeddings(journal), methods=["POST"]),
        Route("/_test/requests", reports.requests),
        Route("/_test/requests", reports.forget, methods=["DELETE"]),
        Route("/_test/wait", reports.wait),
        Route("/_test/open", reports.open),
    ]
    # In debug mode the response to a mistake in this file or a script has the traceback.
    return Starlette(debug=True, routes=routes)


def listening_socket(port: int, backlog: int) -> socket.socket:
    # asyncio sends small writes at once (TCP_NODELAY) only on sockets that name their protocol.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(backlog)
    return listener


def main() -> None:
    parser = argparse.ArgumentParser(description="The upstream LLM of the test suite.")
    parser.add_argument("--port", type=int, default=0, help="0: a free port")
    port = parser.parse_args().port
    # uvicorn re-raises the signal that stopped it, so that a normal stop would look like a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        application(),
        lifespan="off",
        ws="none",
        log_level="critical",
        access_log=False,
        # Never close an idle connection that a client is about to use again.
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=0,
    )
    config.load()
    listener = listening_socket(port, config.backlog)
    print(json.dumps({"base_url": f"http://127.0.0.1:{listener.getsockname()[1]}/v1"}), flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
