"""Cheshire Cat 1.9: what reaches an LLM of each LangChain class of its panel, and what is heard of its reply.

A Python that has that Cat's LangChain sends requests to a provider of the tests' own (`Provider`) as the plugin does.
With `CAT=1.9` it is the real Cat's Python, and `cat` is the real one. Otherwise it is an environment with those
versions of LangChain, and `cat` is the double; which Cat the other tests start makes no difference here.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from client_environments import installed, python_for
from host import KEY, ROOT, WHICH, Cat, make_cat
from openai import OpenAI

Json = dict[str, Any]

DOUBLE = ROOT / "tests" / "double" / ".site"

ASKER = r"""
import asyncio, dataclasses, importlib, json, sys
from bridge.cat_openai_api.domain.conversation import Audio, File, Functions, Image, JsonFormat
from bridge.cat_openai_api.hosts.v1.chat_models import Parameters, accepts, stream_chat
from bridge.cat_openai_api.hosts.v1.chat_models import streams, supports_functions, supports_json_format
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

PARTS = {
    "png": Image("data:image/png;base64,iVBORw0KGgo="), "no image": Image("data:image/png;base64,/etc//passwd"),
    "audio": Audio("", "wav"), "pdf": File("data:application/pdf;base64,JVBERi0="),
}

def message(role, content, calls=(), call_id=""):
    if role == "system":
        return SystemMessage(content)
    if role == "user":
        return HumanMessage(name="Human", content=content)
    if role == "tool":
        return ToolMessage(content=content, tool_call_id=call_id, name="f")
    given = [{"id": id, "type": "function", "function": {"name": n, "arguments": a}} for id, n, a in calls]
    return AIMessage(name="AI", content=content, additional_kwargs={"tool_calls": given} if given else {})

class Own(BaseChatModel):
    # A plugin's own class: it says with what it was asked.
    _llm_type = "own"

    def bind_tools(self, tools, tool_choice=None, **kwargs):
        return self.bind(theirs=[tool["function"]["name"] for tool in tools], choice=tool_choice)

    def _generate(self, messages, stop=None, run_manager=None, **options):
        words = [f"{message.type}: {message.content}" for message in messages]
        content = [{"type": "text", "text": json.dumps(options)}, json.dumps(words)]
        made = AIMessage(content, tool_calls=[{"name": "g", "args": {}, "id": "1"}] if options else [])
        return ChatResult(generations=[ChatGeneration(message=made)])

async def answer(model, asked):
    functions, format = asked.get("functions"), asked.get("format")
    parameters = Parameters(
        asked.get("sampling", {}),
        functions and Functions({t["function"]["name"]: t for t in functions.pop("tools")}, **functions),
        format and JsonFormat(**format),
    )
    messages = [message(*each) for each in asked["messages"]]
    kept = [each.copy(deep=True) for each in messages]
    said = []
    try:
        async for piece in stream_chat(model, messages, asked.get("stop"), parameters, {}):
            assert isinstance(piece.generation.message.content, str)
            assert not piece.generation.message.tool_call_chunks
            fields = [field.name for field in dataclasses.fields(piece) if field.name != "generation"]
            told = {name: getattr(piece, name) for name in fields if getattr(piece, name)}
            if usage := told.get("usage"):
                told["usage"] = dataclasses.astuple(usage)
            said.append({"text": piece.generation.text, **told})
    except Exception as error:
        return {"error": type(error).__name__, "said": said}
    assert messages == kept
    return {"said": said}

def main(asked):
    module, name = asked["class"].rsplit(".", 1)
    model = getattr(importlib.import_module(module), name)(**asked["fields"])
    before = dict(vars(model))
    facts = {
        "streams": streams(model), "functions": supports_functions(model), "json": supports_json_format(model),
        "takes": [name for name, part in PARTS.items() if accepts(model, part)],
    }
    reply = {**asyncio.run(answer(model, asked)), **facts}
    assert before.keys() == vars(model).keys() and all(before[name] is vars(model)[name] for name in before)
    return reply

for line in sys.stdin:
    try:
        reply = main(json.loads(line))
    except Exception as error:
        reply = {"broken": repr(error)}
    print("\n>" + json.dumps(reply), flush=True)
"""

SAID = ["Cheshire ", "cats {grin}\n"]
USAGE = (11, 7, 18)


def sse(*events: Any) -> str:
    return "".join(
        f"event: {event.get('type', '')}\ndata: {json.dumps(event)}\n\n"
        if isinstance(event, dict)
        else f"data: {event}\n\n"
        for event in events
    )


class Provider:
    """Answers each request with the next of `replies`: status, media type, content. Keeps the requests' bodies."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, str, str]] = []
        self.requests: list[Json] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                provider.requests.append(json.loads(body))
                status, media_type, content = provider.replies.pop(0)
                self.send_response(status)
                self.send_header("content-type", media_type)
                self.send_header("content-length", str(len(content.encode())))
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()


