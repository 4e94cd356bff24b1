"""`POST /v1/embeddings`."""

from starlette.responses import Response

from ..admission import person_meant
from ..hosts.port import THE_EMBEDDER, Access
from ..routing import ApiRequest, post, unless_gone
from .protocol import MOST_INPUTS, MOST_TOKENS, EmbeddingList, EmbeddingsRequest
from .serving import embedded, understand


@post(
    "/v1/embeddings",
    access=Access.WRITE,
    bucket="embeddings",
    most_values=MOST_TOKENS + MOST_INPUTS,
    response_model=EmbeddingList,
    summary="Create embeddings",
)
async def create_embeddings(wanted: EmbeddingsRequest, request: ApiRequest) -> Response:
    """A vector for each text, made by the Cat's own embedder."""
    settings = await request.settings()
    person = person_meant(request, wanted.user, settings)
    embedder, texts = await understand(wanted, settings)
    request.observation.model = THE_EMBEDDER
    leave = await request.admit(person)
    try:
        body = await unless_gone(request, embedded(wanted, embedder, texts, settings, request.observation))
    finally:
        leave()
    return Response(body, media_type="application/json")
