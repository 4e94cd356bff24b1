"""`POST /v1/embeddings`."""

from starlette.responses import Response

from ...domain.model_ids import EMBEDDER_MODEL
from ...domain.people import Access
from ...http.disconnect import cancel_on_disconnect
from ...http.request import ApiRequest
from ...http.routing import post
from .protocol import MAX_INPUTS, MAX_TOKENS, EmbeddingList, EmbeddingsRequest
from .serving import embed_texts, parse_request


@post(
    "/v1/embeddings",
    access=Access.WRITE,
    bucket="embeddings",
    max_values=MAX_TOKENS + MAX_INPUTS,
    response_model=EmbeddingList,
    summary="Create embeddings",
)
async def create_embeddings(body: EmbeddingsRequest, request: ApiRequest) -> Response:
    """Create a vector for each text with the Cat's embedder."""
    person = request.end_user(body.user)
    embedder, texts = await parse_request(body, request.settings)
    request.record.model = EMBEDDER_MODEL
    release = await request.admit(person)
    try:
        embedding = embed_texts(body, embedder, texts, request.settings, request.record)
        content = await cancel_on_disconnect(request, embedding)
    finally:
        release()
    return Response(content, media_type="application/json")
