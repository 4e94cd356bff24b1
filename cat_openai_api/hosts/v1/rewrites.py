"""LangChain messages and JSON schemas, rewritten for providers that do not accept them as they are."""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..line import LINE

if LINE == "1.9" or TYPE_CHECKING:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

MAX_SCHEMAS = 10_000
"""Of the subschemas that one JSON schema has when its references are resolved."""

COHERE_TYPES = {
    "string": "str",
    "number": "float",
    "boolean": "bool",
    "integer": "int",
    "array": "List",
    "object": "Dict",
}


def copy_with_fields(original: Any, **fields: Any) -> Any:
    """A copy of a LangChain object with other values for these fields. It shares the HTTP clients of the original,
    which LangChain's own `copy` leaves out."""
    copied = original.copy()
    vars(copied).update({**vars(original), **fields})
    return copied


def with_text_content(message: Any) -> Any:
    """The message with a string as its content, where that has no parts other than text."""
    content = message.content
    if isinstance(content, str) or any(isinstance(part, dict) and part.get("type") != "text" for part in content):
        return message
    return copy_with_fields(message, content=text_of(content))


def text_of(content: Any) -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part if isinstance(part, str) else part.get("text") or "" for part in content)


def with_parsed_calls(message: Any) -> Any:
    """The message with all its calls parsed: most providers accept a call's arguments only as an object."""
    if not isinstance(message, AIMessage) or not message.invalid_tool_calls:
        return message
    parsed = [
        {"name": call["name"], "args": {"arguments": call["args"]} if call["args"] else {}, "id": call["id"]}
        for call in message.invalid_tool_calls
    ]
    return copy_with_fields(message, tool_calls=[*message.tool_calls, *parsed], invalid_tool_calls=[])


def system_first(messages: Sequence[Any]) -> list[Any]:
    """The messages with one system message, at the beginning, and no empty ones: some providers refuse others."""
    system = "\n\n".join(text_of(message.content) for message in messages if isinstance(message, SystemMessage))
    rest = [
        with_text_content(message)
        for message in messages
        if isinstance(message, ToolMessage)
        or (not isinstance(message, SystemMessage) and (message.content or _calls(message)))
    ]
    if not system:
        return rest
    return [SystemMessage(system), *rest] if rest else [HumanMessage(system)]


def with_instruction(messages: Sequence[Any], instruction: str) -> list[Any]:
    """The messages with an instruction added to the system message, if they begin with one, or put before them."""
    if messages and isinstance(messages[0], SystemMessage):
        first, *rest = messages
        return [SystemMessage(f"{text_of(first.content)}\n\n{instruction}"), *rest]
    return [SystemMessage(instruction), *messages]


def calls_as_text(messages: Sequence[Any]) -> list[Any]:
    """The messages with calls of functions and their results as text, for a request that offers no functions."""
    rewritten: list[Any] = []
    names: dict[str | None, str] = {}
    for message in map(with_text_content, messages):
        if isinstance(message, AIMessage) and (calls := _calls(message)):
            names |= {call["id"]: call["name"] for call in calls}
            lines = [json.dumps({"function": call["name"], "arguments": call["args"]}) for call in calls]
            rewritten.append(AIMessage("\n".join(filter(None, [text_of(message.content), *lines]))))
        elif isinstance(message, ToolMessage):
            name = names.get(message.tool_call_id, "")
            rewritten.append(HumanMessage(f"Result of {name}: {text_of(message.content)}"))
        else:
            rewritten.append(message)
    return rewritten


def _calls(message: Any) -> list[Any]:
    return [*message.tool_calls, *message.invalid_tool_calls] if isinstance(message, AIMessage) else []


def anthropic_part(part: Any) -> Any:
    """A part of a message, in the form of Anthropic's documents where it is a file. Anthropic accepts PDF and plain
    text."""
    if not isinstance(part, Mapping) or part.get("type") != "file":
        return part
    media_type, _, data = part["file"]["file_data"].removeprefix("data:").partition(";base64,")
    source = {"type": "base64", "media_type": media_type, "data": data}
    if media_type.startswith("text/"):
        text = b64decode(data).decode("utf-8", "replace")
        source = {"type": "text", "media_type": "text/plain", "data": text}
    name = part["file"].get("filename")
    return {"type": "document", "source": source, **({"title": name} if name else {})}


