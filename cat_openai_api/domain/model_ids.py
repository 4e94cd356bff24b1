"""Model ids that are the same on every Cat."""

CAT_MODEL = "cheshire-cat"
"""The Cat itself; on Cat 2 its default agent."""

EMBEDDER_MODEL = "cheshire-cat-embedder"
"""The embedder that is configured in the Cat."""
