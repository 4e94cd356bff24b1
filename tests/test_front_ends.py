"""Requests of chat front ends that cannot run in the tests, and what these front ends need in the response.

Each request is the one that the named version of the front end sends, read in its source or recorded. Clients from
PyPI and npm run in test_clients.py.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from host import KEY, WHICH, Cat, needs_memory
from upstream import Upstream, script, text_of

BEARER = {"Authorization": f"Bearer {KEY}"}
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
)
ULID = "01JD8Z3V9Q6T0F2M4K7XN5PBCW"
UUID = "574574e0-e7c3-4860-b867-caff70878b3d"

# What OpenAI's SDK for JavaScript adds to each request; in a browser each makes the preflight ask for it.
STAINLESS = {
    "X-Stainless-Arch": "unknown",
    "X-Stainless-Lang": "js",
    "X-Stainless-OS": "Unknown",
    "X-Stainless-Package-Version": "4.104.0",
    "X-Stainless-Retry-Count": "0",
    "X-Stainless-Runtime": "browser:chrome",
    "X-Stainless-Runtime-Version": "138.0.0",
    "X-Stainless-Timeout": "600",
}
OPEN_WEBUI = {
    "Accept": "*/*",
    "User-Agent": "Python/3.11 aiohttp/3.14.5",
    "X-OpenWebUI-Auth-Type": "jwt",
    "X-OpenWebUI-Chat-Id": "50f39417-8f6f-404f-aed3-5ce29a1a37fc",
    "X-OpenWebUI-User-Email": "alice%40example.com",
    "X-OpenWebUI-User-Id": UUID,
    "X-OpenWebUI-User-Name": "Alice",
    "X-OpenWebUI-User-Role": "admin",
}


@pytest.fixture
def http(cat: Cat) -> httpx.Client:
    """Plain HTTP to the base URL with the key, and with no header that a front end does not send."""
    return httpx.Client(base_url=cat.base_url, headers=BEARER, timeout=30)


# They list the models.


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        pytest.param(OPEN_WEBUI, {}, id="Open WebUI 0.12.4"),
        pytest.param({"Content-Type": "application/json", "x-api-key": KEY}, {}, id="Jan 0.6.4"),
        pytest.param({"User-Agent": "axios/1.8.2"}, {"user": UUID}, id="LibreChat with userIdQuery"),
        pytest.param({"api-key": KEY, "Content-Type": "application/json"}, {}, id="Continue 1.3.40"),
        pytest.param({"OpenAI-Organization": ""}, {}, id="n8n"),
    ],
)
def test_the_request_for_models_is_answered(http: httpx.Client, headers: dict[str, str], query: dict[str, str]) -> None:
    listed = http.get("/models", headers=headers, params=query)
    assert listed.status_code == 200
    assert listed.headers["content-type"].startswith("application/json")
    page = listed.json()
    assert page["object"] == "list"
    assert "cheshire-cat" in [model["id"] for model in page["data"]]
    for model in page["data"]:
        # LobeChat takes a number of thirteen digits for milliseconds.
        assert isinstance(model["created"], int)
        assert len(str(model["created"])) == 10


# They chat.


@dataclass(frozen=True)
class Chat:
    """A request: fields beside model and messages, the messages around the user's text, and headers."""

    fields: dict[str, Any] = field(default_factory=dict)
    messages: Callable[[str], list[dict[str, Any]]] = lambda text: [{"role": "user", "content": text}]
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, text: str) -> dict[str, Any]:
        return {"model": "cheshire-cat", "messages": self.messages(text), **self.fields}


def with_system(system: str) -> Callable[[str], list[dict[str, Any]]]:
    return lambda text: [
        {"role": "system", "content": system},
        {"role": "user", "content": text},
    ]


def function(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": name, "description": "Something", "parameters": parameters}}


def cached(text: str) -> dict[str, Any]:
    """A text part with a field that is Anthropic's."""
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}


USAGE = {"stream_options": {"include_usage": True}}
NO_SAMPLING = {"presence_penalty": 0, "frequency_penalty": 0, "top_p": 1}

