import time
from typing import Any


class CacheItem:
    """`ttl`: in seconds; -1 and None are for ever."""

    def __init__(self, key: str, value: Any, ttl: float | None = None) -> None:
        self.key = key
        self.value = value
        self.ttl = ttl
        self.created_at = time.time()

    def is_expired(self) -> bool:
        return self.ttl not in (-1, None) and self.created_at + self.ttl < time.time()
