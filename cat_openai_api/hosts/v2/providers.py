"""Stand-ins for the Cat's model providers, so that one run can have parameters of its own.

The Cat's registry maps the slug of each service to its class, and plugins register classes in it by design. A provider
is a singleton that all runs share. While runs are under way, this module registers a stand-in class in place of each
provider class of OpenAI's wire format. To a run, the stand-in gives a view of the provider, whose SDK client sends the
run's parameters (see `RunLLM`). To everything else it gives the provider itself. So neither a provider nor its class is
changed, and when the last run ends, the registry has the Cat's own classes again.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..detect import IS_CAT_2
from .llm import RunSDKClient, current_run_llm
from .messages import verbatim

if IS_CAT_2 or TYPE_CHECKING:
    from cat.ambient.runtime import ccat
    from cat.services.model_providers.openai_compatible import OpenAICompatibleProvider
    from cat.services.service import ServiceMeta
else:
    ServiceMeta = type

REPLACED_CLASS = "openai_api_replaced_class"
"""Attribute of a stand-in: the class that was registered before it.

That may be the stand-in of another load of this plugin: when the plugin is switched off and on, its modules are loaded
again, and runs of the modules before go on. Each load finds the stand-ins of the others by this name.
"""


class ModelProviders:
    """The stand-ins of this load of the plugin."""

    def __init__(self) -> None:
        self._runs = 0
        self._stand_ins: dict[str, type] = {}
        self._closed = False

    @contextmanager
    def stand_ins(self) -> Iterator[None]:
        """For the time of one run: the stand-ins are in the registry until the last of the runs has ended."""
        self._runs += 1
        try:
            self.register()
            yield
        finally:
            self._runs -= 1
            if not self._runs:
                self._unregister()

    def register(self) -> None:
        """Put stand-ins into the registry, where they are not in it yet.

        To be called at each step of a run: the Cat builds its registry anew whenever its plugins change.
        """
        classes = _registered_classes()
        for slug, registered in classes.items():
            chain = [*_chain(registered)]
            stand_in, real = self._stand_ins.get(slug), chain[-1]
            if any(each is stand_in for each in chain) or not issubclass(real, OpenAICompatibleProvider):
                continue
            if stand_in is None or _real_class(stand_in) is not real:
                stand_in = self._stand_ins[slug] = _make_stand_in(real)
            type.__setattr__(stand_in, REPLACED_CLASS, registered)
            classes[slug] = stand_in

    def close(self) -> None:
        """Drop the stand-ins that are stored for the next run, as soon as the last run has ended."""
        self._closed = True
        if not self._runs:
            self._stand_ins.clear()

    def _unregister(self) -> None:
        classes = _registered_classes()
        for slug, stand_in in self._stand_ins.items():
            chain, replaced = [*_chain(classes.get(slug))], _replaced_class(stand_in)
            if replaced and chain and chain[0] is stand_in:
                classes[slug] = replaced
            for above in chain:
                if _replaced_class(above) is stand_in:
                    type.__setattr__(above, REPLACED_CLASS, replaced)
            type.__setattr__(stand_in, REPLACED_CLASS, _real_class(stand_in))
        # Kept for the next run, unless the provider is not registered any more.
        real_classes = {[*_chain(registered)][-1] for registered in classes.values()}
        self._stand_ins = {
            slug: stand_in
            for slug, stand_in in self._stand_ins.items()
            if _real_class(stand_in) in real_classes and not self._closed
        }


class StandInMeta(ServiceMeta):
    """The metaclass of stand-ins.

    A stand-in is a subclass of the provider class, but its class methods work on the provider class: the Cat's routes
    call `save_settings` and `refresh` on the class that they find in the registry. The same goes for what is set on it.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """The provider, as its own class makes it; within a run the run's view of it."""
        replaced = _replaced_class(cls)
        assert replaced is not None
        provider = replaced(*args, **kwargs)
        return provider if current_run_llm() is None else _make_view(cls, provider)

    def __getattribute__(cls, name: str) -> Any:
        # Names like `__subclasses__` are about the class itself: whoever walks down the subclasses would never end.
        return type.__getattribute__(cls, name) if name.startswith("__") else getattr(_real_class(cls), name)

    def __setattr__(cls, name: str, value: Any) -> None:
        setattr(_real_class(cls), name, value)

    def __delattr__(cls, name: str) -> None:
        delattr(_real_class(cls), name)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _real_class(cls))

    def __subclasscheck__(cls, subclass: type) -> bool:
        # Not by `issubclass`: ABCMeta asks all subclasses of the provider class, and so this one again.
        return type.__subclasscheck__(_real_class(cls), subclass)


class _Silent:
    """The first base of stand-ins: no `__init_subclass__` of a provider class hears of them."""

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass


def _make_stand_in(real: type) -> type:
    meta: type[type] = StandInMeta
    if not issubclass(meta, type(real)):
        meta = type(meta.__name__, (meta, type(real)), {})
    own = {
        "__module__": real.__module__,
        "__qualname__": real.__qualname__,
        "__doc__": real.__doc__,
        # Methods that a view has of its own. All else it shares with the provider, so these are not in its `__dict__`.
        "__slots__": ("client", "convert_message"),
    }
    # Not by calling `meta`: ABCMeta and the provider's metaclass would set attributes, which the provider class gets.
    return type.__new__(meta, real.__name__, (_Silent, real), own)


def _make_view(stand_in: type, provider: Any) -> Any:
    """A provider with the state of `provider`: what one of them sets, both have."""
    view: Any = object.__new__(stand_in)
    object.__setattr__(view, "__dict__", vars(provider))
    object.__setattr__(view, "client", _with_run_client(provider.client))
    object.__setattr__(view, "convert_message", verbatim(provider.convert_message))
    return view


def _with_run_client(client: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """A provider's method `client`, whose SDK client sends the parameters of the run that calls it."""

    async def run_client() -> Any:
        sdk_client = await client()
        llm = current_run_llm()
        return sdk_client if sdk_client is None or llm is None else RunSDKClient(sdk_client, llm)

    return run_client


def _registered_classes() -> dict[str, type]:
    classes: dict[str, type] = ccat().registry.classes.get("model_providers", {})
    return classes


def _chain(registered: type | None) -> Iterator[type]:
    """The registered class, the class that it replaced and so on; the last one is the Cat's or another plugin's."""
    while registered is not None:
        yield registered
        registered = _replaced_class(registered)


def _replaced_class(registered: type) -> type | None:
    try:
        replaced: type = type.__getattribute__(registered, REPLACED_CLASS)
    except AttributeError:
        return None
    return replaced


def _real_class(stand_in: type) -> type:
    real: type = type.__getattribute__(stand_in, "__bases__")[-1]
    return real
