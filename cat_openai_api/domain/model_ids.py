"""Ids of models that have a fixed name."""

CAT_MODEL = "cheshire-cat"
"""Id of the model that is the Cat itself."""


EMBEDDER_MODEL = "cheshire-cat-embedder"
"""Id of the model that is the Cat's embedder, whichever that is at the moment."""
