"""What embedders give, checked, and in how many texts at once they are asked for it."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from ...errors import EmbedderFailed
from ..port import DimensionsRefused

Vector: TypeAlias = "array[float]"

TEXTS_AT_ONCE = 32
"""What any embedder takes in one request: some servers refuse more, unless they are told otherwise."""

MAX_FLOAT32 = 3.4028234663852886e38
"""Of 32 bits."""


def batches(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]


def vectors_of(given: Iterable[Iterable[float]], texts: Sequence[str], dimensions: int | None) -> list[Vector]:
    """A vector for each of the texts, of that size, in a quarter of the memory that a list takes.

    Raises `DimensionsRefused`, or ValueError or TypeError for what are no such vectors.
    """
    vectors = [array("d", vector) for vector in given]
    if len(vectors) != len(texts):
        raise ValueError(f"{len(vectors)} vectors for {len(texts)} texts")
    for vector in vectors:
        if not vector or not all(abs(number) <= MAX_FLOAT32 for number in vector):
            raise ValueError("a vector is empty, or has numbers that no embedder means")
        if dimensions is not None and len(vector) != dimensions:
            raise DimensionsRefused
    return vectors


@contextmanager
def failures(dimensions: int | None, log_error: Callable[[str], object]) -> Iterator[None]:
    """What an embedder raises becomes `DimensionsRefused`, or `EmbedderFailed` with a line in the Cat's log."""
    try:
        yield
    except DimensionsRefused:
        raise
    except Exception as error:
        if dimensions is not None and _is_about_dimensions(error):
            raise DimensionsRefused from error
        log_error(f"OpenAI API: the embedder failed: {type(error).__name__}")
        raise EmbedderFailed from error


def _is_about_dimensions(error: Exception) -> bool:
    """Whether a provider refuses a request for its `dimensions`."""
    return getattr(error, "status_code", None) in (400, 422) and "dimension" in str(error).lower()