def result_object(content: Any) -> Mapping[str, Any]:
    """A function's result as a JSON object."""
    text = text_of(content)
    try:
        result = json.loads(text)
    except (ValueError, RecursionError):
        result = text
    return result if isinstance(result, dict) else {"output": result}


def cohere_parameters(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of a JSON schema as Cohere's parameters. These have a type and a description, but no schema: what
    else the schema says becomes a part of the description."""
    simple = simple_schema(schema)
    return {
        name: {
            "description": _description(parameter),
            "type": COHERE_TYPES.get(parameter["type"], "str"),
            "required": name in simple["required"],
        }
        for name, parameter in simple.get("properties", {}).items()
    }


def _description(parameter: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in parameter.items() if name not in ("type", "description")}
    return " ".join(filter(None, [parameter.get("description"), json.dumps(rest) if rest else ""]))


def with_integers(arguments: str) -> str:
    """JSON with 1 for 1.0: some providers make floats of all numbers."""
    return json.dumps(json.loads(arguments, parse_float=lambda number: _integer_if_whole(float(number))))


def _integer_if_whole(number: float) -> float:
    return int(number) if number.is_integer() else number


def simple_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema with one type for each value and no references: Google's own kind of schema has no more.

    A schema that refers to itself ends there, with an object that may be anything. Raises ValueError for one that is
    too large.
    """
    return _Simplifier(schema).simplify(schema, ())


class _Simplifier:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = MAX_SCHEMAS

    def simplify(self, schema: Any, within: tuple[str, ...]) -> dict[str, Any]:
        """`within`: the references that were resolved on the way to this schema."""
        self._left -= 1
        if self._left < 0:
            raise ValueError("a JSON schema that is too large")
        if not isinstance(schema, Mapping):
            return {"type": "string"}
        if reference := schema.get("$ref"):
            if reference in within:
                return {"type": "object", "properties": {}, "required": []}
            resolved = {**self._resolve(reference), **_without(schema, "$ref")}
            return self.simplify(resolved, (*within, reference))
        for choice in ("anyOf", "oneOf", "allOf"):
            if options := schema.get(choice):
                not_null = [option for option in options if isinstance(option, Mapping) and option != {"type": "null"}]
                simple = self.simplify({**(not_null or [{}])[0], **_without(schema, choice)}, within)
                return {**simple, "nullable": True} if len(not_null) < len(options) else simple
        return self._simplify_type(schema, within)

    def _simplify_type(self, schema: Mapping[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
        types = schema.get("type")
        types = types if isinstance(types, list) else [types]
        inferred = "object" if "properties" in schema else "array" if "items" in schema else "string"
        kind = next((name for name in types if name not in ("null", None)), inferred)
        simple: dict[str, Any] = {"type": kind}
        if "null" in types:
            simple["nullable"] = True
        if schema.get("description"):
            simple["description"] = schema["description"]
        if kind == "string" and schema.get("enum"):
            simple["enum"] = [str(value) for value in schema["enum"] if value is not None]
        if kind == "array":
            simple["items"] = self.simplify(schema.get("items"), within)
        if kind == "object":
            properties = schema.get("properties") or {}
            simple["properties"] = {name: self.simplify(value, within) for name, value in properties.items()}
            simple["required"] = [name for name in schema.get("required") or () if name in properties]
        return simple

    def _resolve(self, reference: str) -> Mapping[str, Any]:
        """`reference`: a path in the schema, "#/$defs/…"."""
        node: Any = self._root
        for name in reference.split("/")[1:]:
            node = node.get(name) if isinstance(node, Mapping) else None
        return node if isinstance(node, Mapping) else {}


def _without(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != name}
