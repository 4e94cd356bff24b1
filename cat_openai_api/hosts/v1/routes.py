"""The plugin's routes beside those of other plugins on Cheshire Cat 1.9."""

from collections.abc import Callable
from typing import Any


class OwnMethods(set[str]):
    """The HTTP methods of a route of this plugin. They equal those of its own routes only.

    The Cat knows a route by its path and its set of methods (`CustomEndpoint`). It does not register a route of a
    plugin where it finds one of the same path and methods, and when it switches that plugin off, it removes the route
    that it finds, whose ever it is. With these methods it does not take another plugin's route for one of this plugin.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnMethods) and set(self) == set(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # as for every set


def watch_route(endpoint: Any, changed: Callable[[], None]) -> None:
    """Have `changed` called whenever the Cat activates the routes of its plugins.

    It does so each time that plugins are switched on or off, in any thread, for all plugins one after the other: others
    may follow. `endpoint`: a `CustomEndpoint` of this plugin.
    """
    endpoint.methods = OwnMethods(endpoint.methods)
    activate = endpoint.activate

    def activate_and_tell(application: Any) -> None:
        activate(application)
        changed()

    endpoint.activate = activate_and_tell
