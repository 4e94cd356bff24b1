from typing import Any

from cat.cache.cache_item import CacheItem


class InMemoryCache:
    """Keeps fewer than a hundred items: when it is full the ten oldest go."""

    def __init__(self) -> None:
        self.items: dict[str, CacheItem] = {}
        self.max_items = 100

    def insert(self, cache_item: CacheItem) -> None:
        self.items[cache_item.key] = cache_item
        if len(self.items) >= self.max_items:
            oldest_first = sorted(self.items.values(), key=lambda item: item.created_at)
            for item in oldest_first[: self.max_items // 10]:
                self.delete(item.key)

    def get_item(self, key: str) -> CacheItem | None:
        item = self.items.get(key)
        if item is not None and item.is_expired():
            self.delete(key)
            return None
        return item

    def get_value(self, key: str) -> Any:
        item = self.get_item(key)
        return None if item is None else item.value

    def delete(self, key: str) -> None:
        self.items.pop(key, None)
