"""The long term memory, with the embedder that the Cat has until one is configured."""

from __future__ import annotations

import contextlib
import math
import re
import string
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from uuid import uuid4

from langchain_core.documents import Document

Embedding = frozenset[str]

PAIRS = {one + other for one, other in combinations(string.printable[10:].lower(), 2)}


def embed(text: str) -> Embedding:
    """The pairs of letters and signs that the text falls into."""
    return PAIRS.intersection(re.findall("..", text))


@dataclass(frozen=True)
class Point:
    id: str
    document: Document
    vector: Embedding


class VectorMemoryCollection:
    """Breaks for good when two threads use it at once, as the real one does on its embedded database."""

    def __init__(self, points: dict[str, Point]) -> None:
        self.points = points
        self._in_use = threading.Lock()
        self._is_broken = False

    def db_is_remote(self) -> bool:
        return False

    def add_point(self, content: str, vector: Embedding, metadata: dict[str, Any]) -> None:
        point = Point(uuid4().hex, Document(page_content=content, metadata=metadata), vector)
        with self._alone():
            self.points[point.id] = point

    def get_all_points(self) -> tuple[list[Point], None]:
        with self._alone():
            return list(self.points.values()), None

    def delete_points(self, points_ids: list[str]) -> None:
        with self._alone():
            for point_id in points_ids:
                del self.points[point_id]

    def recall_memories_from_embedding(
        self, embedding: Embedding, metadata: dict[str, Any], k: int, threshold: float
    ) -> list[tuple[Document, float, Embedding, str]]:
        """The `k` documents most like it, best first, with their likeness, which is at least `threshold`."""
        with self._alone():
            scored = [
                (point.document, _likeness(embedding, point.vector), point.vector, point.id)
                for point in self.points.values()
                if metadata.items() <= point.document.metadata.items()
            ]
        scored.sort(key=lambda found: found[1], reverse=True)
        return [found for found in scored[:k] if found[1] >= threshold]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._in_use.acquire(blocking=False):
            self._is_broken = True
            raise ValueError("the memory is used by two threads at once")
        try:
            if self._is_broken:
                raise ValueError("the memory was used by two threads at once")
            time.sleep(0)  # so that another thread may come
            yield
        finally:
            self._in_use.release()


class VectorMemory:
    def __init__(self, collections: dict[str, VectorMemoryCollection]) -> None:
        self.collections = collections


class LongTermMemory:
    """`before`: of which this is the next, with all that it knows; its objects are new."""

    def __init__(self, before: LongTermMemory | None = None) -> None:
        known = before.vectors.collections if before else {}
        self.vectors = VectorMemory(
            {
                name: VectorMemoryCollection(known[name].points if name in known else {})
                for name in ("episodic", "declarative", "procedural")
            }
        )


def _likeness(one: Embedding, other: Embedding) -> float:
    """The cosine of two vectors of zeros and ones."""
    return len(one & other) / math.sqrt(len(one) * len(other)) if one and other else 0.0
