"""The plugin's modules of before and after it was switched off and on: runs of both use the same provider."""

import asyncio
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from cat.ambient import runtime
from cat.services.factory import Registry
from cat.services.model_providers.openai_compatible import OpenAICompatibleProvider

SLUG = "openai_compatible"
PACKAGE = "bridge.cat_openai_api.hosts.v2"


class SDKClient:
    """Answers with the parameters of the request."""

    def __init__(self) -> None:
        self.chat = self.completions = self

    async def create(self, **request: Any) -> dict[str, Any]:
        return request


class Provider(OpenAICompatibleProvider):
    slug = SLUG

    async def client(self) -> SDKClient:
        return SDKClient()


class RunLLM:
    """What a run of the plugin's adds to a request."""

    ended = False

    def __init__(self, name: str) -> None:
        self.name = name

    async def create(self, client: Any, request: dict[str, Any]) -> Any:
        return await client.chat.completions.create(**request, run=self.name)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    cat = SimpleNamespace(mad_hatter=SimpleNamespace(hooks={}, on_refresh_callbacks=[]), fastapi_app=None)
    cat.registry = Registry(cat)
    cat.registry.register(Provider)
    monkeypatch.setattr(runtime, "_ccat", cat)
    return cat.registry


def forget() -> dict[str, ModuleType]:
    """Take the plugin's modules out of those that are loaded."""
    return {name: sys.modules.pop(name) for name in [*sys.modules] if name.startswith("bridge.")}


class Generation:
    """The plugin's modules, imported anew."""

    def __init__(self) -> None:
        forget()
        self.providers = importlib.import_module(f"{PACKAGE}.providers").ModelProviders()
        self.run_llm = importlib.import_module(f"{PACKAGE}.llm").run_llm

    @contextmanager
    def run(self) -> Iterator[None]:
        with self.providers.stand_ins():
            yield

    def request(self, registry: Registry, name: str) -> dict[str, Any]:
        """What the LLM gets in a run of that name."""

        async def ask() -> dict[str, Any]:
            self.run_llm.set(RunLLM(name))
            return await self.ask(registry)

        return asyncio.run(ask())

    @staticmethod
    async def ask(registry: Registry) -> dict[str, Any]:
        provider = await registry.get("model_providers", SLUG)
        client = await provider.client()
        request: dict[str, Any] = await client.chat.completions.create(model="test-model")
        return request


@pytest.fixture
def generations() -> Iterator[tuple[Generation, Generation]]:
    loaded = forget()
    try:
        yield Generation(), Generation()
    finally:
        forget()
        sys.modules.update(loaded)


def depth(registry: Registry) -> int:
    """How many stand-ins there are in front of the provider."""
    registered, count = registry.classes["model_providers"][SLUG], 0
    while registered is not Provider:
        registered = type.__getattribute__(registered, "openai_api_replaced_class")
        count += 1
    return count


@pytest.mark.parametrize("first_ends_first", [True, False], ids=["first in, first out", "first in, last out"])
def test_each_run_has_its_own_parameters_whichever_began_and_ended_first(
    registry: Registry, generations: tuple[Generation, Generation], first_ends_first: bool
) -> None:
    first, second = generations
    runs = [first.run(), second.run()]
    for run in runs:
        run.__enter__()
    for steps in (second, first, second, first):
        steps.providers.register()
        assert depth(registry) == 2
        for generation, name in ((first, "first"), (second, "second")):
            assert generation.request(registry, name) == {"model": "test-model", "run": name}
    ending, staying = (0, 1) if first_ends_first else (1, 0)
    runs[ending].__exit__(None, None, None)
    assert depth(registry) == 1
    assert generations[staying].request(registry, "staying") == {"model": "test-model", "run": "staying"}
    assert "run" not in generations[ending].request(registry, "ended")
    runs[staying].__exit__(None, None, None)
    assert registry.classes["model_providers"][SLUG] is Provider


def test_runs_go_on_when_the_cat_has_built_its_registry_anew(
    registry: Registry, generations: tuple[Generation, Generation]
) -> None:
    first, second = generations
    with first.run(), second.run():
        for order in ((first, second), (second, first)):
            registry.classes.clear()
            registry.register(Provider)
            for generation in order:
                generation.providers.register()
            assert depth(registry) == 2
            for generation in order:
                assert generation.request(registry, "mine") == {"model": "test-model", "run": "mine"}
    assert registry.classes["model_providers"][SLUG] is Provider


def test_outside_of_runs_there_is_one_provider_and_it_is_the_hosts(
    registry: Registry, generations: tuple[Generation, Generation]
) -> None:
    first, second = generations
    provider = asyncio.run(registry.get("model_providers", SLUG))
    with first.run(), second.run():
        assert asyncio.run(registry.get("model_providers", SLUG)) is provider is Provider()
        assert asyncio.run(Generation.ask(registry)) == {"model": "test-model"}
    assert vars(provider) == {}


def test_a_stand_in_is_used_again_and_ends_with_the_plugin(
    registry: Registry, generations: tuple[Generation, Generation]
) -> None:
    first, _ = generations
    classes = registry.classes["model_providers"]
    with first.run():
        stand_in = classes[SLUG]
    with first.run():
        assert classes[SLUG] is stand_in
        first.providers.close()
        assert classes[SLUG] is stand_in
    with first.run():
        assert classes[SLUG] is not stand_in
