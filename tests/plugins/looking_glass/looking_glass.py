"""A plugin for the tests of model providers: a provider and an agent of its own, and a look at all providers."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any, ClassVar

from cat import Agent, endpoint, tool
from cat.ambient import llm
from cat.ambient.runtime import ccat
from cat.services.model_providers.openai_compatible import OpenAICompatibleProvider
from cat.services.service import ServiceMeta
from cat.types import Message, TextContent

awake = asyncio.Event()
dreamless = asyncio.Event()
napping: list[str] = []
dreams: set[asyncio.Task[Any]] = set()


class CountingMeta(ServiceMeta):
    pass


class Counting(OpenAICompatibleProvider, metaclass=CountingMeta):
    """A provider that counts: its object the requests, its class how often settings were saved and subclasses made."""

    slug = "counting"
    name = "Counting"
    description = "Counts."
    saved = 0
    subclasses: ClassVar[list[str]] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        Counting.subclasses.append(cls.__name__)

    def __init__(self) -> None:
        self.requests = 0

    async def llm(self, *args: Any, **kwargs: Any) -> Any:
        self.requests += 1
        return await super().llm(*args, **kwargs)

    @classmethod
    async def save_settings(cls, payload: Any) -> Any:
        cls.saved += 1
        return await super().save_settings(payload)


class Tweedledum(Agent):
    slug = "tweedledum"
    name = "Tweedledum"
    description = "Sleeps, dreams and asks."
    model = "counting:test-model"

    @tool
    async def nap(self, name: str) -> str:
        """Sleep until somebody wakes you."""
        napping.append(name)
        await awake.wait()
        return "awake"

    @tool
    async def wonder(self, question: str) -> str:
        """Ask the LLM."""
        return (await asked(question)).text

    @tool
    async def dream(self, question: str) -> str:
        """Ask the LLM when the run is over."""

        async def later() -> None:
            await dreamless.wait()
            await asked(question)

        task = asyncio.create_task(later())
        dreams.add(task)
        task.add_done_callback(dreams.discard)
        return "dreaming"


async def asked(question: str) -> Message:
    return await llm("", messages=[Message(role="user", content=[TextContent(text=question)])], stream=False)


@endpoint.get("/looking_glass/napping", role="admin")
async def who_naps() -> list[str]:
    return napping


@endpoint.post("/looking_glass/sleep", role="admin")
async def sleep() -> None:
    awake.clear()
    dreamless.clear()
    napping.clear()


@endpoint.post("/looking_glass/wake", role="admin")
async def wake() -> None:
    awake.set()


@endpoint.post("/looking_glass/dream", role="admin")
async def begin_to_dream() -> None:
    dreamless.set()


@endpoint.get("/looking_glass/counting", role="admin")
async def counting() -> dict[str, Any]:
    provider = await ccat().get("model_providers", "counting")
    return {
        "requests": provider.requests,
        "saved": Counting.saved,
        "subclasses": Counting.subclasses,
        "is_one_object": provider is Counting(),
        "is_a_provider": issubclass(ccat().registry.classes["model_providers"]["counting"], Counting),
        "is_of_the_class": isinstance(Counting(), ccat().registry.classes["model_providers"]["counting"]),
    }


@endpoint.get("/looking_glass/providers", role="admin")
async def providers(plugin: str) -> dict[str, list[str]]:
    """What of the plugin is in the registry and on the providers and their classes; and which subclasses they have."""

    def is_of_plugin(thing: Any) -> bool:
        modules = (getattr(type(thing), "__module__", ""), getattr(thing, "__module__", ""))
        return any(plugin in str(module).split(".") for module in modules)

    def looked_at() -> Iterator[tuple[str, Any]]:
        for slug, registered in ccat().registry.classes["model_providers"].items():
            provider = registered()
            yield f"{slug}: the registered class", registered
            yield f"{slug}: the provider", provider
            yield from ((f"{slug}: the attribute {name}", value) for name, value in vars(provider).items())
            for each in type(provider).__mro__:
                yield from ((f"{slug}: {each.__name__}.{name}", value) for name, value in vars(each).items())

    gc.collect()
    return {
        "of_plugin": [name for name, thing in looked_at() if is_of_plugin(thing)],
        "subclasses": [each.__name__ for each in below(OpenAICompatibleProvider)],
    }


def below(root: type) -> Iterator[type]:
    for each in root.__subclasses__():
        yield each
        yield from below(each)
