"""The plugin's modules of before and after it was switched off and on: runs of both use the same provider."""

import asyncio
import importlib
import sys
from types import ModuleType
from typing import Any

MODULE = "bridge.cat_openai_api.hosts.v2.llm"


class Provider:
    """What the plugin needs of a model provider of Cat 2."""

    async def client(self) -> str:
        return "the SDK's client"

    async def convert_message(self, message: Any) -> dict[str, Any]:
        return {}


class Run:
    """Notes with which client it was asked."""

    def __init__(self) -> None:
        self.asked_with: list[Any] = []

    async def ask(self, client: Any, request: dict[str, Any]) -> None:
        self.asked_with.append(client)


def forget() -> dict[str, ModuleType]:
    """Take the plugin's modules out of those that are loaded."""
    return {name: sys.modules.pop(name) for name in [*sys.modules] if name.startswith("bridge.")}


def imported_anew() -> ModuleType:
    forget()
    return importlib.import_module(MODULE)


async def asked(module: ModuleType, provider: Any) -> list[Any]:
    run = Run()
    module.llm_of_run.set(run)
    client = await provider.client()
    await client.chat.completions.create(model="test-model")
    return run.asked_with


def test_each_run_steps_in_once_whichever_came_before_it() -> None:
    loaded = forget()
    try:
        before, after = imported_anew(), imported_anew()
        assert before is not after
        provider = Provider()
        for module in (after, before, after, before):
            module.step_into([provider])
            for runs_in in (before, after):
                assert asyncio.run(asked(runs_in, provider)) == ["the SDK's client"]
    finally:
        forget()
        sys.modules.update(loaded)


def test_without_a_run_the_client_is_as_it_was() -> None:
    module = importlib.import_module(MODULE)
    provider = Provider()
    module.step_into([provider])
    assert asyncio.run(provider.client()) == "the SDK's client"
