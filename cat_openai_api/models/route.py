"""`GET /v1/models` and `GET /v1/models/{model}`."""

from ..hosts.port import Access
from ..routing import ApiRequest, get
from . import serving
from .protocol import ModelList, ModelObject


@get("/v1/models", access=Access.READ, response_model=ModelList, summary="List models")
async def list_models(request: ApiRequest) -> ModelList:
    """The Cat, and on Cheshire Cat 2 each of its agents, as models."""
    return serving.list_models()


@get("/v1/models/{model:path}", access=Access.READ, response_model=ModelObject, summary="Retrieve a model")
async def retrieve_model(model: str, request: ApiRequest) -> ModelObject:
    """One model, by its id or by an alias from the settings."""
    return serving.get_model(model, await request.settings())
