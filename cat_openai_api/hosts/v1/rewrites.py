"""LangChain messages and JSON schemas, rewritten for providers that do not take them as they are."""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..detect import IS_CAT_1

if IS_CAT_1 or TYPE_CHECKING:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

MAX_SCHEMAS = 10_000
"""How many there may be in one JSON schema when its references are written out."""

COHERE_TYPES = {
    "string": "str",
    "number": "float",
    "boolean": "bool",
    "integer": "int",
    "array": "List",
    "object": "Dict",
}


def with_fields(whole: Any, **fields: Any) -> Any:
    """A copy of a LangChain object with other fields. Its clients, which LangChain would not copy, are kept."""
    twin = whole.copy()
    vars(twin).update({**vars(whole), **fields})
    return twin


def plain(message: Any) -> Any:
    """Text as a string where there is nothing but text."""
    content = message.content
    if isinstance(content, str) or any(isinstance(part, dict) and part.get("type") != "text" for part in content):
        return message
    return with_fields(message, content=text_of(content))


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or parts."""
    if isinstance(content, str):
        return content
    return "".join(part if isinstance(part, str) else part.get("text") or "" for part in content)


def with_parsed_calls(message: Any) -> Any:
    """Most providers take a call's arguments as an object only."""
    if not isinstance(message, AIMessage) or not message.invalid_tool_calls:
        return message
    parsed = [
        {"name": call["name"], "args": {"arguments": call["args"]} if call["args"] else {}, "id": call["id"]}
        for call in message.invalid_tool_calls
    ]
    return with_fields(message, tool_calls=[*message.tool_calls, *parsed], invalid_tool_calls=[])


def system_first(messages: Sequence[Any]) -> list[Any]:
    """One system message, at the beginning, and no empty ones: some providers refuse anything else."""
    system = "\n\n".join(text_of(message.content) for message in messages if isinstance(message, SystemMessage))
    rest = [
        plain(message)
        for message in messages
        if isinstance(message, ToolMessage)
        or (not isinstance(message, SystemMessage) and (message.content or _calls(message)))
    ]
    if not system:
        return rest
    return [SystemMessage(system), *rest] if rest else [HumanMessage(system)]


def instructed(messages: Sequence[Any], instruction: str) -> list[Any]:
    """The messages with one more system text, beside the first where that is one."""
    if messages and isinstance(messages[0], SystemMessage):
        first, *rest = messages
        return [SystemMessage(f"{text_of(first.content)}\n\n{instruction}"), *rest]
    return [SystemMessage(instruction), *messages]


def calls_as_text(messages: Sequence[Any]) -> list[Any]:
    """Functions' calls and results as text, for a request in which none is offered."""
    told = []
    names: dict[str | None, str] = {}
    for message in map(plain, messages):
        if isinstance(message, AIMessage) and (calls := _calls(message)):
            names |= {call["id"]: call["name"] for call in calls}
            said = [json.dumps({"function": call["name"], "arguments": call["args"]}) for call in calls]
            told.append(AIMessage("\n".join(filter(None, [text_of(message.content), *said]))))
        elif isinstance(message, ToolMessage):
            name = names.get(message.tool_call_id, "")
            told.append(HumanMessage(f"Result of {name}: {text_of(message.content)}"))
        else:
            told.append(message)
    return told


def _calls(message: Any) -> list[Any]:
    return [*message.tool_calls, *message.invalid_tool_calls] if isinstance(message, AIMessage) else []


def document(part: Any) -> Any:
    """A part of a message in Anthropic's form where it is a file: it takes PDF and plain text."""
    if not isinstance(part, Mapping) or part.get("type") != "file":
        return part
    media_type, _, data = part["file"]["file_data"].removeprefix("data:").partition(";base64,")
    source = {"type": "base64", "media_type": media_type, "data": data}
    if media_type.startswith("text/"):
        text = b64decode(data).decode("utf-8", "replace")
        source = {"type": "text", "media_type": "text/plain", "data": text}
    name = part["file"].get("filename")
    return {"type": "document", "source": source, **({"title": name} if name else {})}


def result_of(content: Any) -> Mapping[str, Any]:
    """A function's result as an object."""
    text = text_of(content)
    try:
        result = json.loads(text)
    except (ValueError, RecursionError):
        result = text
    return result if isinstance(result, dict) else {"output": result}


def cohere_parameters(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of a JSON schema. Cohere's parameters have no schemas, so words tell what they are made of."""
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
    more = {name: value for name, value in parameter.items() if name not in ("type", "description")}
    return " ".join(filter(None, [parameter.get("description"), json.dumps(more) if more else ""]))


def whole_numbers(arguments: str) -> str:
    """JSON with integers for those that a provider made 1.0 of."""
    return json.dumps(json.loads(arguments, parse_float=lambda number: _whole(float(number))))


def _whole(number: float) -> float:
    return int(number) if number.is_integer() else number


def simple_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema with one type in each place and no references, which is what Google's own kind can say.

    Where it refers to what it is a part of, it ends. Raises ValueError where it is too large.
    """
    return _Simple(schema).of(schema, ())


class _Simple:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = MAX_SCHEMAS

    def of(self, schema: Any, within: tuple[str, ...]) -> dict[str, Any]:
        """`within`: the references that led here."""
        self._left -= 1
        if self._left < 0:
            raise ValueError("a JSON schema that is too large")
        if not isinstance(schema, Mapping):
            return {"type": "string"}
        if reference := schema.get("$ref"):
            if reference in within:
                return {"type": "object", "properties": {}, "required": []}
            meant = {**self._meant(reference), **_without(schema, "$ref")}
            return self.of(meant, (*within, reference))
        for choice in ("anyOf", "oneOf", "allOf"):
            if options := schema.get(choice):
                real = [option for option in options if isinstance(option, Mapping) and option != {"type": "null"}]
                found = self.of({**(real or [{}])[0], **_without(schema, choice)}, within)
                return {**found, "nullable": True} if len(real) < len(options) else found
        return self._of_one_kind(schema, within)

    def _of_one_kind(self, schema: Mapping[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
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
            simple["items"] = self.of(schema.get("items"), within)
        if kind == "object":
            properties = schema.get("properties") or {}
            simple["properties"] = {name: self.of(value, within) for name, value in properties.items()}
            simple["required"] = [name for name in schema.get("required") or () if name in properties]
        return simple

    def _meant(self, reference: str) -> Mapping[str, Any]:
        """`reference`: a path in the schema, "#/$defs/…"."""
        node: Any = self._root
        for name in reference.split("/")[1:]:
            node = node.get(name) if isinstance(node, Mapping) else None
        return node if isinstance(node, Mapping) else {}


def _without(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != name}
