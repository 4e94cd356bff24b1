"""What the Cat's own storage raises."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...errors import StorageFailed


@contextmanager
def storage_failures(log_error: Callable[[str], object]) -> Iterator[None]:
    """It becomes `StorageFailed`, with a line in the Cat's log."""
    try:
        yield
    except Exception as error:  # a database's own, whichever it is, or a file's
        log_error(f"OpenAI API: the Cat's storage failed: {type(error).__name__}")
        raise StorageFailed from error
