"""The chat model classes of Cheshire Cat 1.9's panel: how each puts a request to its provider.

A class is known by its name, as not every Cat has every package. What a class has no place for is left out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...domain.conversation import File, Functions, Image, JsonFormat, Part
from ...domain.json_instruction import json_instruction
from ...domain.usage import Usage
from ..detect import IS_CAT_1
from .rewrites import (
    calls_as_text,
    cohere_parameters,
    document,
    instructed,
    plain,
    result_of,
    simple_schema,
    system_first,
    whole_numbers,
    with_fields,
    with_parsed_calls,
)

if IS_CAT_1 or TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage


@dataclass(frozen=True)
class Parameters:
    """What one request asks of the LLM beside its messages. `sampling`: by OpenAI's names."""

    sampling: Mapping[str, Any] = field(default_factory=dict)
    functions: Functions | None = None
    format: JsonFormat | None = None

    @property
    def offered(self) -> Mapping[str, Mapping[str, Any]]:
        """The functions that the LLM may call, by name: OpenAI's `function` objects, with all their fields."""
        if self.functions is None or self.functions.choice == "none":
            return {}
        return {
            name: {
                **tool["function"],
                "description": tool["function"].get("description") or "",
                "parameters": tool["function"].get("parameters") or {"type": "object", "properties": {}},
            }
            for name, tool in self.functions.tools.items()
            if self.named in (None, name)
        }

    @property
    def named(self) -> str | None:
        """The one function that must be called."""
        choice = self.functions and self.functions.choice
        return choice["function"]["name"] if isinstance(choice, Mapping) else None

    @property
    def must_call(self) -> bool:
        return self.functions is not None and (self.functions.choice == "required" or self.named is not None)

    def samplings(self, **names: str) -> dict[str, Any]:
        """Those of `names` that are set, by the name that each has elsewhere."""
        return {there: self.sampling[name] for name, there in names.items() if name in self.sampling}


@dataclass(frozen=True)
class Request:
    """`options`: keyword arguments for the model's `_astream` or `_agenerate`."""

    model: Any
    messages: Sequence[Any]
    options: Mapping[str, Any] = field(default_factory=dict)


class ProviderAdapter:
    """A class that the plugin does not know: LangChain's own conventions, and no sampling parameters."""

    carries_json = False
    negotiable: tuple[str, ...] = ()
    """Fields that a request can do without when the provider refuses it and names them."""
    usage_is_total = False
    """Whether each report of a reply's usage has all tokens so far, not those since the one before."""
    blocks_the_loop = False
    """Whether `_agenerate` is synchronous, in spite of its name."""
    is_silent_when_blocked = False
    """Whether a reply that its provider blocked has neither a text nor a finish reason."""

    def calls_functions(self, model: Any) -> bool:
        return type(model).bind_tools is not BaseChatModel.bind_tools

    def takes(self, part: Part) -> bool:
        return isinstance(part, (str, Image))

    def request(self, model: Any, messages: Sequence[Any], asked: Parameters, refused: set[str]) -> Request:
        """`refused`: the negotiable fields that the provider did not take."""
        if not asked.offered:
            return Request(model, calls_as_text(system_first(messages)))
        choice = {"tool_choice": asked.named or "any"} if asked.must_call else {}
        tools = [{"type": "function", "function": function} for function in asked.offered.values()]
        return Request(model, system_first(messages), model.bind_tools(tools, **choice).kwargs)

    def arguments(self, given: str | None) -> str | None:
        """A piece of a call's arguments, as the client should see it."""
        return given

    def usage(self, message: Any, info: Mapping[str, Any]) -> Usage | None:
        """`info`: what LangChain gives beside the message."""
        if not (reported := getattr(message, "usage_metadata", None)):
            return None
        prompt, completion = reported["input_tokens"], reported["output_tokens"]
        return Usage(
            prompt,
            completion,
            reported["total_tokens"],
            (reported.get("input_token_details") or {}).get("cache_read"),
            (reported.get("output_token_details") or {}).get("reasoning"),
        )


class OpenAI(ProviderAdapter):
    """`BaseChatOpenAI`: everything goes to the provider as the client sent it, beside LangChain's own fields."""

    carries_json = True
    negotiable = ("stream_options", "response_format", "parallel_tool_calls")

    def calls_functions(self, model: Any) -> bool:
        return True

    def takes(self, part: Part) -> bool:
        return True

    def request(self, model: Any, messages: Sequence[Any], asked: Parameters, refused: set[str]) -> Request:
        body = dict(asked.sampling)
        if functions := asked.functions:
            body["tools"] = list(functions.tools.values())
            if functions.choice is not None:
                body["tool_choice"] = functions.choice
            if functions.parallel is not None:
                body["parallel_tool_calls"] = functions.parallel
        if asked.format:
            body["response_format"] = asked.format.response_format
            if "response_format" in refused:
                messages = instructed(messages, json_instruction(asked.format))
        body = {name: value for name, value in body.items() if name not in refused}
        return Request(model, [self._verbatim(message) for message in messages], {"extra_body": body})

    @staticmethod
    def _verbatim(message: Any) -> Any:
        """LangChain would write calls anew, unless their words are all that there is."""
        if message.content == []:
            message = with_fields(message, content="")
        if isinstance(message, AIMessage) and message.additional_kwargs.get("tool_calls"):
            return with_fields(message, tool_calls=[], invalid_tool_calls=[])
        return message


