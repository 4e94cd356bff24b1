"""The chat model classes of Cheshire Cat 1.9's panel: how the plugin's request becomes that of each provider.

A class is recognised by its name, as not every Cat has every package. Parameters that a class has no field for are left
out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...domain.conversation import File, Functions, Image, JsonFormat, Part
from ...domain.json_instruction import json_instruction
from ...domain.usage import Usage
from ..line import LINE
from .rewrites import (
    anthropic_part,
    calls_as_text,
    cohere_parameters,
    copy_with_fields,
    result_object,
    simple_schema,
    system_first,
    with_instruction,
    with_integers,
    with_parsed_calls,
    with_text_content,
)

if LINE == "1.9" or TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage


@dataclass(frozen=True)
class Parameters:
    """The parameters of one request to the LLM. `sampling`: by OpenAI's names."""

    sampling: Mapping[str, Any] = field(default_factory=dict)
    functions: Functions | None = None
    format: JsonFormat | None = None

    @property
    def offered(self) -> Mapping[str, Mapping[str, Any]]:
        """The functions that the LLM may call, by name: OpenAI's `function` objects with all optional fields set."""
        if self.functions is None or self.functions.choice == "none":
            return {}
        return {
            name: {
                **tool["function"],
                "description": tool["function"].get("description") or "",
                "parameters": tool["function"].get("parameters") or {"type": "object", "properties": {}},
            }
            for name, tool in self.functions.tools.items()
            if self.required_function in (None, name)
        }

    @property
    def required_function(self) -> str | None:
        """Name of the one function that the LLM must call; None where it may choose."""
        choice = self.functions and self.functions.choice
        return choice["function"]["name"] if isinstance(choice, Mapping) else None

    @property
    def requires_call(self) -> bool:
        if self.functions is None:
            return False
        return self.functions.choice == "required" or self.required_function is not None

    def sampling_as(self, **names: str) -> dict[str, Any]:
        """The sampling parameters that are set, by a provider's names. `names`: those by OpenAI's names."""
        return {theirs: self.sampling[name] for name, theirs in names.items() if name in self.sampling}


@dataclass(frozen=True)
class Request:
    """`options`: keyword arguments for the model's `_astream` or `_agenerate`."""

    model: Any
    messages: Sequence[Any]
    options: Mapping[str, Any] = field(default_factory=dict)


class ProviderAdapter:
    """For a class that the plugin does not know: LangChain's own conventions, and no sampling parameters."""

    supports_json_format = False
    """Whether a request has a field for all that a `JsonFormat` says."""
    optional_fields: tuple[str, ...] = ()
    """Fields that are left out of a second request where the provider refuses the first and names them."""
    usage_is_total = False
    """Whether each report of a reply's usage has all tokens so far, not those since the one before."""
    blocks_the_loop = False
    """Whether `_agenerate` is synchronous, in spite of its name."""
    is_empty_when_blocked = False
    """Whether a reply that its provider blocked has neither a text nor a finish reason."""

    def supports_functions(self, model: Any) -> bool:
        return type(model).bind_tools is not BaseChatModel.bind_tools

    def accepts(self, part: Part) -> bool:
        return isinstance(part, (str, Image))

    def request(self, model: Any, messages: Sequence[Any], parameters: Parameters, refused: set[str]) -> Request:
        """`refused`: those of `optional_fields` that the provider has refused."""
        if not parameters.offered:
            return Request(model, calls_as_text(system_first(messages)))
        choice = {"tool_choice": parameters.required_function or "any"} if parameters.requires_call else {}
        tools = [{"type": "function", "function": function} for function in parameters.offered.values()]
        return Request(model, system_first(messages), model.bind_tools(tools, **choice).kwargs)

    def arguments(self, piece: str | None) -> str | None:
        """A piece of a call's arguments, as the client should get it."""
        return piece

    def usage(self, message: Any, info: Mapping[str, Any]) -> Usage | None:
        """The usage that a message reports, if it does. `info`: LangChain's information beside the message."""
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
    """`BaseChatOpenAI`: parameters go to the provider as the client sent them, beside LangChain's fields."""

    supports_json_format = True
    optional_fields = ("stream_options", "response_format", "parallel_tool_calls")

    def supports_functions(self, model: Any) -> bool:
        return True

    def accepts(self, part: Part) -> bool:
        return True

    def request(self, model: Any, messages: Sequence[Any], parameters: Parameters, refused: set[str]) -> Request:
        body = dict(parameters.sampling)
        if functions := parameters.functions:
            body["tools"] = list(functions.tools.values())
            if functions.choice is not None:
                body["tool_choice"] = functions.choice
            if functions.parallel is not None:
                body["parallel_tool_calls"] = functions.parallel
        if parameters.format:
            body["response_format"] = parameters.format.response_format
            if "response_format" in refused:
                messages = with_instruction(messages, json_instruction(parameters.format))
        body = {name: value for name, value in body.items() if name not in refused}
        return Request(model, [self._verbatim(message) for message in messages], {"extra_body": body})

    @staticmethod
    def _verbatim(message: Any) -> Any:
        """LangChain serializes parsed calls anew. Where a message has none, it sends the calls as they came."""
        if message.content == []:
            message = copy_with_fields(message, content="")
        if isinstance(message, AIMessage) and message.additional_kwargs.get("tool_calls"):
            return copy_with_fields(message, tool_calls=[], invalid_tool_calls=[])
        return message