class Asker:
    """A process of `python`, in which `cat` is the package in the folder `site`, that asks the provider."""

    def __init__(self, home: Path, provider: Provider, python: str, site: str) -> None:
        (home / "bridge").symlink_to(ROOT)
        (home / "asker.py").write_text(ASKER, "utf-8")
        self.provider = provider
        self.log = (home / "log").open("w+")
        self.process = subprocess.Popen(
            [python, "asker.py"],
            cwd=home,
            env={**os.environ, "PYTHONPATH": site, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def ask(self, kind: "Kind", *replies: tuple[int, str, str], fields: Json | None = None, **asked: Any) -> Json:
        """What was `said`, or the name of an `error`; what the model takes."""
        self.provider.replies = list(replies)
        self.provider.requests = []
        question = {
            "class": kind.path,
            "fields": {**kind.fields(self.provider.url), **(fields or {})},
            "messages": [("user", "hi")],
            **asked,
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith(">"):
                reply: Json = json.loads(line[1:])
                assert "broken" not in reply, reply
                return reply
        self.log.seek(0)
        raise AssertionError(self.log.read())

    def wire(self, kind: "Kind", **asked: Any) -> Json:
        """The body of the request."""
        reply = self.ask(kind, kind.whole() if asked.get("functions") and kind is OLLAMA else kind.stream(), **asked)
        assert "error" not in reply, reply
        (request,) = self.provider.requests
        return request


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    if WHICH == "1.9":
        python, site = os.environ["CAT_PYTHON"], os.environ["CAT_CORE"]
    else:
        with installed():
            # From Python 3.12.4 on LangChain 0.2 needs a later Pydantic than that Cat has.
            python, site = str(python_for("cat-1.9-langchain", "3.11")), str(DOUBLE)
    provider = Provider()
    asker = Asker(tmp_path_factory.mktemp("asker"), provider, python, site)
    yield asker
    asker.process.kill()
    asker.process.wait()
    provider.server.shutdown()


class Kind:
    """A class of the panel: how it is made, and how its provider replies."""

    path: str

    def fields(self, url: str) -> Json:
        raise NotImplementedError

    def stream(self, calls: bool = False) -> tuple[int, str, str]:
        """`SAID` in pieces, and the usage `USAGE`; or two calls."""
        raise NotImplementedError

    def whole(self, calls: bool = False) -> tuple[int, str, str]:
        raise NotImplementedError


OPENAI_USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
OLLAMA_END = {"done": True, "done_reason": "stop", "prompt_eval_count": 11, "eval_count": 7}


class OpenAIKind(Kind):
    path = "cat.factory.custom_llm.CustomOpenAI"

    def fields(self, url: str) -> Json:
        return {"url": f"{url}/v1", "model_name": "m", "api_key": "k", "temperature": 0.01, "streaming": True}

    @staticmethod
    def chunk(delta: Any, finish: str | None = None, **more: Any) -> Json:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
        return {
            "id": "x",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": choices,
            **more,
        }

    @staticmethod
    def calls() -> list[Json]:
        return [
            {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"index": 1, "id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]

    def stream(self, calls: bool = False) -> tuple[int, str, str]:
        pieces = [{"tool_calls": [call]} for call in self.calls()] if calls else [{"content": text} for text in SAID]
        chunks = [self.chunk({"role": "assistant", **piece}, system_fingerprint="fp") for piece in pieces]
        last = self.chunk({}, "tool_calls" if calls else "stop")
        return 200, "text/event-stream", sse(*chunks, last, self.chunk(None, usage=OPENAI_USAGE), "[DONE]")

    def whole(self, calls: bool = False) -> tuple[int, str, str]:
        message: Json = {"role": "assistant", "content": "".join(SAID)}
        if calls:
            message = {"role": "assistant", "content": None, "tool_calls": self.calls()}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
        body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return 200, "application/json", json.dumps({**body, "usage": OPENAI_USAGE, "system_fingerprint": "fp"})


class ChatGPTKind(OpenAIKind):
    path = "langchain_openai.ChatOpenAI"

    def fields(self, url: str) -> Json:
        return {"base_url": f"{url}/v1", "model_name": "m", "openai_api_key": "k", "streaming": True}


class AzureKind(OpenAIKind):
    path = "langchain_openai.AzureChatOpenAI"

    def fields(self, url: str) -> Json:
        version = {"openai_api_type": "azure", "openai_api_version": "2023-05-15"}
        return {"azure_endpoint": url, "azure_deployment": "d", "openai_api_key": "k", "streaming": True, **version}


class OllamaKind(Kind):
    path = "cat.factory.custom_llm.CustomOllama"

    def fields(self, url: str) -> Json:
        return {"base_url": url + "/", "model": "m", "num_ctx": 2048, "temperature": 0.8}

    def stream(self, calls: bool = False) -> tuple[int, str, str]:
        parts = [{"message": {"role": "assistant", "content": text}, "done": False} for text in SAID]
        parts.append({"message": {"role": "assistant", "content": ""}, **OLLAMA_END})
        return 200, "application/x-ndjson", "".join(json.dumps(part) + "\n" for part in parts)

    def whole(self, calls: bool = False) -> tuple[int, str, str]:
        message: Json = {"role": "assistant", "content": "".join(SAID)}
        if calls:
            made = [
                {"function": {"name": "f", "arguments": {"a": 1}}},
                {"function": {"name": "g", "arguments": {}}},
            ]
            message = {"role": "assistant", "content": "", "tool_calls": made}
        return 200, "application/json", json.dumps({"message": message, **OLLAMA_END})


class AnthropicKind(Kind):
    path = "langchain_anthropic.ChatAnthropic"

    def fields(self, url: str) -> Json:
        return {"base_url": url, "api_key": "k", "model": "m", "temperature": 0.7, "max_tokens": 8192}

    def stream(self, calls: bool = False) -> tuple[int, str, str]:
        message = {
            "id": "x",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [],
            "stop_reason": None,
        }
        events: list[Json] = [
            {"type": "message_start", "message": {**message, "usage": {"input_tokens": 11, "output_tokens": 1}}}
        ]
        text = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        events.append(text)
        for said in SAID:
            delta = {"type": "text_delta", "text": said}
            events.append({"type": "content_block_delta", "index": 0, "delta": delta})
        events.append({"type": "content_block_stop", "index": 0})
        for index, (name, pieces) in enumerate([("f", ['{"a"', ": 1}"]), ("g", ["{}"])] if calls else [], start=1):
            block = {"type": "tool_use", "id": f"call_{index}", "name": name, "input": {}}
            events.append({"type": "content_block_start", "index": index, "content_block": block})
            for piece in pieces:
                delta = {"type": "input_json_delta", "partial_json": piece}
                events.append({"type": "content_block_delta", "index": index, "delta": delta})
            events.append({"type": "content_block_stop", "index": index})
        end = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
        events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": 7}})
        return 200, "text/event-stream", sse(*events, {"type": "message_stop"})

    def whole(self, calls: bool = False) -> tuple[int, str, str]:
        content: list[Json] = [{"type": "text", "text": "".join(SAID)}]
        if calls:
            content.append({"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}})
            content.append({"type": "tool_use", "id": "call_2", "name": "g", "input": {}})
        message = {"id": "x", "type": "message", "role": "assistant", "model": "m", "content": content}
        end = {
            "stop_reason": "tool_use" if calls else "end_turn",
            "usage": {"input_tokens": 11, "output_tokens": 7},
        }
        return 200, "application/json", json.dumps({**message, **end})


class GoogleKind(Kind):
    path = "langchain_google_genai.ChatGoogleGenerativeAI"

    def fields(self, url: str) -> Json:
        """The panel has neither `transport` nor `client_options`: without them it would be gRPC, to Google."""
        local = {"transport": "rest", "client_options": {"api_endpoint": url}}
        return {"google_api_key": "k", "model": "m", "temperature": 0.1, "top_p": 1, "top_k": 1, **local}

    @staticmethod
    def part(parts: list[Json], tokens: int, finish: str | None = None) -> Json:
        end = {"finishReason": finish} if finish else {}
        usage = {"promptTokenCount": 11, "candidatesTokenCount": tokens, "totalTokenCount": 11 + tokens}
        return {"candidates": [{"content": {"role": "model", "parts": parts}, **end}], "usageMetadata": usage}

    def stream(self, calls: bool = False) -> tuple[int, str, str]:
        pieces: list[list[Json]] = [[{"text": text}] for text in SAID]
        if calls:
            pieces = [[{"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "g", "args": {}}}]]
        *first, last = pieces
        parts = [self.part(piece, 3) for piece in first] + [self.part(last, 7, "STOP")]
        return 200, "application/json", json.dumps(parts)


class CohereKind(Kind):
    path = "langchain_cohere.ChatCohere"

    def fields(self, url: str) -> Json:
        return {"base_url": f"{url}/v1", "cohere_api_key": "k", "model": "m", "temperature": 0.7, "streaming": True}

    @staticmethod
    def reply(calls: bool) -> Json:
        made = [{"name": "f", "parameters": {"a": 1}}, {"name": "g", "parameters": {}}]
        tokens = {"tokens": {"input_tokens": 11, "output_tokens": 7}}
        reply = {"text": "".join(SAID), "generation_id": "x", "finish_reason": "COMPLETE", "meta": tokens}
        return {**reply, "tool_calls": made} if calls else reply

    def stream(self, calls: bool = False) -> tuple[int, str, str]:
        events: list[Json] = [{"event_type": "stream-start", "generation_id": "x", "is_finished": False}]
        events += [{"event_type": "text-generation", "text": text, "is_finished": False} for text in SAID]
        end = {"event_type": "stream-end", "finish_reason": "COMPLETE", "is_finished": True}
        events.append({**end, "response": self.reply(calls)})
        return 200, "application/stream+json", "".join(json.dumps(event) + "\n" for event in events)

    def whole(self, calls: bool = False) -> tuple[int, str, str]:
        return 200, "application/json", json.dumps(self.reply(calls))


class OwnKind(Kind):
    path = "__main__.Own"

    def fields(self, url: str) -> Json:
        return {}


OPENAI, CHATGPT, AZURE = OpenAIKind(), ChatGPTKind(), AzureKind()
OLLAMA, ANTHROPIC, GOOGLE, COHERE = OllamaKind(), AnthropicKind(), GoogleKind(), CohereKind()
OPENAIS = [OPENAI, CHATGPT, AZURE]
ALL = [*OPENAIS, OLLAMA, ANTHROPIC, GOOGLE, COHERE]


def kinds(*of: Kind) -> Any:
    return pytest.mark.parametrize("kind", of, ids=lambda kind: type(kind).__name__.removesuffix("Kind").lower())


def text(reply: Json) -> str:
    return "".join(piece["text"] for piece in reply["said"])


def last_of(reply: Json, name: str) -> Any:
    found = [piece[name] for piece in reply["said"] if name in piece]
    return found[-1] if found else None


def calls_of(reply: Json) -> list[tuple[str, Any]]:
    """Name and arguments of the calls, their pieces put together by index."""
    calls: dict[int, list[str]] = {}
    for piece in reply["said"]:
        for index, id, name, arguments in piece.get("calls", ()):
            if name:
                assert id
                calls[index] = [name, ""]
            calls[index][1] += arguments or ""
    assert "1.0" not in str(calls)
    return [(name, json.loads(arguments)) for name, arguments in calls.values()]


@kinds(*ALL)
def test_a_reply_is_heard_piece_by_piece(asker: Asker, kind: Kind) -> None:
    reply = asker.ask(kind, kind.stream())
    assert reply["streams"] is True
    assert [piece["text"] for piece in reply["said"] if piece["text"]] == SAID
    assert tuple(last_of(reply, "usage")[:3]) == USAGE
    assert sum("usage" in piece for piece in reply["said"]) == 1
    assert last_of(reply, "finish_reason") == (None if kind is COHERE else "stop")


@kinds(*OPENAIS)
def test_what_langchain_leaves_out_is_heard(asker: Asker, kind: OpenAIKind) -> None:
    refusal = kind.chunk({"refusal": "No, "}), kind.chunk({"refusal": "thanks."}), kind.chunk({}, "content_filter")
    usage = kind.chunk(None, usage=OPENAI_USAGE, system_fingerprint="fp")
    reply = asker.ask(kind, (200, "text/event-stream", sse(*refusal, usage, "[DONE]")))
    assert "".join(piece.get("refusal", "") for piece in reply["said"]) == "No, thanks."
    assert last_of(reply, "usage") == [11, 7, 18, 3, 2]
    assert last_of(reply, "system_fingerprint") == "fp"
    assert last_of(reply, "finish_reason") == "content_filter"
    assert asker.provider.requests[0]["stream_options"] == {"include_usage": True}


@kinds(*OPENAIS, ANTHROPIC, COHERE)
def test_a_class_whose_stream_was_switched_off_replies_in_one_piece(asker: Asker, kind: Kind) -> None:
    for calls in (False, True):
        reply = asker.ask(kind, kind.whole(calls), fields={"streaming": False})
        (said,) = reply["said"]
        assert not asker.provider.requests[0].get("stream")
        assert tuple(said["usage"][:3]) == USAGE
        if calls:
            assert calls_of(reply) == [("f", {"a": 1}), ("g", {})]
            assert said.get("finish_reason") == (None if kind is COHERE else "tool_calls")
        else:
            assert said["text"] == "".join(SAID)
            assert said.get("finish_reason") == (None if kind is COHERE else "stop")


SAMPLING: Json = {
    "temperature": 1.5,
    "top_p": 0.5,
    "seed": 7,
    "presence_penalty": 0.25,
    "frequency_penalty": 1.5,
    "logit_bias": {"50256": -100},
    "reasoning_effort": "low",
}

ON_THE_WIRE: dict[Kind, Json] = {
    **dict.fromkeys(OPENAIS, SAMPLING),
    OLLAMA: {
        "options.temperature": 1.5,
        "options.top_p": 0.5,
        "options.seed": 7,
        "options.presence_penalty": 0.25,
        "options.frequency_penalty": 1.5,
    },
    ANTHROPIC: {"temperature": 1, "top_p": 0.5},
    GOOGLE: {"generationConfig.temperature": 1.5, "generationConfig.topP": 0.5},
    COHERE: {"temperature": 1.5, "p": 0.5, "seed": 7, "presence_penalty": 0.25, "frequency_penalty": 1},
}


def flat(body: Any, path: str = "") -> Json:
    """The fields of objects in objects, by their paths; but those of `logit_bias` are its value."""
    found: Json = {}
    for name, value in body.items():
        if isinstance(value, dict) and name != "logit_bias":
            found |= flat(value, f"{path}{name}.")
        else:
            found[path + name] = value
    return found


@kinds(*ALL)
def test_sampling_parameters_reach_the_provider_where_it_has_a_place_for_them(asker: Asker, kind: Kind) -> None:
    without, with_all = flat(asker.wire(kind)), flat(asker.wire(kind, sampling=SAMPLING))
    changed = {name: value for name, value in with_all.items() if without.get(name) != value}
    assert changed == ON_THE_WIRE[kind]
    assert without.keys() <= with_all.keys()


@kinds(*ALL)
def test_sampling_is_for_one_request(asker: Asker, kind: Kind) -> None:
    before = asker.wire(kind)
    asker.wire(kind, sampling=SAMPLING)
    assert asker.wire(kind) == before


@kinds(*ALL)
def test_stop_reaches_the_provider(asker: Asker, kind: Kind) -> None:
    assert ["END"] in flat(asker.wire(kind, stop=["END"])).values()


F: Json = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "F.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "description": "A."},
                "b": {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}]},
                "c": {"type": ["array", "null"], "items": {"type": "number"}},
            },
            "required": ["a", "b"],
            "additionalProperties": False,
            "$defs": {"B": {"type": "string", "enum": ["x", "y"]}},
        },
    },
}
G: Json = {"type": "function", "function": {"name": "g"}}
NAMED = {"type": "function", "function": {"name": "g"}}


def functions(choice: Any = "auto", parallel: bool | None = None) -> Json:
    return {"tools": [F, G], "choice": choice, "parallel": parallel}


@kinds(*ALL)
def test_a_class_of_the_panel_calls_functions(asker: Asker, kind: Kind) -> None:
    reply = asker.ask(
        kind, kind.whole(calls=True) if kind is OLLAMA else kind.stream(calls=True), functions=functions()
    )
    assert reply["functions"] is True
    assert calls_of(reply) == [("f", {"a": 1}), ("g", {})]
    assert last_of(reply, "finish_reason") == (None if kind is COHERE else "tool_calls")
    assert tuple(last_of(reply, "usage")[:3]) == USAGE
    assert text(reply) == ("".join(SAID) if kind in (ANTHROPIC, COHERE) else "")


def test_calls_of_a_server_that_does_not_count_them_are_told_apart(asker: Asker) -> None:
    calls = [{name: value for name, value in call.items() if name != "index"} for call in OPENAI.calls()]
    chunks = [OPENAI.chunk({"role": "assistant", "tool_calls": [call]}) for call in calls]
    reply = asker.ask(OPENAI, (200, "text/event-stream", sse(*chunks, OPENAI.chunk({}, "tool_calls"), "[DONE]")))
    assert calls_of(reply) == [("f", {"a": 1}), ("g", {})]


@kinds(*OPENAIS)
@pytest.mark.parametrize("choice", ["auto", "none", "required", NAMED], ids=str)
def test_openai_gets_the_tools_as_the_client_sent_them(asker: Asker, kind: Kind, choice: Any) -> None:
    body = asker.wire(kind, functions=functions(choice, parallel=False))
    assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == ([F, G], choice, False)
    assert "parallel_tool_calls" not in asker.wire(kind, functions=functions(choice))


def offered(kind: Kind, body: Json) -> list[str]:
    """Names of the functions in a request."""
    tools = body.get("tools") or []
    if kind is GOOGLE:
        tools = [function for tool in tools for function in tool["functionDeclarations"]]
    return [tool.get("function", tool)["name"] for tool in tools]


@kinds(OLLAMA, ANTHROPIC, GOOGLE, COHERE)
def test_no_function_is_offered_that_must_not_be_called(asker: Asker, kind: Kind) -> None:
    reply = asker.ask(kind, kind.stream(), functions=functions("none"))
    assert text(reply) == "".join(SAID)
    assert offered(kind, asker.provider.requests[0]) == []


@pytest.mark.parametrize(
    ("choice", "parallel", "there"),
    [
        ("auto", None, {"type": "auto"}),
        ("auto", False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", True, {"type": "any"}),
        (NAMED, False, {"type": "tool", "name": "g", "disable_parallel_tool_use": True}),
    ],
    ids=str,
)
def test_anthropics_tools(asker: Asker, choice: Any, parallel: bool | None, there: Json) -> None:
    body = asker.wire(ANTHROPIC, functions=functions(choice, parallel))
    tool_f = {"name": "f", "description": "F.", "input_schema": F["function"]["parameters"]}
    tool_g = {"name": "g", "description": "", "input_schema": {"type": "object", "properties": {}}}
    assert body["tools"] == ([tool_g] if choice == NAMED else [tool_f, tool_g])
    assert body["tool_choice"] == there


@pytest.mark.parametrize(
    ("choice", "there"),
    [
        ("auto", {"mode": "AUTO"}),
        ("required", {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        (NAMED, {"mode": "ANY", "allowedFunctionNames": ["g"]}),
    ],
    ids=str,
)
def test_googles_tools(asker: Asker, choice: Any, there: Json) -> None:
    body = asker.wire(GOOGLE, functions=functions(choice))
    modes = {1: "AUTO", 2: "ANY"}
    config = body["toolConfig"]["functionCallingConfig"]
    assert {**config, "mode": modes.get(config["mode"], config["mode"])} == there
    assert offered(GOOGLE, body) == (["g"] if choice == NAMED else ["f", "g"])
    if choice != NAMED:
        properties = body["tools"][0]["functionDeclarations"][0]["parameters"]["properties"]
        assert properties["b"] == {"type": properties["b"]["type"], "nullable": True, "enum": ["x", "y"]}
        assert properties["c"]["nullable"] is True
        assert "items" in properties["c"]


def schemas(properties: Json, **definitions: Any) -> Json:
    parameters = {"type": "object", "properties": properties, "$defs": definitions}
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


@kinds(GOOGLE, COHERE)
def test_a_schema_that_refers_to_itself_ends_and_one_that_explodes_is_refused(asker: Asker, kind: Kind) -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#/$defs/T"}, "right": {"$ref": "#/$defs/T"}}}
    assert "right" in json.dumps(asker.wire(kind, functions=schemas({"tree": {"$ref": "#/$defs/T"}}, T=tree)))
    bombs = {
        f"B{size}": {"properties": {f"p{i}": {"$ref": f"#/$defs/B{size + 1}"} for i in range(10)}} for size in range(9)
    }
    bomb = schemas({"b": {"$ref": "#/$defs/B0"}}, **bombs)
    assert asker.ask(kind, kind.stream(), functions=bomb)["error"] == "ValueError"
    assert asker.provider.requests == []


def test_coheres_tools(asker: Asker) -> None:
    tool_f, tool_g = asker.wire(COHERE, functions=functions())["tools"]
    assert tool_f["parameter_definitions"]["a"] == {"description": "A.", "type": "int", "required": True}
    assert tool_f["parameter_definitions"]["b"]["description"] == '{"enum": ["x", "y"], "nullable": true}'
    assert tool_f["parameter_definitions"]["c"]["type"] == "List"
    assert tool_f["parameter_definitions"]["c"]["required"] is False
    assert tool_g["description"] == "g"
    assert offered(COHERE, asker.wire(COHERE, functions=functions(NAMED))) == ["g"]


def test_ollamas_tools(asker: Asker) -> None:
    tools = asker.wire(OLLAMA, functions=functions())["tools"]
    assert tools[0] == F
    assert offered(OLLAMA, asker.wire(OLLAMA, functions=functions(NAMED))) == ["g"]


HISTORY = [
    ("system", "Be {brief}."),
    ("user", [{"type": "text", "text": "Both, please."}]),
    ("assistant", "", [("call_1", "f", '{"a":1}'), ("call_2", "g", "")]),
    ("tool", "one", (), "call_1"),
    ("tool", '{"two": 2}', (), "call_2"),
]


@kinds(*OPENAIS)
def test_openai_gets_calls_word_for_word(asker: Asker, kind: Kind) -> None:
    system, _, assistant, one, two = asker.wire(kind, messages=HISTORY, functions=functions())["messages"]
    assert system["content"] == "Be {brief}."
    assert [call["function"]["arguments"] for call in assistant["tool_calls"]] == ['{"a":1}', ""]
    assert assistant["content"] is None
    assert one == {"role": "tool", "tool_call_id": "call_1", "content": "one"}
    assert two["tool_call_id"] == "call_2"


def test_ollama_gets_calls_and_results(asker: Asker) -> None:
    _, user, assistant, one, _ = asker.wire(OLLAMA, messages=HISTORY, functions=functions())["messages"]
    assert user["content"] == "Both, please."
    assert [call["function"] for call in assistant["tool_calls"]] == [
        {"name": "f", "arguments": {"a": 1}},
        {"name": "g", "arguments": {}},
    ]
    assert (one["role"], one["content"], one["tool_call_id"]) == ("tool", "one", "call_1")


def test_anthropic_gets_calls_and_results(asker: Asker) -> None:
    body = asker.wire(ANTHROPIC, messages=HISTORY, functions=functions())
    assert body["system"] == "Be {brief}."
    _, assistant, results = body["messages"]
    assert assistant["content"] == [
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "call_2", "name": "g", "input": {}},
    ]
    assert [(block["type"], block["tool_use_id"], block["content"]) for block in results["content"]] == [
        ("tool_result", "call_1", "one"),
        ("tool_result", "call_2", '{"two": 2}'),
    ]


def test_google_gets_calls_and_results(asker: Asker) -> None:
    body = asker.wire(GOOGLE, messages=HISTORY, functions=functions())
    assert body["systemInstruction"]["parts"] == [{"text": "Be {brief}."}]
    assert [(message["role"], message["parts"]) for message in body["contents"]] == [
        ("user", [{"text": "Both, please."}]),
        ("model", [{"functionCall": {"name": "f", "args": {"a": 1}}}]),
        ("user", [{"functionResponse": {"name": "f", "response": {"output": "one"}}}]),
        ("model", [{"functionCall": {"name": "g", "args": {}}}]),
        ("user", [{"functionResponse": {"name": "g", "response": {"two": 2}}}]),
    ]


def test_cohere_gets_calls_and_results(asker: Asker) -> None:
    body = asker.wire(COHERE, messages=HISTORY, functions=functions())
    made = [{"name": "f", "parameters": {"a": 1}}, {"name": "g", "parameters": {}}]
    assert body["message"] == ""
    assert body["chat_history"] == [
        {"role": "SYSTEM", "message": "Be {brief}."},
        {"role": "USER", "message": "Both, please."},
        {"role": "CHATBOT", "message": "", "tool_calls": made},
    ]
    assert body["tool_results"] == [
        {"call": made[0], "outputs": [{"output": "one"}]},
        {"call": made[1], "outputs": [{"two": 2}]},
    ]


@kinds(*ALL)
def test_calls_of_the_past_need_no_functions_in_the_request(asker: Asker, kind: Kind) -> None:
    body = asker.wire(kind, messages=HISTORY)
    assert offered(kind, body) == []
    assert "two" in json.dumps(body)
    if kind in (ANTHROPIC, COHERE):
        assert "tool_use" not in json.dumps(body)
        assert not body.get("tool_results")
        assert "Result of f: one" in json.dumps(body)


@kinds(ANTHROPIC, GOOGLE)
def test_empty_messages_and_late_system_messages_are_mended(asker: Asker, kind: Kind) -> None:
    messages = [("user", "hi"), ("assistant", ""), ("system", "Late."), ("user", []), ("user", "there")]
    body = asker.wire(kind, messages=messages)
    assert "Late." in json.dumps(body.get("system") or body["systemInstruction"])
    assert all(message.get("content") or message.get("parts") for message in body.get("messages") or body["contents"])


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
ANY_OBJECT: Json = {"response_format": {"type": "json_object"}}
BY_SCHEMA: Json = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
    "schema": SCHEMA,
}
JSON_FIELDS: dict[Kind, tuple[str, Any, Any]] = {
    **dict.fromkeys(OPENAIS, ("response_format", ANY_OBJECT["response_format"], BY_SCHEMA["response_format"])),
    OLLAMA: ("format", "json", SCHEMA),
    GOOGLE: ("generationConfig", "application/json", "application/json"),
    COHERE: ("response_format", {"type": "json_object"}, {"type": "json_object", "schema": SCHEMA}),
}


@kinds(*JSON_FIELDS)
def test_json_is_asked_for_in_the_providers_field(asker: Asker, kind: Kind) -> None:
    name, *expected = JSON_FIELDS[kind]
    for format, there in zip((ANY_OBJECT, BY_SCHEMA), expected, strict=True):
        found = asker.wire(kind, format=format)[name]
        assert (found["responseMimeType"] if kind is GOOGLE else found) == there
        if kind not in OPENAIS:
            both = asker.wire(kind, format=format, functions=functions())
            assert there not in (both.get(name), (both.get(name) or {}).get("responseMimeType"))


@kinds(*ALL)
def test_the_prompt_has_to_ask_for_json_except_with_openai(asker: Asker, kind: Kind) -> None:
    assert asker.ask(kind, kind.stream())["json"] is (kind in OPENAIS)


def refusal(status: int, field: str) -> tuple[int, str, str]:
    return status, "application/json", json.dumps({"error": {"message": f"Unknown field: {field}"}})


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("streaming", [True, False])
def test_what_a_server_refuses_is_left_out(asker: Asker, status: int, streaming: bool) -> None:
    answer = OPENAI.stream() if streaming else OPENAI.whole()
    refused = [refusal(status, "response_format"), refusal(status, "parallel_tool_calls")]
    if streaming:
        refused.append(refusal(status, "stream_options"))
    asked = {"format": BY_SCHEMA, "functions": functions(parallel=False), "messages": HISTORY}
    reply = asker.ask(OPENAI, *refused, answer, fields={"streaming": streaming}, **asked)
    first, *_, last = asker.provider.requests
    assert len(asker.provider.requests) == len(refused) + 1
    assert text(reply) == "".join(SAID)
    assert {"response_format", "parallel_tool_calls"} <= first.keys()
    assert not {"response_format", "parallel_tool_calls", "stream_options"} & last.keys()
    assert json.dumps(SCHEMA, separators=(",", ":")) in last["messages"][0]["content"]
    assert last["messages"][0]["content"].startswith("Be {brief}.")
    assert [message["role"] for message in last["messages"]] == [message["role"] for message in first["messages"]]


def test_an_old_ollama_gets_no_schema(asker: Asker) -> None:
    reply = asker.ask(
        OLLAMA, (400, "text/plain", "cannot unmarshal object into format"), OLLAMA.stream(), format=BY_SCHEMA
    )
    assert text(reply) == "".join(SAID)
    assert [request["format"] for request in asker.provider.requests] == [SCHEMA, "json"]


@pytest.mark.parametrize(
    ("sampling", "left"),
    [({"top_p": 0.5}, {"top_p": 0.5}), ({"top_p": 0.5, "temperature": 0.2}, {"temperature": 0.2})],
    ids=str,
)
def test_an_anthropic_model_that_takes_one_of_two_gets_one(asker: Asker, sampling: Json, left: Json) -> None:
    refused = refusal(400, "`temperature` and `top_p` cannot both be specified")
    asker.ask(ANTHROPIC, refused, ANTHROPIC.stream(), sampling=sampling)
    first, second = asker.provider.requests
    assert {"temperature", "top_p"} <= first.keys()
    assert {name: second[name] for name in ("temperature", "top_p") if name in second} == left


@kinds(*ALL)
def test_any_other_refusal_is_an_error(asker: Asker, kind: Kind) -> None:
    reply = asker.ask(kind, *[refusal(400, "model")] * 3, sampling=SAMPLING, format=ANY_OBJECT)
    assert reply["error"]
    assert reply["said"] == []
    # Google's class asks twice.
    assert len({json.dumps(request) for request in asker.provider.requests}) == 1


@kinds(*ALL)
def test_what_is_no_llm_is_an_error(asker: Asker, kind: Kind) -> None:
    page = (200, "text/html", "<html><body>Please log in</body></html>")
    assert asker.ask(kind, page)["error"]
    if kind in (*OPENAIS, COHERE):
        assert asker.ask(kind, page, fields={"streaming": False})["error"]


TAKES: dict[Kind, tuple[str, ...]] = {
    **dict.fromkeys(OPENAIS, ("png", "no image", "audio", "pdf")),
    OLLAMA: ("png",),
    ANTHROPIC: ("png", "no image", "pdf"),
    GOOGLE: ("png", "no image"),
    COHERE: (),
}
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
PDF = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}}
TXT = {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}}
WAV = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}


@kinds(*ALL)
def test_the_parts_that_a_class_takes(asker: Asker, kind: Kind) -> None:
    assert asker.ask(kind, kind.stream())["takes"] == list(TAKES[kind])


def parts(asker: Asker, kind: Kind, *content: Json) -> Any:
    """How the parts of a message look on the wire."""
    words = {"type": "text", "text": "Look:"}
    body = asker.wire(kind, messages=[("system", "Be brief."), ("user", [words, *content])])
    message = (body.get("contents") or body["messages"])[-1]
    return message if kind is OLLAMA else (message.get("parts") or message["content"])[1:]


@kinds(*OPENAIS)
def test_openai_gets_parts_as_the_client_sent_them(asker: Asker, kind: Kind) -> None:
    assert parts(asker, kind, PNG, PDF, WAV) == [PNG, PDF, WAV]


def test_images_and_documents_in_each_providers_form(asker: Asker) -> None:
    image, document, letter = parts(asker, ANTHROPIC, PNG, PDF, TXT)
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    assert document["source"] == {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    assert document["title"] == "a.pdf"
    assert letter["source"] == {"type": "text", "media_type": "text/plain", "data": "hi"}
    assert parts(asker, GOOGLE, PNG) == [{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]
    message = parts(asker, OLLAMA, PNG)
    assert message["images"] == ["iVBORw0KGgo="]
    assert message["content"].strip() == "Look:"


def test_no_image_makes_ollamas_client_read_a_file(asker: Asker) -> None:
    forged = {"type": "image_url", "image_url": {"url": "data:image/png;base64,/etc//passwd"}}
    assert asker.ask(OLLAMA, OLLAMA.stream(), messages=[("user", [forged])])["error"] == "ValueError"
    assert asker.provider.requests == []


def test_a_prompt_that_google_blocks_ends_as_filtered(asker: Asker) -> None:
    blocked = [{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 11}}]
    reply = asker.ask(GOOGLE, (200, "application/json", json.dumps(blocked)))
    assert text(reply) == ""
    assert last_of(reply, "finish_reason") == "content_filter"


@pytest.mark.parametrize(
    ("kind", "theirs", "ours"),
    [
        (OPENAI, "stop", "length"),
        (OLLAMA, "stop", "length"),
        (ANTHROPIC, "end_turn", "max_tokens"),
        (GOOGLE, "STOP", "MAX_TOKENS"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_reply_that_the_provider_cut_says_so(asker: Asker, kind: Kind, theirs: str, ours: str) -> None:
    status, media_type, content = kind.stream()
    reply = asker.ask(kind, (status, media_type, content.replace(f'"{theirs}"', f'"{ours}"')))
    assert last_of(reply, "finish_reason") == "length"


def test_a_class_that_is_not_in_the_panel_is_asked_in_langchains_words(asker: Asker) -> None:
    own = OwnKind()
    reply = asker.ask(own, functions=functions(NAMED), sampling=SAMPLING, format=ANY_OBJECT)
    assert (reply["streams"], reply["functions"], reply["json"]) == (False, True, False)
    assert reply["takes"] == ["png", "no image"]
    assert text(reply) == '{"theirs": ["g"], "choice": "g"}["human: hi"]'
    assert calls_of(reply) == [("g", {})]
    told = text(asker.ask(own, messages=HISTORY, sampling=SAMPLING))
    assert told.startswith("{}")
    assert "human: Result of f: one" in told


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.server.shutdown()


@pytest.fixture(scope="module")
def cat_of(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cat]:
    """A Cat of which the panel points at the provider."""
    cat = make_cat(tmp_path_factory.mktemp("models") / "home").start(ANTHROPIC_BASE_URL=provider.url)
    yield cat
    cat.stop()


@pytest.mark.skipif(WHICH != "1.9", reason="the double's panel has no other LLMs than OpenAI's")
@pytest.mark.parametrize(
    ("kind", "panel"),
    [
        (OLLAMA, "LLMOllamaConfig"),
        (ANTHROPIC, "LLMAnthropicChatConfig"),
    ],
    ids=["ollama", "anthropic"],
)
def test_from_a_client_to_the_provider_and_back(cat_of: Cat, provider: Provider, kind: Kind, panel: str) -> None:
    values = {"model": "m", **({"base_url": provider.url} if kind is OLLAMA else {"api_key": "k"})}
    cat_of.http.put(f"/llm/settings/{panel}", json=values).raise_for_status()
    client = OpenAI(base_url=cat_of.base_url, api_key=KEY, max_retries=0)
    asked: Any = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.25}

    provider.replies, provider.requests = [kind.stream(), kind.stream()], []
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == "".join(SAID)
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == USAGE[:2]
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert [text for chunk in chunks if (text := chunk.choices[0].delta.content)] == SAID
    place = "options.temperature" if kind is OLLAMA else "temperature"
    assert [flat(body)[place] for body in provider.requests] == [0.25, 0.25]

    provider.replies = [kind.whole(calls=True) if kind is OLLAMA else kind.stream(calls=True)]
    choice = client.chat.completions.create(**asked, tools=[F, G]).choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = [call.function for call in choice.message.tool_calls or () if call.type == "function"]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("f", {"a": 1}), ("g", {})]