CHATS = {
    "Open WebUI 0.12.4": Chat(
        {"stream": True, "tools": [function(f"tool_{number}") for number in range(36)]}, headers=OPEN_WEBUI
    ),
    "AnythingLLM 1.16.0": Chat(
        {"stream": True, "temperature": 0.7, "max_tokens": 1024},
        with_system("Given the following conversation, relevant context, and a follow up question, reply."),
        {"User-Agent": "AnythingLLM/1.16.0"},
    ),
    "SillyTavern 1.12.6": Chat(
        {"stream": True, "temperature": 1, "max_tokens": 300, "stop": [], "logit_bias": {}, **NO_SAMPLING},
        lambda text: [
            {"role": "system", "content": "Write Seraphina's next reply in a chat between Alice and Seraphina."},
            {"role": "system", "content": "[Start a new Chat]"},
            {"role": "assistant", "content": '*You wake with a start.* "Ah, you\'re awake."'},
            {"role": "user", "content": text},
        ],
    ),
    "LobeChat": Chat(
        {"stream": True, "temperature": 1, **NO_SAMPLING, **USAGE},
        headers={"Accept": "*/*", "Origin": "https://lobechat.com", **STAINLESS},
    ),
    "LibreChat": Chat({"stream": True, "user": UUID, **USAGE}, headers={"X-Stainless-Lang": "js", "X-User-Id": UUID}),
    "Chatbox 0.10": Chat({"stream": True, "temperature": 0.7, "top_p": 1}, with_system("You are a helpful assistant.")),
    "Roo Code 3.18": Chat(
        {"stream": True, "temperature": 0, "max_completion_tokens": 8192, **USAGE},
        lambda text: [
            {"role": "system", "content": [cached("You are Roo, an expert software debugger.")]},
            {"role": "user", "content": [cached(text)]},
        ],
        {"HTTP-Referer": "https://github.com/RooVetGit/Roo-Cline", "X-Title": "Roo Code"},
    ),
    "Continue 1.3.40": Chat(
        {"stream": True, "max_tokens": 4096, **USAGE},
        lambda text: [
            {"role": "system", "content": "<important_rules>\n  You are in chat mode.\n</important_rules>"},
            {"role": "user", "content": [{"type": "text", "text": text}]},
        ],
        {"Accept": "application/json", "api-key": KEY, "x-api-key": KEY},
    ),
    "Zed": Chat(
        {
            "stream": True,
            "max_completion_tokens": 8192,
            "temperature": 1.0,
            "tool_choice": "auto",
            "parallel_tool_calls": False,
            "tools": [function("read_file"), function("terminal")],
            "prompt_cache_key": UUID,
            **USAGE,
        },
        with_system("You are a highly skilled software engineer."),
    ),
    "Home Assistant, Local OpenAI LLM 1.11.1": Chat(
        {
            "stream": True,
            "temperature": 0.6,
            "parallel_tool_calls": True,
            "metadata": {"session_id": ULID},
            "chat_template_kwargs": {"enable_thinking": False},
        },
        lambda text: [
            {"role": "system", "content": "You are a voice assistant for Home Assistant."},
            {"role": "user", "content": [{"type": "text", "text": text}]},
        ],
        {"HTTP-Referer": "https://github.com/skye-harris/hass_local_openai_llm", "X-Title": "Home Assistant"},
    ),
    "Dify, OpenAI-API-compatible 0.0.63": Chat(
        {"stream": True, "temperature": 0.7, "user": UUID, **USAGE},
        with_system("Be brief."),
        {"Accept-Charset": "utf-8"},
    ),
    "n8n, no maximum": Chat({"stream": True, "max_tokens": -1, "temperature": 0.7}),
}


def events(reply: httpx.Response) -> list[dict[str, Any]]:
    """The chunks of a stream that has come to its end."""
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    *data, done = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    return [json.loads(line) for line in data]


@pytest.mark.parametrize("front_end", CHATS)
def test_the_chat_request_is_streamed(http: httpx.Client, upstream: Upstream, tag: str, front_end: str) -> None:
    chat = CHATS[front_end]
    text = script("Hello", tag=tag, say=["Good", " day"])
    chunks = events(http.post("/chat/completions", json=chat.body(text), headers=chat.headers))
    usages = [chunk for chunk in chunks if not chunk["choices"]]
    assert len(usages) == ("stream_options" in chat.fields)
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    deltas = [choice["delta"] for choice in choices]
    # Chatbox adds up whatever is not undefined: a null would be read out.
    assert "".join(delta["content"] for delta in deltas if "content" in delta) == "Good day"
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
    (record,) = upstream.wait(tag)
    *_, asked = record["body"]["messages"]
    assert text_of(asked) == text
    said_before = [text_of(message) for message in chat.messages(text)[:-1]]
    reached = "\n".join(text_of(message) for message in record["body"]["messages"])
    assert not [words for words in said_before if words not in reached]


