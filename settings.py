"""The plugin's settings, one definition for both Cats' panels: names, defaults, ranges and help texts."""

import re
from collections.abc import Collection
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import PydanticCustomError

from .cat_openai_api.hosts.detect import IS_CAT_1


def parse_aliases(text: str) -> dict[str, str]:
    """Parse pairs such as `gpt-4o=cheshire-cat, *=cheshire-cat`, separated by commas or line breaks.

    Returns the model ids by alias. Raises PydanticCustomError and not ValueError: Cat 2 sends the list of validation
    errors as JSON, and a ValueError in their context cannot be serialised.
    """
    aliases: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
        name, equals, model = (side.strip() for side in pair.partition("="))
        if not (name and equals and model):
            raise PydanticCustomError("alias", "The alias '{pair}' is not of the form name=model", {"pair": pair})
        aliases[name] = model
    return aliases


def parse_header_names(text: str) -> list[str]:
    """Parse header names separated by commas or line breaks. Raises PydanticCustomError."""
    names = [name.strip() for name in re.split(r"[,\n]", text) if name.strip()]
    for name in names:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise PydanticCustomError("header", "'{name}' is not a valid header name", {"name": name})
    return names


REDIS_SCHEMES = ("redis", "rediss", "redis+unix", "redis+cluster", "redis+sentinel")


def parse_storage(url: str) -> str | None:
    """The URI with which the `limits` library opens an asynchronous Redis storage; None for `memory://`.

    Schemes of Valkey are accepted as those of Redis. Raises PydanticCustomError, whose message never repeats the URL
    because of the password in it.
    """
    scheme, _, location = url.strip().removeprefix("async+").partition("://")
    if scheme in {"", "memory"} and not location:
        return None
    scheme = re.sub("^valkey", "redis", scheme)
    if scheme not in REDIS_SCHEMES:
        raise PydanticCustomError("storage", "Use memory:// or a Redis URL, such as redis://localhost:6379")
    if not _is_valid_location(scheme, location):
        example = {
            "redis+unix": "redis+unix:///run/redis.sock",
            "redis+sentinel": "redis+sentinel://localhost:26379/mymaster",
        }.get(scheme, f"{scheme}://:password@localhost:6379")
        raise PydanticCustomError(
            "storage",
            "The Redis URL must have the form {example}. In a password, write @ as %40 and / as %2F",
            {"example": example},
        )
    return f"async+{scheme}://{location}"


def _is_valid_location(scheme: str, location: str) -> bool:
    """Whether what follows `scheme://` has the hosts with ports, or the path, that the scheme needs."""
    try:
        parts = urlsplit(f"//{location}")
        hosts = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
        has_hosts = all(host.hostname and host.port for host in hosts)
    except ValueError:
        return False
    if "@" in parts.path + parts.query + parts.fragment:
        # A password with an unescaped "/" in it: what follows the "/" would appear in the log.
        return False
    has_path = len(parts.path) > 1
    return {"redis+unix": has_path, "redis+sentinel": has_hosts and has_path}.get(scheme, has_hosts)


