"""Tokenizers, exact and estimating, and the loading of the vocabulary.

The vocabulary is cl100k_base, which Cheshire Cat 1.9 uses as well. tiktoken downloads it on first use, so it is loaded
in a thread. Until it is loaded, tokens are estimated.
"""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

logger = logging.getLogger(__name__)

ENCODING = "cl100k_base"

RETRY_INTERVAL = 600.0
"""Seconds from a failed attempt to load the vocabulary until the next one."""

VOCABULARY_TIMEOUT = 5.0
"""Seconds that a request with tokens waits for the vocabulary."""

MAX_PIECE_LENGTH = 1_000
"""Characters that tiktoken encodes at once. Its regular expression recurses over long runs, and in older versions, such
as that of Cheshire Cat 1.9, the time for a run is quadratic. Each cut may add a token to the count."""


class Tokenizer(Protocol):
    def count(self, text: str) -> int: ...

    def truncate(self, text: str, max_tokens: int) -> str:
        """The longest prefix of `text` with at most `max_tokens` tokens."""


class EstimatingTokenizer:
    """Counts one token for each nine letters or digits of a word, each symbol, and each letter outside of ASCII."""

    _PIECE = re.compile(r"\s*[A-Za-z0-9_]{1,9}|\s*[^\sA-Za-z0-9_]|\s+")

    def count(self, text: str) -> int:
        return sum(1 for _ in self._PIECE.finditer(text))

    def truncate(self, text: str, max_tokens: int) -> str:
        return "".join(piece.group() for piece in islice(self._PIECE.finditer(text), max_tokens))


class TiktokenTokenizer:
    """`name`: of tiktoken's encoding. Creating a tokenizer blocks; it may download the vocabulary."""

    def __init__(self, name: str) -> None:
        import tiktoken  # noqa: PLC0415  the import takes half a second, so it runs in the loading thread

        self._encoding = tiktoken.get_encoding(name)

    def count(self, text: str) -> int:
        return len(self._encode(text))

    def truncate(self, text: str, max_tokens: int) -> str:
        return self._encoding.decode_bytes(self._encode(text)[:max_tokens]).decode("utf-8", "ignore")

    def decode(self, tokens: Sequence[int]) -> str:
        """Decode tokens. Bytes that are not valid UTF-8 become U+FFFD. Raises `UnknownToken`."""
        return b"".join(map(self._decode_token, tokens)).decode("utf-8", "replace")

    def _decode_token(self, token: int) -> bytes:
        try:
            return self._encoding.decode_single_token_bytes(token)
        except (KeyError, OverflowError):
            raise UnknownToken(str(token)[:20]) from None

    def _encode(self, text: str) -> list[int]:
        tokens: list[int] = []
        for piece in _split(text):
            tokens += self._encoding.encode_ordinary(piece)
        return tokens


def _split(text: str) -> Iterator[str]:
    """Pieces of at most `MAX_PIECE_LENGTH` characters, cut before a space if possible: tokens include the space."""
    start = 0
    while start < len(text):
        end = start + MAX_PIECE_LENGTH
        if end < len(text):
            space = text.rfind(" ", start + 1, end)
            end = end if space == -1 else space
        yield text[start:end]
        start = end


class UnknownToken(Exception):
    """The vocabulary does not have the token that is the exception's message."""


class NoVocabulary(Exception):
    """The vocabulary is not loaded."""


class Vocabulary:
    """Loads the vocabulary in a thread when it is first used, and again after a failure."""

    def __init__(self, encoding: str = ENCODING) -> None:
        self._encoding = encoding
        self._loaded: Tokenizer | None = None
        self._lock = threading.Lock()
        self._loading = False
        self._next_attempt = 0.0
        self._first_attempt_ended = threading.Event()

    def tokenizer(self) -> Tokenizer:
        """The exact tokenizer if it is loaded, otherwise an estimating one. Starts the loading; does not block."""
        if self._loaded is not None:
            return self._loaded
        with self._lock:
            if not self._loading and time.monotonic() >= self._next_attempt:
                self._loading = True
                threading.Thread(target=self._load, name="openai-api-vocabulary", daemon=True).start()
        return EstimatingTokenizer()

    async def exact(self) -> TiktokenTokenizer:
        """The exact tokenizer, after waiting up to `VOCABULARY_TIMEOUT` while it is loaded. Raises `NoVocabulary`."""
        if not isinstance(self.tokenizer(), TiktokenTokenizer):
            await asyncio.to_thread(self.wait, VOCABULARY_TIMEOUT)
        tokenizer = self.tokenizer()
        if not isinstance(tokenizer, TiktokenTokenizer):
            raise NoVocabulary
        return tokenizer

    def wait(self, timeout: float) -> bool:
        """Block until the first attempt to load has ended, at most `timeout` seconds; whether it has ended."""
        self.tokenizer()
        return self._first_attempt_ended.wait(timeout)

    def _load(self) -> None:
        try:
            self._loaded = TiktokenTokenizer(self._encoding)
        except Exception as error:
            # tiktoken is not installed, or there is neither a network nor a cache.
            logger.warning("OpenAI API: token counts are estimates: %s", type(error).__name__)
            self._next_attempt = time.monotonic() + RETRY_INTERVAL
        finally:
            self._loading = False
            self._first_attempt_ended.set()