def test_a_front_end_that_disconnects_at_the_finish_reason_has_the_whole_reply(
    http: httpx.Client, upstream: Upstream, tag: str
) -> None:
    """AnythingLLM reads neither the chunk with usage nor [DONE]."""
    body = CHATS["AnythingLLM 1.16.0"].body(script("Hello", tag=tag, say=["Good", " day"]))
    said = ""
    with http.stream("POST", "/chat/completions", json=body) as reply:
        for line in reply.iter_lines():
            choice = json.loads(line[6:])["choices"][0] if line.startswith("data: {") else None
            said += choice["delta"].get("content", "") if choice else ""
            if choice and choice["finish_reason"]:
                break
    assert said == "Good day"
    (record,) = upstream.wait(tag)
    assert record["state"] == "finished"


# They check the connection, as soon as its fields are filled in.


def test_difys_check_of_a_model(http: httpx.Client) -> None:
    ping = {
        "model": "cheshire-cat",
        "max_tokens": 5,
        "thinking": {"type": "disabled"},
        "messages": [{"role": "user", "content": "ping"}],
    }
    checked = http.post("/chat/completions", json=ping)
    assert checked.status_code == 200
    assert checked.json()["object"] == "chat.completion"


def test_a_wrong_key_and_a_wrong_url_are_different_sdk_errors(cat: Cat) -> None:
    """Home Assistant's integrations tell them apart by the SDK's exception class."""
    with httpx.Client(base_url=cat.base_url) as http:
        for headers in ({"Authorization": "Bearer sk-xxx"}, {"Authorization": "Bearer null"}, {}):
            refused = http.get("/models", headers=headers)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"


# They call functions of their own.

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOLS = [{"type": "function", "function": WEATHER}]
QUESTION = {"role": "user", "content": "How is the weather in 'Oslo'?"}

CALLERS = {
    "Open WebUI 0.12.4": (
        {"stream": True, "tools": TOOLS},
        lambda call: [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "Oslo: rain"},
        ],
    ),
    "AnythingLLM 1.16.0": (
        {"stream": True, "tools": TOOLS},
        lambda call: [
            {"role": "assistant", "content": None, "reasoning_content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "Oslo: rain"},
        ],
    ),
    "Home Assistant, Extended OpenAI Conversation 2.0.0": (
        {"tools": TOOLS, "tool_choice": "auto", "user": ULID, "top_p": 1, "temperature": 0.5, "max_tokens": 150},
        lambda call: [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "name": "get_weather", "content": "Oslo: rain"},
        ],
    ),
    "Home Assistant, Local OpenAI LLM 1.11.1": (
        {"stream": True, "tools": TOOLS, "parallel_tool_calls": True, "temperature": 0.6},
        lambda call: [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "Oslo: rain"},
        ],
    ),
    "Zed": (
        {"stream": True, "tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": False, **USAGE},
        lambda call: [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": [{"type": "text", "text": "Oslo: rain"}]},
        ],
    ),
}


def message_in(reply: httpx.Response) -> dict[str, Any]:
    """The message of a reply, whole or streamed."""
    assert reply.status_code == 200, reply.text
    if reply.headers["content-type"].startswith("application/json"):
        message: dict[str, Any] = reply.json()["choices"][0]["message"]
        return message
    deltas = [chunk["choices"][0]["delta"] for chunk in events(reply) if chunk["choices"]]
    text = "".join(delta.get("content") or "" for delta in deltas)
    calls: dict[int, dict[str, Any]] = {}
    for part in (part for delta in deltas for part in delta.get("tool_calls", [])):
        call = calls.setdefault(part["index"], {"function": {"arguments": ""}})
        call |= {name: part[name] for name in ("id", "type") if name in part}
        arguments = call["function"]["arguments"] + part["function"].get("arguments", "")
        call["function"] |= {**part["function"], "arguments": arguments}
    return {"content": text, "tool_calls": list(calls.values())}


@pytest.mark.parametrize("front_end", CALLERS)
def test_a_function_of_the_front_end_is_called(http: httpx.Client, front_end: str) -> None:
    fields, answered = CALLERS[front_end]
    body = {"model": "cheshire-cat", **fields}
    (call,) = message_in(http.post("/chat/completions", json={**body, "messages": [QUESTION]}))["tool_calls"]
    assert call["type"] == "function"
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
    told_so = http.post("/chat/completions", json={**body, "messages": [QUESTION, *answered(call)]})
    assert message_in(told_so)["content"] == "Oslo: rain"


