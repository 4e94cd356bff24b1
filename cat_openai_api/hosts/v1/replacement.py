"""Attributes of the host's modules and classes that have another value while the plugin is on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LAYER = "openai_api_layer"
"""Attribute of a replacement: its `_Layer`. Other generations of this plugin read it too."""


@dataclass(frozen=True)
class _Layer:
    """`value`: the one that has this layer. `functools.wraps` copies attributes, also from this plugin's functions."""

    replacement: "Replacement"
    original: Any
    value: Any


class Replacement:
    """Another value of an attribute of a host's module or class, from the first `acquire` to the last `release`.

    `make`: gets the value that stands there and returns the one that takes its place, which must have a `__dict__`.

    Other plugins may replace the same attribute, before or after. So may another generation of this plugin, the one
    from before it was switched off and on, whose requests are still under way. Therefore the value is made of
    whatever stands there. It is taken away again only where it is on top. Where another plugin has replaced it in
    turn, it stays below that plugin's value, so it must do no harm there. Each `acquire` puts it on top again. Where
    another plugin has removed the attribute, there is nothing to do: the host fails by itself.
    """

    def __init__(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        self._owner = owner
        self._name = name
        self._make = make
        self._users = 0

    @property
    def is_in_use(self) -> bool:
        return self._users > 0

    def acquire(self) -> None:
        self._users += 1
        current = getattr(self._owner, self._name, None)
        layer = _layer_of(current)
        if current is None or (layer is not None and layer.replacement is self):
            return
        original = _without_unused_layers(current)
        value = self._make(original)
        setattr(value, LAYER, _Layer(self, original, value))
        setattr(self._owner, self._name, value)

    def release(self) -> None:
        self._users -= 1
        current = getattr(self._owner, self._name, None)
        layer = _layer_of(current)
        if layer is not None and layer.replacement is self and not self.is_in_use:
            setattr(self._owner, self._name, _without_unused_layers(current))


def _layer_of(value: Any) -> Any:
    """None for what another plugin made of a replacement, be it a subclass or a wrapper."""
    layer = getattr(value, LAYER, None)
    return layer if layer is not None and layer.value is value else None


def _without_unused_layers(value: Any) -> Any:
    layer = _layer_of(value)
    while layer is not None and not layer.replacement.is_in_use:
        value = layer.original
        layer = _layer_of(value)
    return value
