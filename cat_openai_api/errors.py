"""The errors that clients receive, in the form of OpenAI's error object.

Any code may raise an `ApiError`. `error_for` maps it, and every other exception, to the error that is sent as a
response or as an event of a stream.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

MAX_MESSAGE_CHARACTERS = 500

MAX_KEY_CHARACTERS = 100
"""Length of one key in an error's `param`: keys of objects are chosen by the client."""


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = Field(None, description="Path of the request's field that is invalid.")
    code: str | None = None


class ErrorReply(BaseModel):
    """OpenAI's error object (OpenAI API reference, "Error codes")."""

    error: ErrorDetail

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "error": {
                    "message": "The model `gpt-0` does not exist. Models of this Cat: cheshire-cat.",
                    "type": "invalid_request_error",
                    "param": "model",
                    "code": "model_not_found",
                }
            }
        }
    )


class ApiError(HTTPException):
    """An error for the client. `message`: may be shown to anybody, so it contains no secrets.

    A subclass of `HTTPException`, because FastAPI passes those on unchanged wherever they are raised.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "invalid_request_error"
    code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(self.status, detail=message, headers=dict(headers or {}))
        self.reply = ErrorReply(error=ErrorDetail(message=message, type=self.type, param=param, code=code or self.code))

    def body(self) -> dict[str, Any]:
        return self.reply.model_dump()


class InvalidRequest(ApiError):
    """`code`: invalid_json, invalid_value, missing_required_parameter, unsupported_parameter or
    previous_response_not_found."""

    status = 400
    code = "invalid_value"


def invalid(param: str, message: str, code: str = "invalid_value") -> InvalidRequest:
    """The error for one field, for checks that a Pydantic validator cannot make. `param`: path of the field."""
    return InvalidRequest(f"Invalid '{param}': {message}", param=param, code=code)


class InvalidApiKey(ApiError):
    status = 401
    code = "invalid_api_key"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"})


class InsufficientPermissions(ApiError):
    status = 403
    code = "insufficient_permissions"


class ModelNotFound(ApiError):
    """`available`: the ids of the models that can be used. `problem`: predicate of the message's first sentence."""

    status = 404
    code = "model_not_found"

    def __init__(self, model: str, available: Sequence[str], problem: str = "does not exist") -> None:
        shortened = model if len(model) <= 100 else model[:100] + "…"
        others = f"Models of this Cat: {', '.join(available)}." if available else "There is none that you may use here."
        super().__init__(f"The model `{shortened}` {problem}. {others}", param="model")


class EmbeddingsOff(ApiError):
    status = 404
    code = "embeddings_off"

    def __init__(self) -> None:
        super().__init__("Embeddings are switched off in the settings of the OpenAI API plugin.")


class NoEmbedder(ApiError):
    """`where`: the place in the Cat's settings where an embedder is chosen."""

    status = 503
    type = "server_error"
    code = "embedder_not_configured"

    def __init__(self, where: str) -> None:
        super().__init__(f"The Cat has no embedder. Choose one in {where}.")


class ResponseNotFound(ApiError):
    status = 404
    code = "response_not_found"

    def __init__(self, response_id: str) -> None:
        super().__init__(f"The response '{response_id[:100]}' does not exist or is no longer stored.")


class NotFound(ApiError):
    """No route has the path."""

    status = 404
    code = "not_found"

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"Invalid URL ({method[:20]} {path[:200]}): this API has no such path.")


class KeyNotFound(ApiError):
    status = 404
    code = "key_not_found"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"The key '{key_id[:100]}' does not exist.")


class MethodNotAllowed(ApiError):
    status = 405
    code = "method_not_supported"


class RequestTooLarge(ApiError):
    status = 413
    code = "request_too_large"

    def __init__(self, megabytes: int) -> None:
        # Without this header the server would read the rest of the body before it serves the next request.
        super().__init__(f"The request is larger than {megabytes} MiB.", headers={"Connection": "close"})


class RequestTooSlow(ApiError):
    status = 408
    code = "request_timeout"

    def __init__(self, seconds: float) -> None:
        message = f"The request did not arrive within {seconds:g} seconds."
        super().__init__(message, headers={"Connection": "close"})


class RateLimitExceeded(ApiError):
    status = 429
    type = "requests"
    code = "rate_limit_exceeded"


class ShareExceeded(RateLimitExceeded):
    """`limit`: how many of `what` one person has at the same time."""

    def __init__(self, limit: int, what: str) -> None:
        message = f"You have {limit} {what}, and more are not possible. Wait until one of them has ended."
        super().__init__(message, headers={"Retry-After": "1"})


class ConnectionTooOld(ApiError):
    """`minutes`: how long a WebSocket may be open."""

    status = 400
    code = "websocket_connection_limit_reached"

    def __init__(self, minutes: int) -> None:
        super().__init__(f"The WebSocket was open for {minutes} minutes, which is the limit. Open a new one to go on.")


class InsufficientQuota(ApiError):
    """The budget of a key is used up. `seconds`: until it makes sense to try again; `is_final`: in the next day.

    Type and code are OpenAI's (OpenAI docs, "Error codes"). OpenAI's SDKs try again where `x-should-retry` is true.
    """

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"

    def __init__(self, message: str, seconds: int, *, is_final: bool) -> None:
        should_retry = "false" if is_final else "true"
        super().__init__(message, headers={"Retry-After": str(seconds), "x-should-retry": should_retry})


class HostIncompatible(ApiError):
    """The Cat lacks what the plugin needs of it. `problem`: see `Host.problem`."""

    status = 503
    type = "server_error"
    code = "host_incompatible"

    def __init__(self, problem: str) -> None:
        super().__init__(f"The OpenAI API plugin cannot work with this Cat. {problem}")


