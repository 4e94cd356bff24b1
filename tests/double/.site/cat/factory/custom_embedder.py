"""The embedders that can be configured."""

import json
import os
import random
import re
import string
from itertools import combinations

import httpx
from langchain_core.embeddings import Embeddings


class DumbEmbedder(Embeddings):
    """The one that the Cat has until another is configured: which pairs of letters and signs a text falls into."""

    def __init__(self) -> None:
        letters = string.printable[10:].lower()
        self.pairs = sorted({one + other for one, other in combinations(letters, 2)})

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        falls_into = [set(re.findall("..", text)) for text in texts]
        return [[float(pair in found) for pair in self.pairs] for found in falls_into]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class CustomOpenAIEmbeddings(Embeddings):
    def __init__(self, url: str) -> None:
        self.url = os.path.join(url, "v1/embeddings")

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        reply = httpx.post(self.url, content=json.dumps({"input": texts}), timeout=None)
        return [item["embedding"] for item in reply.raise_for_status().json()["data"]]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class FakeEmbeddings(Embeddings):
    """Random numbers."""

    def __init__(self, size: int = 128) -> None:
        self.size = size

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [random.gauss(0, 1) for _ in range(self.size)]