class Settings(BaseModel):
    # No docstring: the forms of both Cats would show it to users.

    rate_limit_per_minute: int = Field(
        60,
        ge=0,
        le=1000,
        title="Rate limit per minute",
        description="Requests that each end user may send within 60 seconds, unless a key has a limit of its own; "
        "embeddings are counted separately. "
        "0 to 1000; 0 means no limit.",
    )
    max_tokens: int = Field(
        4000,
        ge=0,
        le=32000,
        title="Maximum reply length",
        description="In tokens. A request can lower this limit but not raise it. 0 to 32000; 0 means no limit.",
    )
    enable_streaming: bool = Field(
        True,
        title="Streaming",
        description="Off: a client that requests a stream receives the whole reply in one chunk.",
    )
    stream_after_hooks: Literal["auto", "always", "never"] = Field(
        "auto",
        title="Stream after hooks",
        description="For plugins with a hook that changes the finished reply. auto: stream live unless an active "
        "plugin has such a hook; always: send the reply in one chunk after the hooks ran; never: stream live, "
        "and where the hooks changed the text send it again after that.",
    )
    show_steps: bool = Field(
        False,
        title="Show steps",
        description="Send clients the steps that the Cat takes before it replies: calls of its own tools with their "
        "input, on Cheshire Cat 1.9 also what plugins send beside the reply. Chat completions have them as "
        "reasoning_content, responses as reasoning summaries.",
    )
    history: Literal["client", "cat"] = Field(
        "client",
        title="History",
        description="client: the messages of a request are the conversation, as on OpenAI; cat: the Cat stores the "
        "conversation of each end user, and only the last message of a request is added to it.",
    )
    debug_mode: bool = Field(
        False,
        title="Debug mode",
        description="Add details to the log line of each request: requested model, roles and lengths of the "
        "messages, token usage, the error. Keys and message texts are never logged.",
    )
    request_timeout: int = Field(
        120,
        ge=0,
        le=3600,
        title="Request timeout",
        description="Seconds until a reply must be complete. 0 to 3600; 0 means no limit.",
    )
    max_concurrent_requests: int = Field(
        100,
        ge=0,
        le=10000,
        title="Concurrent requests",
        description="Requests that run at the same time. Any more get the error 503. 0 to 10000; 0 means no limit.",
    )
    rate_limit_storage: str = Field(
        "memory://",
        max_length=1000,
        title="Rate limit storage",
        description="Where requests are counted. memory://: each Cat counts its own; a Redis URL, such as "
        "redis://localhost:6379: all Cats with that Redis share one count.",
    )
    metrics: bool = Field(
        False,
        title="Metrics",
        description="Serve metrics for Prometheus at /custom/metrics, to the Cat's API key and to admins.",
    )
    embeddings: bool = Field(
        True,
        title="Embeddings",
        description="Let clients use the Cat's embedder. Off: requests for embeddings get an error.",
    )
    fetch_remote_images: bool = Field(
        False,
        title="Fetch remote images",
        description="Download images that a request names by an http(s) URL, from public addresses only. Off: such "
        "a request gets an error.",
    )
    model_aliases: str = Field(
        "",
        max_length=4000,
        title="Model aliases",
        json_schema_extra={"extra": {"type": "TextArea"}},
        description="For clients with a fixed model name: pairs of alias=model; the alias * stands for any other "
        "name. Example: gpt-4o=cheshire-cat, *=cheshire-cat",
    )

    end_user_headers: str = Field(
        "X-OpenWebUI-User-Id, X-User-Id",
        max_length=1000,
        title="End user headers",
        description="Request headers that name the end user where the fields user and safety_identifier are missing; "
        "the first header that is present is used. Only with the Cat's API key, or a key for a service. Empty: no "
        "header is used.",
    )
    skip_background_tasks: bool = Field(
        True,
        title="Skip background tasks",
        description="Requests that chat front ends send on their own (for titles, tags, follow-up questions) are not "
        "stored in the Cat's memory.",
    )

    _models: frozenset[str] | None = PrivateAttr(None)

    model_config = ConfigDict(title="OpenAI API", protected_namespaces=())

    @field_validator("model_aliases")
    @classmethod
    def _check_model_aliases(cls, value: str) -> str:
        parse_aliases(value)
        return value

    @field_validator("end_user_headers")
    @classmethod
    def _check_end_user_headers(cls, value: str) -> str:
        parse_header_names(value)
        return value

    @field_validator("rate_limit_storage")
    @classmethod
    def _check_rate_limit_storage(cls, value: str) -> str:
        parse_storage(value)
        return value

    @field_validator("*", mode="wrap")
    @classmethod
    def _add_title_to_error(cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Put the setting's title into the message: the panel of Cheshire Cat 1.9 shows the message only."""
        try:
            return validate(value)
        except ValidationError as error:
            title = cls.model_fields[info.field_name or ""].title
            reason = error.errors()[0]["msg"]
            raise PydanticCustomError("setting", "{title}: {reason}", {"title": title, "reason": reason}) from None

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """The JSON schema, adapted to what the settings form of this Cat can show."""
        schema = super().model_json_schema(*args, **options)
        for name, field in schema["properties"].items():
            if IS_CAT_1 and "enum" in field:
                # The form of Cat 1.9 makes a select box only of a field that refers to a definition.
                schema.setdefault("$defs", {})[name] = {"type": field["type"], "enum": field["enum"]}
                field["allOf"] = [{"$ref": f"#/$defs/{name}"}]
            elif not IS_CAT_1 and field["type"] == "boolean":
                # The checkbox of Cat 2's form does not show its state, a select box does. The form makes one of
                # `oneOf` only if the type includes "string".
                field["type"] = ["string", "boolean"]
                field["oneOf"] = [{"const": True, "title": "on"}, {"const": False, "title": "off"}]
        return schema

    def for_key(self, models: Collection[str] | None, rate_limit_per_minute: int | None) -> "Settings":
        """These settings for requests with a key of this API that may use these models only, and has a rate limit of
        its own. None: as the settings say."""
        limited = {} if rate_limit_per_minute is None else {"rate_limit_per_minute": rate_limit_per_minute}
        settings = self.model_copy(update=limited)
        settings._models = None if models is None else frozenset(models)
        return settings

    def allows_model(self, model: str) -> bool:
        """Whether the caller may use the model of that id. Another one does not exist for the caller."""
        return self._models is None or model in self._models

    def streams_live(self, *, has_reply_hooks: bool) -> bool:
        """Whether a stream sends the reply as the LLM produces it.

        `has_reply_hooks`: whether an active plugin may change the finished reply.
        """
        return self.stream_after_hooks == "never" or (self.stream_after_hooks == "auto" and not has_reply_hooks)

    def end_user_header_names(self) -> list[str]:
        return parse_header_names(self.end_user_headers)

    def rate_limit_storage_uri(self) -> str | None:
        """See `parse_storage`."""
        return parse_storage(self.rate_limit_storage)

    def aliases(self) -> dict[str, str]:
        """The model ids by alias. The alias `*` stands for any other name."""
        return parse_aliases(self.model_aliases)