class Ollama(ProviderAdapter):
    """`ChatOllama`: it has no `tool_choice`, and a reply to a request with functions is not streamed."""

    optional_fields = ("format",)

    def accepts(self, part: Part) -> bool:
        return isinstance(part, str) or (isinstance(part, Image) and self._is_image(part.base64))

    def request(self, model: Any, messages: Sequence[Any], parameters: Parameters, refused: set[str]) -> Request:
        messages = [with_parsed_calls(with_text_content(message)) for message in messages]
        for message in messages:
            self._check_images(message)
        sampling = parameters.sampling_as(
            temperature="temperature",
            top_p="top_p",
            seed="seed",
            presence_penalty="presence_penalty",
            frequency_penalty="frequency_penalty",
        )
        options: dict[str, Any] = {"options": {**model._default_params["options"], **sampling}}
        if parameters.offered:
            options["tools"] = [{"type": "function", "function": tool} for tool in parameters.offered.values()]
        elif parameters.format:
            # Before 0.5 Ollama took no schema here.
            takes_schema = parameters.format.schema is not None and "format" not in refused
            options["format"] = parameters.format.schema if takes_schema else "json"
        return Request(model, messages, options)

    def _check_images(self, message: Any) -> None:
        parts = message.content if isinstance(message.content, list) else []
        for part in parts:
            if part["type"] == "image_url" and not self._is_image(part["image_url"]["url"].rpartition(",")[2]):
                raise ValueError("an image that is not PNG, JPEG, GIF or WebP")

    @staticmethod
    def _is_image(base64: str) -> bool:
        """Whether the text is an image. Where it is the path of a file, Ollama's client would read that file from the
        Cat's disk."""
        return base64.startswith(("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR"))


class Anthropic(ProviderAdapter):
    """`ChatAnthropic`."""

    optional_fields = ("top_p",)

    def accepts(self, part: Part) -> bool:
        return super().accepts(part) or (
            isinstance(part, File) and part.data.startswith(("data:application/pdf", "data:text/"))
        )

    def request(self, model: Any, messages: Sequence[Any], parameters: Parameters, refused: set[str]) -> Request:
        options = parameters.sampling_as(temperature="temperature", top_p="top_p")
        if "temperature" in options:
            options["temperature"] = min(options["temperature"], 1.0)
        if "top_p" in refused:
            # Newer models accept only one of the two, and the panel always sets a temperature.
            options = {**options, "top_p": None} if "temperature" in options else {**options, "temperature": None}
        messages = system_first(messages)
        if parameters.offered:
            options["tools"] = [self._tool(tool) for tool in parameters.offered.values()]
            options["tool_choice"] = self._choice(parameters)
        else:
            # Anthropic refuses calls of functions in the messages of a request that offers none.
            messages = calls_as_text(messages)
        return Request(model, [self._with_documents(with_parsed_calls(message)) for message in messages], options)

    @staticmethod
    def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
        schema = {"type": "object", **function["parameters"]}
        return {"name": function["name"], "description": function["description"], "input_schema": schema}

    @staticmethod
    def _choice(parameters: Parameters) -> dict[str, Any]:
        choice: dict[str, Any] = {"type": "any" if parameters.requires_call else "auto"}
        if parameters.required_function:
            choice = {"type": "tool", "name": parameters.required_function}
        if parameters.functions and parameters.functions.parallel is False:
            choice["disable_parallel_tool_use"] = True
        return choice

    @staticmethod
    def _with_documents(message: Any) -> Any:
        if not isinstance(message, HumanMessage) or isinstance(message.content, str):
            return message
        return copy_with_fields(message, content=[anthropic_part(part) for part in message.content])


