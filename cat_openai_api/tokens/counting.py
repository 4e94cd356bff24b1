"""Counting the tokens of texts, and decoding tokens."""

import asyncio
from collections.abc import Sequence

from .vocabulary import EstimatingTokenizer, Vocabulary

BLOCKING_CHARACTERS = 20_000
"""Longer texts are counted in a thread: the work takes more than about 5 ms."""

MAX_EXACT_CHARACTERS = 1_000_000
"""The tokens of longer texts are estimated: counting them would take more than a second."""

MESSAGE_OVERHEAD = 4
"""Tokens that the chat format adds to each message (OpenAI cookbook, `num_tokens_from_messages`)."""

REPLY_OVERHEAD = 3
"""Tokens that the chat format adds before the reply (same source)."""


async def count_tokens(texts: Sequence[str], vocabulary: Vocabulary) -> int:
    """The number of tokens of all texts together; an estimate if they are longer than `MAX_EXACT_CHARACTERS`."""
    size = sum(map(len, texts))
    tokenizer = vocabulary.tokenizer() if size <= MAX_EXACT_CHARACTERS else EstimatingTokenizer()
    if size > BLOCKING_CHARACTERS:
        return await asyncio.to_thread(lambda: sum(map(tokenizer.count, texts)))
    return sum(map(tokenizer.count, texts))


async def decode_tokens(texts: Sequence[str | Sequence[int]], vocabulary: Vocabulary) -> list[str]:
    """Decode those of `texts` that are lists of tokens. Raises `NoVocabulary` or `UnknownToken`."""
    size = sum(len(text) for text in texts if not isinstance(text, str))
    if not size:
        return [text for text in texts if isinstance(text, str)]
    tokenizer = await vocabulary.exact()

    def decode() -> list[str]:
        return [text if isinstance(text, str) else tokenizer.decode(text) for text in texts]

    return decode() if size < BLOCKING_CHARACTERS else await asyncio.to_thread(decode)


async def count_prompt_tokens(messages: Sequence[str], vocabulary: Vocabulary) -> int:
    """The number of tokens of a conversation with these message texts."""
    return await count_tokens(messages, vocabulary) + MESSAGE_OVERHEAD * len(messages) + REPLY_OVERHEAD
