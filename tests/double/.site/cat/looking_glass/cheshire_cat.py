from __future__ import annotations

from typing import Any

from cat.agents.main_agent import MainAgent
from cat.auth.handlers import CoreAuthHandler, CustomAuthHandler
from cat.cache.in_memory_cache import InMemoryCache
from cat.db.crud import get_setting, save_setting
from cat.factory.custom_embedder import CustomOpenAIEmbeddings, DumbEmbedder, FakeEmbeddings
from cat.factory.custom_llm import CustomOpenAI, LLMDefault
from cat.log import log
from cat.mad_hatter.mad_hatter import MadHatter
from cat.memory.vector_memory import LongTermMemory, embed

LLMS: dict[str, Any] = {"LLMDefaultConfig": LLMDefault, "LLMOpenAICompatibleConfig": CustomOpenAI}
"""The LLMs that can be configured, by the names of their settings."""


EMBEDDERS: dict[str, Any] = {
    "EmbedderDumbConfig": DumbEmbedder,
    "EmbedderFakeConfig": FakeEmbeddings,
    "EmbedderOpenAICompatibleConfig": CustomOpenAIEmbeddings,
}


class _CheshireCat:
    def __init__(self, fastapi_app: Any) -> None:
        self.fastapi_app = fastapi_app
        self.custom_auth_handler = CustomAuthHandler()
        self.core_auth_handler = CoreAuthHandler()
        self.cache = InMemoryCache()
        self.memory = LongTermMemory()
        self.main_agent = MainAgent()
        self.mad_hatter = MadHatter()
        self.mad_hatter.execute_hook("before_cat_bootstrap", cat=self)
        self._llm = self._load_llm()
        self.embedder = self._load_embedder()
        self.mad_hatter.on_sync = self._plugins_changed
        self._plugins_changed()
        self.mad_hatter.execute_hook("after_cat_bootstrap", cat=self)

    def choose_llm(self, name: str, config: dict[str, Any]) -> None:
        save_setting("llm", {"name": name, "config": config})
        self._llm = self._load_llm()
        self.memory = LongTermMemory()
        self.mad_hatter.find_plugins()

    def choose_embedder(self, name: str, config: dict[str, Any]) -> None:
        """The double's memory goes on without it."""
        save_setting(name, config)
        save_setting("embedder_selected", {"name": name})
        self.embedder = self._load_embedder()

    def _load_embedder(self) -> Any:
        selected = get_setting("embedder_selected")
        if selected is None:
            return DumbEmbedder()
        try:
            return EMBEDDERS[selected["name"]](**get_setting(selected["name"]))
        except Exception:
            log.error("Error during Embedder instantiation")
            return DumbEmbedder()

    def _load_llm(self) -> Any:
        saved = get_setting("llm") or {"name": "LLMDefaultConfig", "config": {}}
        try:
            return LLMS[saved["name"]](**saved["config"])
        except Exception:
            log.error("Error during LLM instantiation")
            return LLMDefault()

    def _plugins_changed(self) -> None:
        for endpoint in self.mad_hatter.endpoints:
            endpoint.activate(self.fastapi_app)
        procedural = self.memory.vectors.collections["procedural"]
        points, _ = procedural.get_all_points()
        tools = {tool.name: tool for tool in self.mad_hatter.tools}
        procedural.delete_points([point.id for point in points if point.document.metadata["source"] not in tools])
        for name in tools.keys() - {point.document.metadata["source"] for point in points}:
            tool = tools[name]
            for trigger in (f"{name}: {tool.description}", *tool.start_examples):
                procedural.add_point(trigger, embed(trigger), {"source": name})


_cats: list[_CheshireCat] = []


def CheshireCat(*args: Any, **kwargs: Any) -> _CheshireCat:
    """The one Cat of this process; who asks first gives it the application."""
    if not _cats:
        _cats.append(_CheshireCat(*args, **kwargs))
    return _cats[0]
