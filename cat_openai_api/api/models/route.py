"""`GET /v1/models` and `GET /v1/models/{model}`."""

from ...domain.people import Access
from ...http.request import ApiRequest
from ...http.routing import get
from .protocol import ModelList, ModelObject
from .serving import all_models, one_model


@get("/v1/models", access=Access.READ, response_model=ModelList, summary="List models")
async def list_models(request: ApiRequest) -> ModelList:
    """The Cat, and on Cheshire Cat 2 each of its agents, as models; last of all, its embedder."""
    return await all_models(request.settings)


@get("/v1/models/{model:path}", access=Access.READ, response_model=ModelObject, summary="Retrieve a model")
async def retrieve_model(model: str, request: ApiRequest) -> ModelObject:
    """One model, by its id or by an alias from the settings."""
    return await one_model(model, request.settings)
