"""Calls of tools that OpenAI defines or runs, and their outputs, as calls of functions and their results.

A conversation may have begun with OpenAI, or with a client that has such tools. The Cat's LLM gets these items as what
they were: a call of a function that is named for the tool, and its result. Images in base64 that a tool made are left
out, since only few LLMs accept images in the results of calls.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ...generation.tools import TOOL_SEARCH, ClientTool, flatten_name
from ...wire.parameters import OtherTool
from .protocol import CustomTool, FunctionTool, HostedItem, Item, NamespaceTool, Tool, ToolList

Fields: TypeAlias = Mapping[str, Any]

NO_OUTPUT = "There is no output."
"""The result of a call whose output is not in the conversation."""


@dataclass(frozen=True)
class HostedCall:
    """A call with its result. `name`: of the function. `image`: a data URI that is part of the result."""

    name: str
    arguments: str
    result: str = NO_OUTPUT
    image: str | None = None


@dataclass(frozen=True)
class _Output:
    """`name`: of the function that was called."""

    name: str
    text: str
    image: str | None = None


def complete_hosted_calls(items: Sequence[tuple[str, Item]]) -> list[tuple[str, Item | HostedCall]]:
    """The items, each with its path, and a `HostedCall` in the place of each call with its output, or of one alone."""
    complete: list[tuple[str, Item | HostedCall]] = []
    places: dict[str, int] = {}
    for path, item in items:
        if not isinstance(item, HostedItem | ToolList):
            complete.append((path, item))
            continue
        read = _read(item)
        if isinstance(read, HostedCall):
            places.update(dict.fromkeys(_ids(item, read.name), len(complete)))
            complete.append((path, read))
        elif read is not None:
            place = next((places[id] for id in _ids(item, read.name) if id in places), None)
            if place is None:
                complete.append((path, HostedCall(read.name, "{}", read.text, read.image)))
            else:
                call_path, call = complete[place]
                assert isinstance(call, HostedCall)
                complete[place] = call_path, replace(call, result=read.text, image=read.image)
    return complete


def _ids(item: HostedItem | ToolList, name: str) -> Sequence[str]:
    """The ids by which a call and its output find each other. Some clients send the call's `id` with the output.

    Where there are none, as with tools that OpenAI's servers search, it is the `name` of the function.
    """
    if item.type == "mcp_approval_response":
        id = (item.model_extra or {}).get("approval_request_id")
        return [id] if isinstance(id, str) else []
    return [id for id in (item.call_id, item.id) if id] or [f"\0{name}"]


def _read(item: HostedItem | ToolList) -> HostedCall | _Output | None:
    """None for what is neither a call nor an output."""
    if isinstance(item, HostedItem):
        return _READERS[item.type](item.model_extra or {})
    if item.type == "additional_tools":
        return None
    names = [name for tool in item.tools for name in _function_names(tool)]
    return _Output(TOOL_SEARCH, f"Tools that are available now: {', '.join(names) or 'none'}")


def _function_names(tool: Tool) -> Sequence[str]:
    if isinstance(tool, FunctionTool | CustomTool):
        return [flatten_name(ClientTool(tool.type, tool.name))]
    if not isinstance(tool, NamespaceTool):
        return []
    inner = [each for each in tool.tools if not isinstance(each, OtherTool)]
    return [flatten_name(ClientTool(each.type, each.name, tool.name)) for each in inner]


def _call(name: str, arguments: Any) -> HostedCall:
    return HostedCall(name, _json(arguments if isinstance(arguments, dict) else {}))


def _field(name: str) -> Callable[[Fields], Any]:
    return lambda fields: fields.get(name)


def _calls(name: str, arguments: Callable[[Fields], Any]) -> Callable[[Fields], HostedCall]:
    """For a call whose output is an item of its own."""
    return lambda fields: _call(name, arguments(fields))


def _outputs(name: str, output: Callable[[Fields], Any]) -> Callable[[Fields], _Output]:
    return lambda fields: _Output(name, _text(output(fields)) or _status(fields))


def _read_web_search(fields: Fields) -> HostedCall:
    action = fields.get("action")
    action = dict(action) if isinstance(action, dict) else {}
    sources = action.pop("sources", None)
    return HostedCall("web_search", _json(action), _text(sources) or _status(fields))


def _read_file_search(fields: Fields) -> HostedCall:
    queries = {"queries": fields.get("queries") or []}
    return HostedCall("file_search", _json(queries), _text(fields.get("results")) or _status(fields))


def _read_code_interpreter(fields: Fields) -> HostedCall:
    outputs = fields.get("outputs")
    logs = [
        str(output.get("logs") or "An image was made.")
        for output in (outputs if isinstance(outputs, list) else [])
        if isinstance(output, dict)
    ]
    code = {"code": fields.get("code") or ""}
    return HostedCall("code_interpreter", _json(code), "\n".join(logs) or _status(fields))


def _read_image_generation(fields: Fields) -> HostedCall:
    prompt = fields.get("revised_prompt")
    result = "The image was made." if fields.get("result") else _status(fields)
    return HostedCall("image_generation", _json({"prompt": prompt} if prompt else {}), result)


def _read_mcp_call(fields: Fields) -> HostedCall:
    name = flatten_name(ClientTool("function", _text(fields.get("name")) or "call", _text(fields.get("server_label"))))
    result = _text(fields.get("output")) or _text(fields.get("error")) or _status(fields)
    return HostedCall(name, _text(fields.get("arguments")) or "{}", result)


def _read_mcp_list_tools(fields: Fields) -> HostedCall:
    result = _text(fields.get("error")) or _text(fields.get("tools")) or NO_OUTPUT
    return HostedCall("mcp_list_tools", _json({"server_label": fields.get("server_label")}), result)


def _read_approval(fields: Fields) -> _Output:
    answer = "approved" if fields.get("approve") is True else "not approved"
    reason = _text(fields.get("reason"))
    return _Output("mcp_approval_request", f"{answer}: {reason}" if reason else answer)


def _read_screenshot(fields: Fields) -> _Output:
    output = fields.get("output")
    output = output if isinstance(output, dict) else {}
    url = output.get("image_url")
    is_data = isinstance(url, str) and url.startswith("data:")
    return _Output("computer", "A screenshot." if is_data else _text(output), url if is_data else None)


_READERS: Mapping[str, Callable[[Fields], HostedCall | _Output]] = {
    "apply_patch_call": _calls("apply_patch", _field("operation")),
    "apply_patch_call_output": _outputs("apply_patch", _field("output")),
    "code_interpreter_call": _read_code_interpreter,
    "computer_call": _calls("computer", lambda fields: fields.get("action") or {"actions": fields.get("actions")}),
    "computer_call_output": _read_screenshot,
    "file_search_call": _read_file_search,
    "image_generation_call": _read_image_generation,
    "local_shell_call": _calls("local_shell", _field("action")),
    "local_shell_call_output": _outputs("local_shell", _field("output")),
    "mcp_approval_request": _calls("mcp_approval_request", dict),
    "mcp_approval_response": _read_approval,
    "mcp_call": _read_mcp_call,
    "mcp_list_tools": _read_mcp_list_tools,
    "program": _calls("program", lambda fields: {"code": fields.get("code")}),
    "program_output": _outputs("program", _field("result")),
    "shell_call": _calls("shell", _field("action")),
    "shell_call_output": _outputs("shell", _field("output")),
    "tool_search_call": _calls(TOOL_SEARCH, _field("arguments")),
    "web_search_call": _read_web_search,
}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str:
    """A text as it is, other values in JSON; empty for None and for what is empty."""
    if isinstance(value, str):
        return value
    return _json(value) if value else ""


def _status(fields: Fields) -> str:
    status = fields.get("status")
    return f"Status: {status}." if isinstance(status, str) and status else NO_OUTPUT