class Ollama(ProviderAdapter):
    """`ChatOllama`: it cannot be made to call a function; a reply with functions comes whole."""

    negotiable = ("format",)

    def takes(self, part: Part) -> bool:
        return isinstance(part, str) or (isinstance(part, Image) and self._is_image(part.base64))

    def request(self, model: Any, messages: Sequence[Any], asked: Parameters, refused: set[str]) -> Request:
        messages = [with_parsed_calls(plain(message)) for message in messages]
        for message in messages:
            self._check_images(message)
        sampling = asked.samplings(
            temperature="temperature",
            top_p="top_p",
            seed="seed",
            presence_penalty="presence_penalty",
            frequency_penalty="frequency_penalty",
        )
        options: dict[str, Any] = {"options": {**model._default_params["options"], **sampling}}
        if asked.offered:
            options["tools"] = [{"type": "function", "function": tool} for tool in asked.offered.values()]
        elif asked.format:
            # Before 0.5 Ollama had no schemas.
            takes_schema = asked.format.schema is not None and "format" not in refused
            options["format"] = asked.format.schema if takes_schema else "json"
        return Request(model, messages, options)

    def _check_images(self, message: Any) -> None:
        parts = message.content if isinstance(message.content, list) else []
        for part in parts:
            if part["type"] == "image_url" and not self._is_image(part["image_url"]["url"].rpartition(",")[2]):
                raise ValueError("an image that is no PNG, JPEG, GIF or WebP")

    @staticmethod
    def _is_image(base64: str) -> bool:
        """Ollama's client would read a file of the Cat's machine where the text is the path of one."""
        return base64.startswith(("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR"))


class Anthropic(ProviderAdapter):
    """`ChatAnthropic`."""

    negotiable = ("top_p",)

    def takes(self, part: Part) -> bool:
        return super().takes(part) or (
            isinstance(part, File) and part.data.startswith(("data:application/pdf", "data:text/"))
        )

    def request(self, model: Any, messages: Sequence[Any], asked: Parameters, refused: set[str]) -> Request:
        options = asked.samplings(temperature="temperature", top_p="top_p")
        if "temperature" in options:
            options["temperature"] = min(options["temperature"], 1.0)
        if "top_p" in refused:
            # Newer models take only one of the two, and the panel always has a temperature.
            options = {**options, "top_p": None} if "temperature" in options else {**options, "temperature": None}
        messages = system_first(messages)
        if asked.offered:
            options["tools"] = [self._tool(tool) for tool in asked.offered.values()]
            options["tool_choice"] = self._choice(asked)
        else:
            # It takes no calls of functions that it was not offered.
            messages = calls_as_text(messages)
        return Request(model, [self._with_documents(with_parsed_calls(message)) for message in messages], options)

    @staticmethod
    def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
        schema = {"type": "object", **function["parameters"]}
        return {"name": function["name"], "description": function["description"], "input_schema": schema}

    @staticmethod
    def _choice(asked: Parameters) -> dict[str, Any]:
        choice: dict[str, Any] = {"type": "any" if asked.must_call else "auto"}
        if asked.named:
            choice = {"type": "tool", "name": asked.named}
        if asked.functions and asked.functions.parallel is False:
            choice["disable_parallel_tool_use"] = True
        return choice

    @staticmethod
    def _with_documents(message: Any) -> Any:
        if not isinstance(message, HumanMessage) or isinstance(message.content, str):
            return message
        return with_fields(message, content=[document(part) for part in message.content])


