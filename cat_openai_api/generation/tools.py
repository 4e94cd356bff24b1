"""The client's tools of every type, and the functions that stand for them at the LLM.

The Cats and their LLMs know functions only. So a custom tool is offered as a function of one text, and the tools of a
namespace under names that have the namespace in front. The calls go back to the client as calls of its own tools.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ..domain.conversation import CallChoice, Functions, ToolCall
from ..domain.events import CallDelta
from ..errors import invalid
from ..wire.custom_input import INPUT, InputDecoder, encode_input
from ..wire.json import JsonObject
from ..wire.parameters import Grammar

ToolType: TypeAlias = Literal["function", "custom", "tool_search"]
"""`tool_search`: the client's own search for more tools, which it offers when the LLM has found them."""

TOOL_SEARCH = "tool_search"
"""The name of its function."""

MAX_FUNCTIONS = 512
"""The client's functions at the LLM, those of all namespaces together. OpenAI gives no limit for namespaces."""

MAX_FUNCTION_NAME_LENGTH = 64
"""Characters (OpenAI API reference, "Chat Completions", `tools[].function.name`)."""

MAX_LEFT_OUT = 16
"""Names of tools that were left out, in a response header of limited size."""

MAX_TYPE_LENGTH = 64

HASH_LENGTH = 8

NO_ALLOWED_TOOL = "the Cat has none of these tools; allow a function or a custom tool"


@dataclass(frozen=True)
class ClientTool:
    """A tool as the client knows it. `namespace`: empty for a tool that is in none. A search has a name as well."""

    type: ToolType
    name: str
    namespace: str = ""


@dataclass(frozen=True)
class ToolDefinition:
    """A tool that the client offers.

    `function`: the fields of the function at the LLM, beside its name. `namespace_description`: of its namespace.
    """

    tool: ClientTool
    function: JsonObject
    namespace_description: str = ""


