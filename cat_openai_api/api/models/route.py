"""`GET /v1/models` and `GET /v1/models/{model}`."""

from ...domain.people import Access
from ...http.request import ApiRequest
from ...http.routing import get
from .protocol import ModelList, ModelObject
from .serving import find_model, list_all_models


@get("/v1/models", access=Access.READ, response_model=ModelList, summary="List models")
async def list_models(request: ApiRequest) -> ModelList:
    """List the Cat, on Cheshire Cat 2 each of its agents, and the embedder as models."""
    return await list_all_models(request.settings)


@get("/v1/models/{model:path}", access=Access.READ, response_model=ModelObject, summary="Retrieve a model")
async def retrieve_model(model: str, request: ApiRequest) -> ModelObject:
    """Retrieve a model by its id or by an alias from the settings."""
    return await find_model(model, request.settings)