class InternalError(ApiError):
    status = 500
    type = "server_error"
    code = "internal_error"

    def __init__(self) -> None:
        super().__init__("Internal error in the OpenAI API plugin. The Cat's log has the details.")


class UpstreamError(ApiError):
    """The Cat's pipeline or its LLM failed. The provider's error message is written to the Cat's log only."""

    status = 502
    type = "server_error"
    code = "upstream_error"

    def __init__(
        self,
        message: str = "The Cat's pipeline or its LLM failed. The Cat's log has the details.",
    ) -> None:
        super().__init__(message)


class EmbedderFailed(UpstreamError):
    def __init__(self) -> None:
        super().__init__("The Cat's embedder failed. The Cat's log has the details.")


class StorageFailed(ApiError):
    """The Cat's storage cannot be read or written. The storage's error message is written to the Cat's log only."""

    status = 503
    type = "server_error"
    code = "storage_failed"

    def __init__(self) -> None:
        super().__init__("The Cat's storage failed. The Cat's log has the details.")


class InvalidModelOutput(ApiError):
    """The reply is not JSON of the requested format. `reason`: a sentence that continues the message."""

    status = 502
    type = "server_error"
    code = "invalid_model_output"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The LLM's reply does not match the requested JSON format: {reason}")


class Overloaded(ApiError):
    """`limit`: generations that may run at the same time. `count`: generations that the request needs."""

    status = 503
    type = "server_error"
    code = "overloaded"

    def __init__(self, limit: int, count: int = 1) -> None:
        """`count`: the slots of the limit that the request needs."""
        reason = "all of them are in use" if count == 1 else f"fewer than the {count} of this request are free"
        super().__init__(
            f"The Cat runs at most {limit} generations at the same time, and {reason}. Try again in a moment.",
            headers={"Retry-After": "1"},
        )


class CapacityReached(Overloaded):
    """`limit`: how many of `what` one Cat has at the same time."""

    def __init__(self, limit: int, what: str) -> None:
        message = f"The Cat has {limit} {what}, and more are not possible. Try again in a moment."
        ApiError.__init__(self, message, headers={"Retry-After": "1"})


class RequestTimeout(ApiError):
    status = 504
    type = "server_error"
    code = "timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The Cat did not complete its reply within {seconds:g} seconds.")


class MetricsOff(ApiError):
    status = 404
    code = "metrics_off"

    def __init__(self) -> None:
        super().__init__("Metrics are switched off in the settings of the OpenAI API plugin.")


class MetricsUnavailable(ApiError):
    status = 503
    type = "server_error"
    code = "metrics_unavailable"


def error_for(error: Exception, request_body: Any = None) -> ApiError | None:
    """The error that the client gets for an exception; None for an unexpected one, which is a bug in the plugin.

    `request_body`: the parsed JSON, which is needed for the path of an invalid field.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _validation_error(error.errors(), request_body)
    if isinstance(error, HTTPException) and error.status_code == 405:
        return MethodNotAllowed("This route does not support the HTTP method of the request.", headers=error.headers)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return InvalidRequest(str(error.detail))
    return None


def _validation_error(errors: Sequence[Mapping[str, Any]], body: Any) -> InvalidRequest:
    """The most specific one of Pydantic's errors.

    For a union Pydantic reports the errors of all members. The deepest one belongs to the member that the client
    most likely meant; at equal depth an error that is not about the type does.
    """
    for error in errors:
        if error["loc"][0] in ("path", "query"):
            name = str(error["loc"][1])
            return _missing(name) if error["type"] == "missing" else invalid(name, error["msg"])
    candidates = ((error, _path(error, body)) for error in errors)
    error, path = max(candidates, key=lambda pair: (len(pair[1]), not pair[0]["type"].endswith("_type")))
    if not path:
        if body is None:
            return InvalidRequest("The request has no body. Send a JSON object.", code="invalid_json")
        return InvalidRequest("The request body must be a JSON object.")
    param = "".join(f"[{key}]" if isinstance(key, int) else f".{key[:MAX_KEY_CHARACTERS]}" for key in path)
    param = param.lstrip(".")
    if error["type"] in {"missing", "union_tag_not_found"}:
        return _missing(param)
    if error["type"] == "extra_forbidden":
        return invalid(param, "there is no such field; leave it out", "unsupported_parameter")
    code = "unsupported_parameter" if error["type"] == "unsupported_parameter" else "invalid_value"
    # Pydantic adds the prefix to messages of ValueErrors. A message may quote the request, so it can be long.
    message = error["msg"].removeprefix("Value error, ")[:MAX_MESSAGE_CHARACTERS]
    return invalid(param, message, code)


def _missing(param: str) -> InvalidRequest:
    return InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def _path(error: Mapping[str, Any], body: Any) -> list[str | int]:
    """The keys and indexes that lead to the invalid value in the body.

    Pydantic's `loc` also has a leading "body" and the names of union members; what does not lead further into the
    body is skipped, and so is the name of a member that is the name of a field too, such as "function".
    """
    path: list[str | int] = []
    value = body
    tagged: Any = None
    keys = error["loc"][1:]
    for position, key in enumerate(keys):
        is_missing = error["type"] == "missing" and position == len(keys) - 1
        if isinstance(value, dict) and key == value.get("type") and tagged is not value and position < len(keys) - 1:
            tagged = value
            continue
        if isinstance(key, int) and isinstance(value, list) and key < len(value):
            value = value[key]
        elif isinstance(key, str) and isinstance(value, dict) and (key in value or is_missing):
            value = value.get(key)
        else:
            continue
        path.append(key)
    if error["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        path.append(error["ctx"]["discriminator"].strip("'"))
    return path
