"""Counting the tokens of texts, and decoding tokens."""

import asyncio
from collections.abc import Sequence

from .vocabulary import EstimatingTokenizer, Vocabulary

BLOCKING_CHARACTERS = 20_000
"""Texts longer than this (some 5 ms of work) are counted in a thread."""


EXACT_CHARACTERS = 1_000_000
"""Of texts longer than this the tokens are estimated: counting them would take a second and more."""


MESSAGE_OVERHEAD = 4


REPLY_OVERHEAD = 3
"""Tokens of a chat format around a message and before the reply: OpenAI's cookbook, num_tokens_from_messages."""


async def count_tokens(texts: Sequence[str], vocabulary: Vocabulary) -> int:
    """Tokens of all the texts together; an estimate where they are very long."""
    size = sum(map(len, texts))
    tokenizer = vocabulary.tokenizer() if size <= EXACT_CHARACTERS else EstimatingTokenizer()
    if size > BLOCKING_CHARACTERS:
        return await asyncio.to_thread(lambda: sum(map(tokenizer.count, texts)))
    return sum(map(tokenizer.count, texts))


async def decode_tokens(texts: Sequence[str | Sequence[int]], vocabulary: Vocabulary) -> list[str]:
    """The texts, each that is given as tokens decoded. Raises `NoVocabulary` or `UnknownToken`."""
    size = sum(len(text) for text in texts if not isinstance(text, str))
    if not size:
        return [text for text in texts if isinstance(text, str)]
    tokenizer = await vocabulary.exact()

    def decode() -> list[str]:
        return [text if isinstance(text, str) else tokenizer.decode(text) for text in texts]

    return decode() if size < BLOCKING_CHARACTERS else await asyncio.to_thread(decode)


async def count_prompt_tokens(messages: Sequence[str], vocabulary: Vocabulary) -> int:
    """Tokens of a conversation, given the text of each message."""
    return await count_tokens(messages, vocabulary) + MESSAGE_OVERHEAD * len(messages) + REPLY_OVERHEAD
