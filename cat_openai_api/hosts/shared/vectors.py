"""Batches of texts for an embedder, and checks of the vectors that it returns."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from ...errors import EmbedderFailed
from ..port import DimensionsRefused

Vector: TypeAlias = "array[float]"

MAX_BATCH = 32
"""Texts in one request to an embedder. Some servers accept no more by default."""

MAX_FLOAT32 = 3.4028234663852886e38
"""The largest number of 32 bits: clients may get vectors as base64 of such numbers."""


def batches(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[start : start + MAX_BATCH] for start in range(0, len(texts), MAX_BATCH)]


def check_vectors(returned: Iterable[Iterable[float]], texts: Sequence[str], dimensions: int | None) -> list[Vector]:
    """The embedder's vectors as arrays, which take a quarter of the memory of lists.

    Raises `DimensionsRefused` if they have another size than `dimensions`, and ValueError or TypeError if they are not
    one vector of finite numbers for each of the texts.
    """
    vectors = [array("d", vector) for vector in returned]
    if len(vectors) != len(texts):
        raise ValueError(f"{len(vectors)} vectors for {len(texts)} texts")
    for vector in vectors:
        if not vector or not all(abs(number) <= MAX_FLOAT32 for number in vector):
            raise ValueError("a vector is empty, or has a number that is not finite in 32 bits")
        if dimensions is not None and len(vector) != dimensions:
            raise DimensionsRefused
    return vectors


@contextmanager
def embedder_failures(dimensions: int | None, log_error: Callable[[str], object]) -> Iterator[None]:
    """Turn an embedder's exceptions into `DimensionsRefused`, or into `EmbedderFailed` and a line in the Cat's log."""
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
    """Whether the provider refused the request because of its `dimensions`."""
    return getattr(error, "status_code", None) in (400, 422) and "dimension" in str(error).lower()