def test_a_function_result_without_its_call(http: httpx.Client) -> None:
    """Extended OpenAI Conversation 2.0.0 with its option "Use Tools" off."""
    fields = {"functions": [WEATHER], "function_call": "auto", "user": ULID}
    body = {"model": "cheshire-cat", **fields}
    asked = http.post("/chat/completions", json={**body, "messages": [QUESTION]}).json()["choices"][0]
    assert asked["finish_reason"] == "function_call"
    assert asked["message"]["function_call"]["name"] == "get_weather"
    result = {"role": "function", "name": "get_weather", "content": "Oslo: rain"}
    told_so = http.post("/chat/completions", json={**body, "messages": [QUESTION, result]})
    assert message_in(told_so)["content"] == "Oslo: rain"


# They show pictures.


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(
            lambda text: [
                {
                    "type": "text",
                    "text": '<attached_files>\n<file type="file" name="cat.png"/>\n</attached_files>\n\n',
                },
                {"type": "text", "text": text},
                {"type": "image_url", "image_url": {"url": PICTURE}},
            ],
            id="Open WebUI 0.12.4",
        ),
        pytest.param(
            lambda text: [
                {"type": "text", "text": text},
                {"type": "image_url", "image_url": {"url": PICTURE, "detail": "high"}},
            ],
            id="AnythingLLM 1.16.0",
        ),
        pytest.param(
            lambda text: [
                {"type": "image_url", "image_url": {"url": PICTURE, "detail": "auto"}},
                {"type": "text", "text": text},
            ],
            id="Local OpenAI LLM 1.11.1",
        ),
    ],
)
def test_an_image_reaches_the_llm(
    http: httpx.Client, upstream: Upstream, tag: str, parts: Callable[[str], list[dict[str, Any]]]
) -> None:
    content = parts(script("What is it?", tag=tag, say="A cat."))
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": content}]}
    assert message_in(http.post("/chat/completions", json=body))["content"] == "A cat."
    (record,) = upstream.wait(tag)
    assert PICTURE in json.dumps(record["body"])


# They put documents beside the question.


@needs_memory
def test_a_question_about_documents_is_no_background_task(
    http: httpx.Client, upstream: Upstream, tag: str, somebody: str
) -> None:
    """In Open WebUI 0.12.4 it begins like a background task."""
    question = (
        "### Task:\nRespond to the user query using the provided context, incorporating inline citations in the "
        'format [id] **only when the <source> tag includes an explicit id attribute** (e.g., <source id="1">).\n\n'
        '<context>\n<source id="1" name="note.txt">The watch is slow.</source>\n</context>\n\n'
        f"How slow is {tag}?"
    )
    asked = {"model": "cheshire-cat:mirror" if WHICH == "2" else "cheshire-cat"}
    headers = {**OPEN_WEBUI, "X-OpenWebUI-User-Id": somebody}
    for text in (question, script("[memories] What do you know?", tag=tag, say="ok")):
        body = {**asked, "messages": [{"role": "user", "content": text}]}
        http.post("/chat/completions", json=body, headers=headers).raise_for_status()
    (record,) = upstream.wait(tag)
    assert tag in text_of(record["body"]["messages"][0])


# They run in a browser, on a page that is not the Cat's.

ORIGINS = {
    "LobeChat, requests from the client": ("https://lobechat.com", ["authorization", "content-type", *STAINLESS]),
    "Chatbox's web page": ("https://web.chatboxai.app", ["authorization", "content-type"]),
    "Obsidian, Copilot 4.0.2": ("app://obsidian.md", ["authorization", "content-type", *STAINLESS]),
    "a page opened as a file": ("null", ["authorization", "content-type"]),
}


@pytest.mark.parametrize("front_end", ORIGINS)
def test_a_browser_gets_the_cors_headers_it_needs(cat: Cat, front_end: str) -> None:
    origin, wanted = ORIGINS[front_end]
    asking = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": ",".join(sorted(name.lower() for name in wanted)),
    }
    address = f"{cat.base_url}/chat/completions"
    preflight = httpx.options(address, headers=asking)
    assert preflight.status_code in (200, 204)
    assert preflight.headers["access-control-allow-origin"] in ("*", origin)
    assert "POST" in preflight.headers["access-control-allow-methods"]
    allowed = preflight.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
    assert {name.lower() for name in wanted} <= set(allowed)
    body = {"model": "cheshire-cat", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    for key, status in ((KEY, 200), ("wrong", 401)):
        # Without the header on an error, the page could not say what is wrong.
        reply = httpx.post(address, json=body, headers={"Origin": origin, "Authorization": f"Bearer {key}"})
        assert reply.status_code == status
        assert reply.headers["access-control-allow-origin"] in ("*", origin)