@dataclass(frozen=True)
class ClientTools:
    """The tools of one request.

    `functions`: what the LLM is offered for them; None if nothing. `by_function`: the client's tools by the names of
    those functions; `function_names`: the other way round. `left_out`: names of the offered tools that neither the Cat
    nor its LLM can call, for the response header and the log.
    """

    functions: Functions | None = None
    by_function: Mapping[str, ClientTool] = field(default_factory=dict)
    function_names: Mapping[ClientTool, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    def tool_of(self, function_name: str) -> ClientTool:
        return self.by_function.get(function_name) or ClientTool("function", function_name)

    def function_name(self, tool: ClientTool) -> str:
        """The name of the function that stands for a tool, also for one that is not offered any more."""
        return self.function_names.get(tool) or flatten_name(tool)


@dataclass(frozen=True)
class ClientCallDelta:
    """More of a call of one of the client's tools. `content`: the next piece of its arguments, or of its input.

    `id` is set in the first delta of each call and empty in the others.
    """

    index: int
    id: str
    tool: ClientTool
    content: str


class CallDecoder:
    """Turns the calls of functions in one reply into calls of the client's tools, piece by piece."""

    def __init__(self, tools: ClientTools) -> None:
        self._tools = tools
        self._called: list[ClientTool] = []
        self._inputs: dict[int, InputDecoder] = {}

    def feed(self, delta: CallDelta) -> ClientCallDelta | None:
        """None if the client gets nothing of this piece. This runs for every token of a call."""
        if delta.index == len(self._called):
            self._called.append(self._tools.tool_of(delta.name))
            if self._called[-1].type == "custom":
                self._inputs[delta.index] = InputDecoder()
        tool, content = self._called[delta.index], delta.arguments
        if tool.type == "custom":
            decoder = self._inputs.get(delta.index)
            content = decoder.feed(content) if decoder else ""
            if not content and not delta.id:
                return None
        return ClientCallDelta(delta.index, delta.id, tool, content)

    def is_complete(self, index: int) -> bool:
        """Whether the input of a custom tool's call has ended."""
        decoder = self._inputs.get(index)
        return decoder is None or decoder.is_complete

    def finish_call(self, index: int) -> ClientCallDelta | None:
        """The rest of a call that has ended, if any. What else the LLM sends for the call is dropped."""
        decoder = self._inputs.pop(index, None)
        rest = decoder.finish() if decoder else ""
        return ClientCallDelta(index, "", self._called[index], rest) if rest else None

    def finish(self) -> list[ClientCallDelta]:
        """The rest of all calls at the end of the reply."""
        return [rest for index in [*self._inputs] if (rest := self.finish_call(index))]


def decode_calls(calls: Sequence[ToolCall], tools: ClientTools) -> list[tuple[ToolCall, ClientTool]]:
    """Whole calls of functions, with the tools that they stand for; `arguments` of a custom tool's is its input."""
    decoder = CallDecoder(tools)
    contents = ["" for _ in calls]
    deltas = [decoder.feed(CallDelta(index, call.id, call.name, call.arguments)) for index, call in enumerate(calls)]
    for delta in (*deltas, *decoder.finish()):
        if delta is not None:
            contents[delta.index] += delta.content
    called = [tools.tool_of(call.name) for call in calls]
    return [
        (ToolCall(call.id, tool.name, content), tool)
        for call, tool, content in zip(calls, called, contents, strict=True)
    ]


def encode_call(id: str, tool: ClientTool, content: str, tools: ClientTools) -> ToolCall:
    """The call of a function for an earlier call of a tool. `content`: its arguments, or its input."""
    return ToolCall(id, tools.function_name(tool), encode_input(content) if tool.type == "custom" else content)


class ToolsBuilder:
    """Collects the tools of a request. `path`: of the tools in the request. Its methods raise `InvalidRequest`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._definitions: dict[tuple[bool, str, str], ToolDefinition] = {}
        self._left_out: dict[str, None] = {}

    def add(self, definition: ToolDefinition) -> None:
        """A later definition of the same tool replaces an earlier one."""
        tool = definition.tool
        self._definitions[tool.type == "tool_search", tool.namespace, tool.name] = definition
        if len(self._definitions) > MAX_FUNCTIONS:
            raise invalid(self._path, f"send at most {MAX_FUNCTIONS} functions and custom tools, namespaces included")

    def leave_out(self, type: str) -> None:
        """A tool of a type that only OpenAI's servers run, or that is unknown."""
        self._left_out[type if re.fullmatch(rf"[\w.:-]{{1,{MAX_TYPE_LENGTH}}}", type, re.ASCII) else "other"] = None

    def build(self) -> "OfferedTools":
        names = _function_names([definition.tool for definition in self._definitions.values()])
        return OfferedTools(self._definitions.values(), names, [*self._left_out][:MAX_LEFT_OUT])


class OfferedTools:
    """All tools of a request, of which its `tool_choice` chooses. Its methods raise `InvalidRequest`."""

    def __init__(
        self, definitions: Iterable[ToolDefinition], names: Mapping[ClientTool, str], left_out: Sequence[str]
    ) -> None:
        self._definitions = {names[definition.tool]: definition for definition in definitions}
        self._names = names
        self._left_out = left_out

    def __bool__(self) -> bool:
        return bool(self._definitions)

    def find(self, path: str, type: ToolType, name: str, namespace: str | None = None) -> str:
        """The name of a tool's function at the LLM. `path`: of the tool's name, for the error.

        Without a namespace, a tool that is in none comes first, and then the only one of the name in a namespace.
        """
        named = [
            (function, definition.tool.namespace)
            for function, definition in self._definitions.items()
            if definition.tool.name == name and definition.tool.type == type
        ]
        found = [function for function, place in named if place == (namespace or "")]
        if not found and not namespace:
            found = [function for function, _ in named]
        if len(found) > 1:
            raise invalid(path, f"several namespaces have a tool with the name '{name}'; send `namespace` as well")
        if not found:
            noun = "function" if type == "function" else "custom tool"
            raise invalid(path, f"the request has no {noun} with the name '{name}'")
        return found[0]

    def find_all(self, path: str, namespace: str) -> list[str]:
        """The names of the functions for all tools of a namespace."""
        found = [
            function for function, definition in self._definitions.items() if definition.tool.namespace == namespace
        ]
        if not found:
            raise invalid(path, f"the request has no namespace with the name '{namespace}'")
        return found

    def require_any(self, path: str) -> None:
        """For a choice that demands a call."""
        if self._definitions:
            return
        message = "the request has no tools; send tools or leave it out"
        if self._left_out:
            message = f"the Cat has none of the tools that the request offers ({', '.join(self._left_out)})"
        raise invalid(path, message)

    def choose(self, choice: CallChoice, parallel: bool | None, allowed: Iterable[str] | None = None) -> ClientTools:
        """`allowed`: names of the functions that the LLM may call; None for all."""
        by_function = {name: definition.tool for name, definition in self._definitions.items()}
        names = by_function if allowed is None else dict.fromkeys(allowed)
        if not names:
            return ClientTools(None, by_function, self._names, self._left_out)
        namespaces: set[str] = set()
        tools = {name: _wire_function(name, self._definitions[name], namespaces) for name in names}
        custom = frozenset(name for name in names if by_function[name].type == "custom")
        return ClientTools(Functions(tools, choice, parallel, custom), by_function, self._names, self._left_out)


def function_choice(name: str) -> CallChoice:
    return {"type": "function", "function": {"name": name}}


def custom_function(description: str | None, grammar: Grammar | None) -> JsonObject:
    """The fields of the function that stands for a custom tool.

    The LLM is asked to keep to the grammar. Nothing checks that it does.
    """
    texts = [description] if description else []
    if grammar:
        kind = "Lark grammar" if grammar.syntax == "lark" else "regular expression"
        texts.append(f"`{INPUT}` must match this {kind}, as it stands, without a code fence:\n{grammar.definition}")
    parameters = {
        "type": "object",
        "properties": {INPUT: {"type": "string", "description": "The whole input of the tool, as plain text."}},
        "required": [INPUT],
        "additionalProperties": False,
    }
    return {"description": "\n\n".join(texts), "parameters": parameters}


def flatten_name(tool: ClientTool) -> str:
    """The name of a tool's function, if no other tool has that name.

    It depends on nothing but the tool, so that calls keep their names over the turns of a conversation.
    """
    separator = "" if not tool.namespace or tool.namespace.endswith("__") else "__"
    plain = f"{tool.namespace}{separator}{tool.name}"
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", plain)
    return name if name == plain and len(name) <= MAX_FUNCTION_NAME_LENGTH else _with_hash(name, tool)


def _with_hash(name: str, tool: ClientTool, attempt: int = 0) -> str:
    """A valid name that distinguishes tools of which the names are too long, or the same without the hash."""
    text = f"{tool.namespace}\0{tool.name}" + "\0" * attempt
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name[: MAX_FUNCTION_NAME_LENGTH - HASH_LENGTH - 1]}_{digest[:HASH_LENGTH]}"


