"""Counting tokens, and cutting a growing text where its limit is reached.

The vocabulary is cl100k_base, which Cheshire Cat 1.9 carries as well. tiktoken downloads it on first use, so
it is loaded aside, and an estimate serves until it is there.
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

RETRY_SECONDS = 600.0
"""After a failed download."""

VOCABULARY_TIMEOUT = 5.0
"""How long tokens wait for a vocabulary that is being loaded."""


MAX_PIECE_LENGTH = 1_000
"""The longest text that tiktoken is given at once: its regular expression recurses over long runs, and in older
versions, as Cheshire Cat 1.9 has, the time for a run grows with its square. Cutting one may make a token more."""


class Tokenizer(Protocol):
    def count(self, text: str) -> int: ...

    def head(self, text: str, tokens: int) -> str:
        """The longest beginning of `text` of at most so many tokens."""


class EstimatingTokenizer:
    """A token for each short word, beginning of a long one, symbol, or letter of another script."""

    _PIECE = re.compile(r"\s*[A-Za-z0-9_]{1,9}|\s*[^\sA-Za-z0-9_]|\s+")

    def count(self, text: str) -> int:
        return sum(1 for _ in self._PIECE.finditer(text))

    def head(self, text: str, tokens: int) -> str:
        return "".join(piece.group() for piece in islice(self._PIECE.finditer(text), tokens))


class TiktokenTokenizer:
    def __init__(self, name: str) -> None:
        import tiktoken  # noqa: PLC0415 (half a second, and here it is spent in a thread)

        self._encoding = tiktoken.get_encoding(name)

    def count(self, text: str) -> int:
        return len(self._encode(text))

    def head(self, text: str, tokens: int) -> str:
        return self._encoding.decode_bytes(self._encode(text)[:tokens]).decode("utf-8", "ignore")

    def decode(self, tokens: Sequence[int]) -> str:
        """Half a character, at either end, becomes U+FFFD. Raises `UnknownToken`."""
        return b"".join(map(self._bytes, tokens)).decode("utf-8", "replace")

    def _bytes(self, token: int) -> bytes:
        try:
            return self._encoding.decode_single_token_bytes(token)
        except (KeyError, OverflowError):
            raise UnknownToken(str(token)[:20]) from None

    def _encode(self, text: str) -> list[int]:
        tokens: list[int] = []
        for piece in _pieces(text):
            tokens += self._encoding.encode_ordinary(piece)
        return tokens


def _pieces(text: str) -> Iterator[str]:
    """Cut before a space where there is one: a word's token begins with it."""
    start = 0
    while start < len(text):
        end = start + MAX_PIECE_LENGTH
        if end < len(text):
            space = text.rfind(" ", start + 1, end)
            end = end if space == -1 else space
        yield text[start:end]
        start = end


class UnknownToken(Exception):
    """The vocabulary has no such token."""


class NoVocabulary(Exception):
    """There is no vocabulary to read tokens with."""


class Vocabulary:
    """The best tokenizer there is at the moment. Asking for it starts the loading, and never waits for it."""

    def __init__(self, encoding: str = ENCODING) -> None:
        self._encoding = encoding
        self._loaded: Tokenizer | None = None
        self._lock = threading.Lock()
        self._loading = False
        self._retry_at = 0.0
        self._settled = threading.Event()

    def tokenizer(self) -> Tokenizer:
        if self._loaded is not None:
            return self._loaded
        with self._lock:
            if not self._loading and time.monotonic() >= self._retry_at:
                self._loading = True
                threading.Thread(target=self._load, name="openai-api-vocabulary", daemon=True).start()
        return EstimatingTokenizer()

    async def exact(self) -> TiktokenTokenizer:
        """The tokenizer that knows the tokens themselves; while it is being loaded, after a moment. Raises
        `NoVocabulary`."""
        if not isinstance(self.tokenizer(), TiktokenTokenizer):
            await asyncio.to_thread(self.wait, VOCABULARY_TIMEOUT)
        tokenizer = self.tokenizer()
        if not isinstance(tokenizer, TiktokenTokenizer):
            raise NoVocabulary
        return tokenizer

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the first attempt (seconds); true when it ended in time. It blocks."""
        self.tokenizer()
        return self._settled.wait(timeout)

    def _load(self) -> None:
        try:
            self._loaded = TiktokenTokenizer(self._encoding)
        except Exception as error:
            # No tiktoken, no network, no cache: whatever the reason, the estimate goes on serving.
            logger.warning("OpenAI API: token counts are estimates: %s", type(error).__name__)
            self._retry_at = time.monotonic() + RETRY_SECONDS
        finally:
            self._loading = False
            self._settled.set()