class Google(ProviderAdapter):
    """`ChatGoogleGenerativeAI`: its types have no field for a seed or a penalty."""

    usage_is_total = True
    is_silent_when_blocked = True

    def takes(self, part: Part) -> bool:
        return isinstance(part, str) or (isinstance(part, Image) and 2 <= len(part.mime_type.partition("/")[2]) <= 4)

    def request(self, model: Any, messages: Sequence[Any], asked: Parameters, refused: set[str]) -> Request:
        config = asked.samplings(temperature="temperature", top_p="top_p")
        options: dict[str, Any] = {"generation_config": config}
        if asked.offered:
            functions = [self._declaration(function) for function in asked.offered.values()]
            calling: dict[str, Any] = {"mode": "AUTO"}
            if asked.must_call:
                calling = {"mode": "ANY", "allowed_function_names": list(asked.offered)}
            options["tools"] = [{"function_declarations": functions}]
            options["tool_config"] = {"function_calling_config": calling}
        elif asked.format:
            # Together with functions it is refused.
            config["response_mime_type"] = "application/json"
        return Request(model, list(self._one_call_each(system_first(messages))), options)

    def arguments(self, given: str | None) -> str | None:
        """Whole, and all numbers are floats."""
        return whole_numbers(given) if given else given

    @staticmethod
    def _declaration(function: Mapping[str, Any]) -> dict[str, Any]:
        named = {"name": function["name"], "description": function["description"]}
        schema = simple_schema(function["parameters"])
        return {**named, "parameters": schema} if schema.get("properties") else named

    @staticmethod
    def _one_call_each(messages: Sequence[Any]) -> Iterator[Any]:
        """A message has room for one call and no text beside it, and a result belongs to the message before it."""
        calls: dict[str, Any] = {}
        for message in map(with_parsed_calls, messages):
            if isinstance(message, AIMessage) and message.tool_calls:
                calls |= {call["id"]: call for call in message.tool_calls}
            elif isinstance(message, ToolMessage) and (call := calls.get(message.tool_call_id)):
                function = {"name": call["name"], "arguments": json.dumps(call["args"])}
                yield AIMessage("", tool_calls=[call], additional_kwargs={"function_call": function})
                yield message
            elif not isinstance(message, ToolMessage):
                yield message


class Cohere(ProviderAdapter):
    """`ChatCohere`: no images, and it cannot be made to call a function."""

    negotiable = ("response_format",)
    blocks_the_loop = True

    def takes(self, part: Part) -> bool:
        return isinstance(part, str)

    def request(self, model: Any, messages: Sequence[Any], asked: Parameters, refused: set[str]) -> Request:
        options = asked.samplings(
            top_p="p", seed="seed", presence_penalty="presence_penalty", frequency_penalty="frequency_penalty"
        )
        for name, least, most in (("p", 0.01, 0.99), ("presence_penalty", 0, 1), ("frequency_penalty", 0, 1)):
            if name in options:
                options[name] = min(max(options[name], least), most)
        if "temperature" in asked.sampling:
            # As an option it would meet the model's own.
            model = with_fields(model, temperature=asked.sampling["temperature"])
        if asked.offered:
            messages = [with_parsed_calls(plain(message)) for message in messages]
            options |= {"tools": [self._tool(tool) for tool in asked.offered.values()], **self._history(messages)}
        else:
            messages = calls_as_text(messages)
            if asked.format and "response_format" not in refused:
                schema = {} if asked.format.schema is None else {"schema": asked.format.schema}
                options["response_format"] = {"type": "json_object", **schema}
        return Request(model, messages, options)

    @staticmethod
    def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
        parameters = cohere_parameters(function["parameters"])
        description = function["description"] or function["name"]
        return {"name": function["name"], "description": description, "parameter_definitions": parameters}

    @staticmethod
    def _history(messages: Sequence[Any]) -> dict[str, Any]:
        """The class would say a function's result in the user's name, and drop the calls."""
        entries: list[dict[str, Any]] = []
        calls: dict[str, Any] = {}
        for message in messages:
            if isinstance(message, ToolMessage):
                if not entries or entries[-1]["role"] != "TOOL":
                    entries.append({"role": "TOOL", "tool_results": []})
                call = calls.get(message.tool_call_id, {"name": "", "parameters": {}})
                outputs = [result_of(message.content)]
                entries[-1]["tool_results"].append({"call": call, "outputs": outputs})
            elif isinstance(message, AIMessage):
                made = {call["id"]: {"name": call["name"], "parameters": call["args"]} for call in message.tool_calls}
                calls |= made
                entry = {"role": "CHATBOT", "message": message.content}
                entries.append({**entry, "tool_calls": list(made.values())} if made else entry)
            else:
                role = "SYSTEM" if isinstance(message, SystemMessage) else "USER"
                entries.append({"role": role, "message": message.content})
        *earlier, last = entries
        if last["role"] == "TOOL":
            return {"message": "", "tool_results": last["tool_results"], "chat_history": earlier}
        return {"message": last["message"], "chat_history": earlier, "tool_results": None}

    def usage(self, message: Any, info: Mapping[str, Any]) -> Usage | None:
        counted = info.get("token_count") or {}
        prompt, completion = counted.get("input_tokens"), counted.get("output_tokens")
        if prompt is None or completion is None:
            return None
        return Usage(int(prompt), int(completion), int(prompt + completion))


ADAPTERS: Mapping[str, ProviderAdapter] = {
    "BaseChatOpenAI": OpenAI(),
    "ChatOllama": Ollama(),
    "ChatAnthropic": Anthropic(),
    "ChatGoogleGenerativeAI": Google(),
    "ChatCohere": Cohere(),
}

DEFAULT_ADAPTER = ProviderAdapter()


def adapter_for(model: Any) -> ProviderAdapter:
    """`model`: a LangChain chat model."""
    names = (base.__name__ for base in type(model).__mro__)
    return next((ADAPTERS[name] for name in names if name in ADAPTERS), DEFAULT_ADAPTER)
