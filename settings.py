"""The plugin's settings, one definition for both Cats' panels: names, defaults, ranges and help texts."""

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import PydanticCustomError

from .cat_openai_api.hosts.detect import IS_CAT_1


def parse_aliases(text: str) -> dict[str, str]:
    """`gpt-4o=cheshire-cat, *=cheshire-cat` as a dict of name to model; a line break parts like a comma.

    Raises PydanticCustomError: Cat 2 answers with the list of errors as JSON, which a ValueError among them breaks.
    """
    aliases: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
        name, equals, model = (side.strip() for side in pair.partition("="))
        if not (name and equals and model):
            raise PydanticCustomError("alias", "The alias '{pair}' is not of the form name=model", {"pair": pair})
        aliases[name] = model
    return aliases


def parse_header_names(text: str) -> list[str]:
    """`X-A, X-B` as a list. Raises PydanticCustomError."""
    names = [name.strip() for name in re.split(r"[,\n]", text) if name.strip()]
    for name in names:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise PydanticCustomError("header", "'{name}' is no name of a header", {"name": name})
    return names


REDIS_SCHEMES = ("redis", "rediss", "redis+unix", "redis+cluster", "redis+sentinel")


def parse_storage(url: str) -> str | None:
    """A Redis URL as the limits library takes it for use in an event loop; None for memory://.

    Valkey is Redis by another name. Raises PydanticCustomError, which repeats nothing that could be secret.
    """
    scheme, _, place = url.strip().removeprefix("async+").partition("://")
    if scheme in {"", "memory"} and not place:
        return None
    scheme = re.sub("^valkey", "redis", scheme)
    if scheme not in REDIS_SCHEMES:
        raise PydanticCustomError(
            "storage", "Requests are counted at memory:// or at a Redis URL, such as redis://localhost:6379"
        )
    if not _is_whole(scheme, place):
        example = {
            "redis+unix": "redis+unix:///run/redis.sock",
            "redis+sentinel": "redis+sentinel://localhost:26379/mymaster",
        }.get(scheme, f"{scheme}://:password@localhost:6379")
        raise PydanticCustomError(
            "storage",
            "The Redis URL is not of the form {example} (in a password @ is %40, / is %2F)",
            {"example": example},
        )
    return f"async+{scheme}://{place}"


def _is_whole(scheme: str, place: str) -> bool:
    try:
        parts = urlsplit(f"//{place}")
        hosts = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
        has_hosts = all(host.hostname and host.port for host in hosts)
    except ValueError:
        return False
    if "@" in parts.path + parts.query + parts.fragment:
        # Of a password with / in it the rest would be taken for something else, and shown.
        return False
    has_path = len(parts.path) > 1
    return {"redis+unix": has_path, "redis+sentinel": has_hosts and has_path}.get(scheme, has_hosts)


