"""Counting tokens, and cutting a growing text where its limit is reached.

The vocabulary is cl100k_base, which Cheshire Cat 1.9 carries as well. tiktoken downloads it on first use, so
it is loaded aside, and an estimate serves until it is there.
"""

import asyncio
import logging
import re
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

logger = logging.getLogger(__name__)

ENCODING = "cl100k_base"

RETRY_SECONDS = 600.0
"""After a failed download."""

PATIENCE_SECONDS = 5.0
"""How long tokens wait for a vocabulary that is being loaded."""

BLOCKING_CHARACTERS = 20_000
"""Texts longer than this (some 5 ms of work) are counted in a thread."""

EXACT_CHARACTERS = 1_000_000
"""Of texts longer than this the tokens are estimated: counting them would take a second and more."""

PIECE_CHARACTERS = 1_000
"""The longest text that tiktoken is given at once: its regular expression recurses over long runs, and in older
versions, as Cheshire Cat 1.9 has, the time for a run grows with its square. Cutting one may make a token more."""

LONGEST_TAIL = 4_000
"""Characters without a sure boundary after which one is assumed, at the price of a token more or less."""

MESSAGE_OVERHEAD = 4
REPLY_OVERHEAD = 3
"""Tokens of a chat format around a message and before the reply: OpenAI's cookbook, num_tokens_from_messages."""


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
        end = start + PIECE_CHARACTERS
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
            await asyncio.to_thread(self.wait, PATIENCE_SECONDS)
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


vocabulary = Vocabulary()
# Loading takes a second: it begins with the plugin, not with the first request.
vocabulary.tokenizer()


async def count_tokens(texts: Sequence[str]) -> int:
    """Tokens of all the texts together; an estimate where they are very long."""
    size = sum(map(len, texts))
    tokenizer = vocabulary.tokenizer() if size <= EXACT_CHARACTERS else EstimatingTokenizer()
    if size > BLOCKING_CHARACTERS:
        return await asyncio.to_thread(lambda: sum(map(tokenizer.count, texts)))
    return sum(map(tokenizer.count, texts))


async def decode_tokens(texts: Sequence[str | Sequence[int]]) -> list[str]:
    """The texts, each that is given as tokens decoded. Raises `NoVocabulary` or `UnknownToken`."""
    size = sum(len(text) for text in texts if not isinstance(text, str))
    if not size:
        return [text for text in texts if isinstance(text, str)]
    tokenizer = await vocabulary.exact()

    def decode() -> list[str]:
        return [text if isinstance(text, str) else tokenizer.decode(text) for text in texts]

    return decode() if size < BLOCKING_CHARACTERS else await asyncio.to_thread(decode)


async def count_prompt_tokens(messages: Sequence[str]) -> int:
    """Tokens of a conversation, given the text of each message."""
    return await count_tokens(messages) + MESSAGE_OVERHEAD * len(messages) + REPLY_OVERHEAD


class TokenBudget:
    """Lets a text pass that comes in pieces, up to `limit` tokens of the whole; 0 is no limit.

    What is certain to stay as it is has been counted once; only the tail behind the last sure boundary is
    counted again with each piece.
    """

    def __init__(self, limit: int, tokenizer: Tokenizer) -> None:
        self._limit = limit
        self._tokenizer = tokenizer
        self._bytes = 0
        self._uncounted: list[str] = []
        self._counted = 0
        self._tail = ""

    def take(self, piece: str) -> tuple[str, bool]:
        """As much of `piece` as may pass, and whether the limit has cut it."""
        if not self._limit:
            return piece, False
        # Of a long piece, no more than may pass is counted.
        for start in range(0, len(piece), LONGEST_TAIL):
            passed, cut = self._take(piece[start : start + LONGEST_TAIL])
            if cut:
                return piece[:start] + passed, True
        return piece, False

    def _take(self, piece: str) -> tuple[str, bool]:
        self._bytes += len(piece.encode("utf-8", "replace"))
        # A token is at least one byte, so most replies end before anything needs counting.
        if self._bytes <= self._limit:
            self._uncounted.append(piece)
            return piece, False
        if self._uncounted:
            self._tail = "".join(self._uncounted)
            self._uncounted.clear()
        text = self._tail + piece
        boundary = _last_boundary(text)
        counted = self._counted + self._tokenizer.count(text[:boundary])
        if counted + self._tokenizer.count(text[boundary:]) <= self._limit:
            self._counted, self._tail = counted, text[boundary:]
            return piece, False
        head = self._tokenizer.head(text, self._limit - self._counted)
        return head[len(self._tail) :], True


def _last_boundary(text: str) -> int:
    """The last place where a letter is followed by what cannot belong to its word; 0 if there is none.

    There the encodings cl100k_base and o200k_base always end a piece (their published split patterns), so the
    tokens before it do not depend on what follows. Behind a very long text without one, its end.
    """
    for position in range(len(text) - 1, max(0, len(text) - LONGEST_TAIL), -1):
        if text[position - 1].isalpha() and not _continues_word(text[position]):
            return position
    return len(text) if len(text) > LONGEST_TAIL else 0


def _continues_word(character: str) -> bool:
    return character.isalpha() or character in "'\u2019" or unicodedata.category(character).startswith("M")