class Google(ProviderAdapter):
    """`ChatGoogleGenerativeAI`: its requests have no field for a seed or a penalty."""

    usage_is_total = True
    is_empty_when_blocked = True

    def accepts(self, part: Part) -> bool:
        return isinstance(part, str) or (isinstance(part, Image) and 2 <= len(part.mime_type.partition("/")[2]) <= 4)

    def request(self, model: Any, messages: Sequence[Any], parameters: Parameters, refused: set[str]) -> Request:
        config = parameters.sampling_as(temperature="temperature", top_p="top_p")
        options: dict[str, Any] = {"generation_config": config}
        if parameters.offered:
            functions = [self._declaration(function) for function in parameters.offered.values()]
            calling: dict[str, Any] = {"mode": "AUTO"}
            if parameters.requires_call:
                calling = {"mode": "ANY", "allowed_function_names": list(parameters.offered)}
            options["tools"] = [{"function_declarations": functions}]
            options["tool_config"] = {"function_calling_config": calling}
        elif parameters.format:
            # Google refuses it together with functions.
            config["response_mime_type"] = "application/json"
        return Request(model, list(self._one_call_each(system_first(messages))), options)

    def arguments(self, piece: str | None) -> str | None:
        """Google sends the arguments in one piece, and all numbers as floats."""
        return with_integers(piece) if piece else piece

    @staticmethod
    def _declaration(function: Mapping[str, Any]) -> dict[str, Any]:
        declaration = {"name": function["name"], "description": function["description"]}
        schema = simple_schema(function["parameters"])
        return {**declaration, "parameters": schema} if schema.get("properties") else declaration

    @staticmethod
    def _one_call_each(messages: Sequence[Any]) -> Iterator[Any]:
        """LangChain's class sends one call of a message and no text beside it, and expects each result right after its
        call."""
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
    """`ChatCohere`: it accepts no images and has no `tool_choice`."""

    optional_fields = ("response_format",)
    blocks_the_loop = True

    def accepts(self, part: Part) -> bool:
        return isinstance(part, str)

    def request(self, model: Any, messages: Sequence[Any], parameters: Parameters, refused: set[str]) -> Request:
        options = parameters.sampling_as(
            top_p="p", seed="seed", presence_penalty="presence_penalty", frequency_penalty="frequency_penalty"
        )
        for name, low, high in (("p", 0.01, 0.99), ("presence_penalty", 0, 1), ("frequency_penalty", 0, 1)):
            if name in options:
                options[name] = min(max(options[name], low), high)
        if "temperature" in parameters.sampling:
            # LangChain's class passes its own as an argument, and a second one of that name raises TypeError.
            model = copy_with_fields(model, temperature=parameters.sampling["temperature"])
        if parameters.offered:
            messages = [with_parsed_calls(with_text_content(message)) for message in messages]
            options |= {"tools": [self._tool(tool) for tool in parameters.offered.values()], **self._history(messages)}
        else:
            messages = calls_as_text(messages)
            if parameters.format and "response_format" not in refused:
                schema = {} if parameters.format.schema is None else {"schema": parameters.format.schema}
                options["response_format"] = {"type": "json_object", **schema}
        return Request(model, messages, options)

    @staticmethod
    def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
        definitions = cohere_parameters(function["parameters"])
        description = function["description"] or function["name"]
        return {"name": function["name"], "description": description, "parameter_definitions": definitions}

    @staticmethod
    def _history(messages: Sequence[Any]) -> dict[str, Any]:
        """The messages in Cohere's own form. LangChain's class sends a function's result as a message of the user, and
        drops the calls."""
        entries: list[dict[str, Any]] = []
        calls: dict[str, Any] = {}
        for message in messages:
            if isinstance(message, ToolMessage):
                if not entries or entries[-1]["role"] != "TOOL":
                    entries.append({"role": "TOOL", "tool_results": []})
                call = calls.get(message.tool_call_id, {"name": "", "parameters": {}})
                outputs = [result_object(message.content)]
                entries[-1]["tool_results"].append({"call": call, "outputs": outputs})
            elif isinstance(message, AIMessage):
                parsed = {call["id"]: {"name": call["name"], "parameters": call["args"]} for call in message.tool_calls}
                calls |= parsed
                entry = {"role": "CHATBOT", "message": message.content}
                entries.append({**entry, "tool_calls": list(parsed.values())} if parsed else entry)
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
