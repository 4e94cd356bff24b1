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


@dataclass(frozen=True)
class Count:
    count: int


class QdrantClient:
    """A database of its own in this process. Breaks for good when two threads use it at once, as the real one."""

    def __init__(self) -> None:
        self._points: dict[str, dict[str, Point]] = {}
        self._in_use = threading.Lock()
        self._is_broken = False

    def upsert(self, collection_name: str, point: Point) -> None:
        with self._alone():
            self._in(collection_name)[point.id] = point

    def scroll(self, collection_name: str) -> list[Point]:
        with self._alone():
            return list(self._in(collection_name).values())

    def count(self, collection_name: str, count_filter: dict[str, Any] | None = None, exact: bool = True) -> Count:
        with self._alone():
            return Count(len(_selected(self._in(collection_name), count_filter or {})))

    def delete(self, collection_name: str, points_selector: list[str] | dict[str, Any]) -> None:
        with self._alone():
            points = self._in(collection_name)
            for point_id in _selected(points, points_selector):
                del points[point_id]

    def query_points(self, collection_name: str, query: Embedding) -> list[tuple[Point, float]]:
        """All, best first, with their likeness."""
        with self._alone():
            found = [(point, _likeness(query, point.vector)) for point in self._in(collection_name).values()]
        return sorted(found, key=lambda one: one[1], reverse=True)

    def _in(self, collection_name: str) -> dict[str, Point]:
        return self._points.setdefault(collection_name, {})

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


class VectorMemoryCollection:
    def __init__(self, client: QdrantClient, collection_name: str) -> None:
        self.client = client
        self.collection_name = collection_name

    def add_point(self, content: str, vector: Embedding, metadata: dict[str, Any]) -> None:
        point = Point(uuid4().hex, Document(page_content=content, metadata=metadata), vector)
        self.client.upsert(self.collection_name, point)

    def get_all_points(self) -> tuple[list[Point], None]:
        return self.client.scroll(self.collection_name), None

    def delete_points(self, points_ids: list[str]) -> None:
        self.client.delete(self.collection_name, points_ids)

    def delete_points_by_metadata_filter(self, metadata: dict[str, Any] | None = None) -> None:
        self.client.delete(self.collection_name, self._qdrant_filter_from_dict(metadata or {}))

    def _qdrant_filter_from_dict(self, filter: dict[str, Any]) -> dict[str, Any]:
        return filter

    def recall_memories_from_embedding(
        self, embedding: Embedding, metadata: dict[str, Any], k: int, threshold: float
    ) -> list[tuple[Document, float, Embedding, str]]:
        """The `k` documents most like it, best first, with their likeness, which is at least `threshold`."""
        found = [
            (point.document, likeness, point.vector, point.id)
            for point, likeness in self.client.query_points(self.collection_name, embedding)
            if metadata.items() <= point.document.metadata.items() and likeness >= threshold
        ]
        return found[:k]


class VectorMemory:
    local_vector_db: QdrantClient | None = None
    """The client of the database, which is there for as long as the Cat runs."""

    def __init__(self) -> None:
        if VectorMemory.local_vector_db is None:
            VectorMemory.local_vector_db = QdrantClient()
        self.vector_db = VectorMemory.local_vector_db
        self.collections = {
            name: VectorMemoryCollection(self.vector_db, name) for name in ("episodic", "declarative", "procedural")
        }


class LongTermMemory:
    """Made anew when an LLM is chosen; what it knows is in the database."""

    def __init__(self) -> None:
        self.vectors = VectorMemory()


def _selected(points: dict[str, Point], selector: list[str] | dict[str, Any]) -> list[str]:
    """Ids, or those of the points that have the metadata."""
    if isinstance(selector, list):
        return selector
    return [point.id for point in points.values() if selector.items() <= point.document.metadata.items()]


def _likeness(one: Embedding, other: Embedding) -> float:
    """The cosine of two vectors of zeros and ones."""
    return len(one & other) / math.sqrt(len(one) * len(other)) if one and other else 0.0