def _function_names(tools: Sequence[ClientTool]) -> dict[ClientTool, str]:
    """A different name for each tool. Valid names of tools outside of namespaces stay as they are."""
    flat = {tool: flatten_name(tool) for tool in tools}
    counts = Counter(flat.values())
    names = {
        tool: name
        for tool, name in flat.items()
        if counts[name] == 1 or (name == tool.name and tool.type != "tool_search")
    }
    taken = {*names.values()}
    for tool, name in flat.items():
        attempt = 0
        while tool not in names:
            candidate = _with_hash(name, tool, attempt)
            if candidate not in taken:
                names[tool] = candidate
                taken.add(candidate)
            attempt += 1
    return names


def _wire_function(name: str, definition: ToolDefinition, namespaces: set[str]) -> JsonObject:
    """OpenAI's tool object. The first function of each namespace carries the namespace's description as well.

    `namespaces`: whose first function has been made.
    """
    function = {**definition.function, "name": name}
    namespace = definition.tool.namespace
    if namespace and namespace not in namespaces:
        namespaces.add(namespace)
        if definition.namespace_description:
            about = f"About all tools of {namespace}: {definition.namespace_description}"
            function["description"] = "\n\n".join(filter(None, [function.get("description"), about]))
    return {"type": "function", "function": function}