class Settings(BaseModel):
    rate_limit_per_minute: int = Field(
        60,
        ge=0,
        le=1000,
        title="Rate limit per minute",
        description="Requests of each end user in any minute, embeddings apart from all others. 0 to 1000; "
        "0: no limit.",
    )
    max_tokens: int = Field(
        4000,
        ge=0,
        le=32000,
        title="Longest reply",
        description="In tokens. A request may ask for less, never for more. 0 to 32000; 0: no limit.",
    )
    enable_streaming: bool = Field(
        True,
        title="Streaming",
        description="Off: a client that asks for a stream gets the whole reply in one piece of it.",
    )
    stream_after_hooks: Literal["auto", "always", "never"] = Field(
        "auto",
        title="Stream after hooks",
        description="Plugins may change a finished reply. auto: stream live unless an active plugin does; "
        "always: stream what the hooks left, in one piece; never: stream live, before the hooks.",
    )
    show_steps: bool = Field(
        False,
        title="Show steps",
        description="Clients see what the Cat does before it speaks: calls of its own tools and their input, on "
        "Cheshire Cat 1.9 its notifications. In chat as reasoning_content, in responses as summaries.",
    )
    history: Literal["client", "cat"] = Field(
        "client",
        title="History",
        description="client: the conversation is what the client sends, as on OpenAI; cat: the Cat keeps the "
        "conversation of each end user, and only the last message of a request counts.",
    )
    debug_mode: bool = Field(
        False,
        title="Debug mode",
        description="Log each request's path: model, roles and lengths, timing, tokens, end. Never a key.",
    )
    request_timeout: int = Field(
        120,
        ge=0,
        le=3600,
        title="Time-out",
        description="Seconds that the Cat may take for a whole reply. 0 to 3600; 0: no limit.",
    )
    max_concurrent_requests: int = Field(
        100,
        ge=0,
        le=10000,
        title="Requests at once",
        description="Further ones are refused with 503 until a place is free. 0 to 10000; 0: no limit.",
    )
    rate_limit_storage: str = Field(
        "memory://",
        max_length=1000,
        title="Rate limit storage",
        description="Where requests are counted. memory:// is each Cat by itself; a Redis URL, such as "
        "redis://localhost:6379, is one count for several Cats.",
    )
    metrics: bool = Field(
        False,
        title="Metrics",
        description="Serve numbers for Prometheus at /custom/metrics, to the Cat's API key and to admins.",
    )
    embeddings: bool = Field(
        True,
        title="Embeddings",
        description="Clients may use the Cat's embedder. Off: it is no model of this API.",
    )
    fetch_remote_images: bool = Field(
        False,
        title="Fetch remote images",
        description="Images that a client names by their http(s) address: the Cat fetches them, from public "
        "addresses only. Off: such a request is refused.",
    )
    model_aliases: str = Field(
        "",
        max_length=4000,
        title="Model aliases",
        json_schema_extra={"extra": {"type": "TextArea"}},
        description="For clients with a model name built in: name=model pairs, * for any other name. "
        "Example: gpt-4o=cheshire-cat, *=cheshire-cat",
    )

    end_user_headers: str = Field(
        "X-OpenWebUI-User-Id, X-User-Id",
        max_length=1000,
        title="End user headers",
        description="Headers in which chat front ends say who is talking, where user and safety_identifier are "
        "missing; the first that is there counts. Believed with the Cat's API key only. Empty: none.",
    )
    skip_background_tasks: bool = Field(
        True,
        title="Skip background tasks",
        description="What chat front ends ask behind the user's back (titles, tags, follow-up questions) leaves "
        "nothing in the Cat's memory.",
    )

    model_config = ConfigDict(title="OpenAI API", protected_namespaces=())

    @field_validator("model_aliases")
    @classmethod
    def _pairs(cls, value: str) -> str:
        parse_aliases(value)
        return value

    @field_validator("end_user_headers")
    @classmethod
    def _names(cls, value: str) -> str:
        parse_header_names(value)
        return value

    @field_validator("rate_limit_storage")
    @classmethod
    def _storage(cls, value: str) -> str:
        parse_storage(value)
        return value

    @field_validator("*", mode="wrap")
    @classmethod
    def _named(cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Of what is wrong, the panel of Cheshire Cat 1.9 shows the sentence alone: it names the field."""
        try:
            return validate(value)
        except ValidationError as refused:
            title = cls.model_fields[info.field_name or ""].title
            reason = refused.errors()[0]["msg"]
            raise PydanticCustomError("setting", "{title}: {reason}", {"title": title, "reason": reason}) from None

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """As the form of this Cat's panel can show it."""
        schema = super().model_json_schema(*args, **options)
        for name, field in schema["properties"].items():
            if IS_CAT_1 and "enum" in field:
                # Only values that are a definition of their own become a list to choose from.
                schema.setdefault("$defs", {})[name] = {"type": field["type"], "enum": field["enum"]}
                field["allOf"] = [{"$ref": f"#/$defs/{name}"}]
            elif not IS_CAT_1 and field["type"] == "boolean":
                # A check box does not show whether it is ticked, a list does. It needs the string to be one.
                field["type"] = ["string", "boolean"]
                field["oneOf"] = [{"const": True, "title": "on"}, {"const": False, "title": "off"}]
        return schema

    def streams_live(self, *, rewritten: bool) -> bool:
        """Whether a stream sends the reply as the LLM produces it; `rewritten`: a plugin may change it later."""
        return self.stream_after_hooks == "never" or (self.stream_after_hooks == "auto" and not rewritten)

    def headers_of_end_users(self) -> list[str]:
        return parse_header_names(self.end_user_headers)

    def shared_rate_limit_storage(self) -> str | None:
        """See `parse_storage`."""
        return parse_storage(self.rate_limit_storage)

    def aliases(self) -> dict[str, str]:
        return parse_aliases(self.model_aliases)
