"""The errors a client can meet, and the one place where an exception becomes OpenAI's error object.

Raise an `ApiError` anywhere; `error_for` turns it, and whatever else was raised, into the JSON of a reply
or the event of a stream.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

MAX_MESSAGE_CHARACTERS = 500

MAX_STEP_CHARACTERS = 100
"""Of a path in the request: a key is the client's."""


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = Field(None, description="Path of the request's field at fault.")
    code: str | None = None


class ErrorReply(BaseModel):
    """OpenAI's error object."""

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
    """An error that is meant for the client; the subclasses say which.

    It is an `HTTPException` so that FastAPI lets it pass wherever it is raised.
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
    """`code`: invalid_json, invalid_value, missing_required_parameter or unsupported_parameter."""

    status = 400
    code = "invalid_value"


def invalid(param: str, message: str, code: str = "invalid_value") -> InvalidRequest:
    """For what no validator of one field can tell."""
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
    """`problem`: what is the matter with the model, where it is not that there is none of the name."""

    status = 404
    code = "model_not_found"

    def __init__(self, model: str, available: Sequence[str], problem: str = "does not exist") -> None:
        shown = model if len(model) <= 100 else model[:100] + "…"
        super().__init__(
            f"The model `{shown}` {problem}. Models of this Cat: {', '.join(available)}.",
            param="model",
        )


class EmbeddingsOff(ApiError):
    status = 404
    code = "embeddings_off"

    def __init__(self) -> None:
        super().__init__("Embeddings are off: see the settings of the OpenAI API plugin.")


class NoEmbedder(ApiError):
    """`where`: in the Cat one is chosen."""

    status = 503
    type = "server_error"
    code = "embedder_not_configured"

    def __init__(self, where: str) -> None:
        super().__init__(f"This Cat has no embedder: choose one in {where}.")


class ResponseNotFound(ApiError):
    status = 404
    code = "response_not_found"

    def __init__(self, response_id: str) -> None:
        super().__init__(f"There is no response with the id '{response_id[:100]}', or it is no longer kept.")


class MethodNotAllowed(ApiError):
    status = 405
    code = "method_not_supported"


class RequestTooLarge(ApiError):
    status = 413
    code = "request_too_large"

    def __init__(self, megabytes: int) -> None:
        # The server would go on reading what the client goes on sending.
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
        super().__init__("The OpenAI API plugin of this Cat met an error of its own. The Cat's log has the details.")


class UpstreamError(ApiError):
    """The Cat's pipeline or its LLM failed. What the provider said stays in the Cat's log."""

    status = 502
    type = "server_error"
    code = "upstream_error"

    def __init__(
        self,
        message: str = "The Cat could not answer: its pipeline or its LLM failed. The Cat's log has the details.",
    ) -> None:
        super().__init__(message)


class EmbedderFailed(UpstreamError):
    def __init__(self) -> None:
        super().__init__("The Cat's embedder failed. The Cat's log has the details.")


class StorageFailed(ApiError):
    """The Cat's own storage cannot be read, or not be written to. What it said stays in the Cat's log."""

    status = 503
    type = "server_error"
    code = "storage_failed"

    def __init__(self) -> None:
        super().__init__("The Cat's storage failed. The Cat's log has the details.")


class InvalidModelOutput(ApiError):
    """The reply is not the JSON that was asked for."""

    status = 502
    type = "server_error"
    code = "invalid_model_output"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The Cat's reply is not the JSON that was asked for: {reason}")


class Overloaded(ApiError):
    status = 503
    type = "server_error"
    code = "overloaded"

    def __init__(self, limit: int, count: int = 1) -> None:
        needed = "" if count == 1 else f" This request has {count} of them."
        super().__init__(
            f"The Cat runs at most {limit} generations at the same time, and all are in use.{needed} "
            "Try again in a moment.",
            headers={"Retry-After": "1"},
        )


class RequestTimeout(ApiError):
    status = 504
    type = "server_error"
    code = "timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The Cat did not finish its reply within {seconds:g} seconds.")


class MetricsOff(ApiError):
    status = 404
    code = "metrics_off"

    def __init__(self) -> None:
        super().__init__("Metrics are off: see the settings of the OpenAI API plugin.")


class MetricsUnavailable(ApiError):
    status = 503
    type = "server_error"
    code = "metrics_unavailable"


def error_for(error: Exception, request_body: Any = None) -> ApiError | None:
    """The client's view of any exception; None for one that nobody foresaw, which is a defect of ours.

    `request_body`: the parsed JSON, for the path of an invalid field.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _validation_error(error.errors(), request_body)
    if isinstance(error, HTTPException) and error.status_code == 405:
        return MethodNotAllowed("This route does not take that HTTP method.", headers=error.headers)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return InvalidRequest(str(error.detail))
    return None


def _validation_error(errors: Sequence[Mapping[str, Any]], body: Any) -> InvalidRequest:
    """One error out of Pydantic's list: for a union it lists each branch, and the deepest is the one meant, or else
    that of the branch whose type it has."""
    for error in errors:
        if error["loc"][0] in ("path", "query"):
            return invalid(str(error["loc"][-1]), error["msg"])
    located = ((error, _path(error, body)) for error in errors)
    error, path = max(located, key=lambda found: (len(found[1]), not found[0]["type"].endswith("_type")))
    if not path:
        if body is None:
            return InvalidRequest("The request has no body; send a JSON object.", code="invalid_json")
        return InvalidRequest("The request's body must be a JSON object.")
    param = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:MAX_STEP_CHARACTERS]}" for step in path)
    param = param.lstrip(".")
    if error["type"] in {"missing", "union_tag_not_found"}:
        return InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    code = "unsupported_parameter" if error["type"] == "unsupported_parameter" else "invalid_value"
    # Pydantic puts the prefix before what a validator of ours said; a message may quote what the client sent.
    message = error["msg"].removeprefix("Value error, ")[:MAX_MESSAGE_CHARACTERS]
    return invalid(param, message, code)


def _path(error: Mapping[str, Any], body: Any) -> list[str | int]:
    """Where in the body: Pydantic's `loc` less the leading "body" and the names of union branches."""
    path: list[str | int] = []
    here = body
    steps = error["loc"][1:]
    for position, step in enumerate(steps):
        absent = error["type"] == "missing" and position == len(steps) - 1
        if isinstance(step, int) and isinstance(here, list) and step < len(here):
            here = here[step]
        elif isinstance(step, str) and isinstance(here, dict) and (step in here or absent):
            here = here.get(step)
        else:
            continue
        path.append(step)
    if error["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        path.append(error["ctx"]["discriminator"].strip("'"))
    return path
