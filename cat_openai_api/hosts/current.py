"""Which host this process runs: the one place that chooses."""

import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from .detect import IS_CAT_1, IS_CAT_2, MISSING
from .line import LINE
from .names.required import SUPPORTED, problem_for_clients, problem_for_log
from .port import Host
from .shared.incompatible_host import IncompatibleHost
from .v1.host import Cat1
from .v1.lifecycle import when_deactivated as when_deactivated_1
from .v1.routes import OwnMethods, watch_route
from .v2.host import Cat2
from .v2.lifecycle import when_deactivated as when_deactivated_2
from .v2.routes import release_lifespan, when_routes_change

__all__ = ["OwnMethods", "create_host", "endpoint", "watch_routes", "when_deactivated"]


def create_host() -> Host:
    """The host that fits the Cat of this process."""
    if MISSING:
        return IncompatibleHost(problem_for_clients(MISSING), _log())
    if LINE is None:
        return IncompatibleHost(f"Versions that work: {SUPPORTED}.", _log())
    return Cat1() if IS_CAT_1 else Cat2()


def when_deactivated(host: Host, close: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    """Have `close` called when the Cat switches the plugin off. What is returned must be a member of a module, where
    the loader of Cheshire Cat 1.9 finds its hooks. `host`: the one that `create_host` has made."""
    if isinstance(host, Cat1):
        return when_deactivated_1(host.deactivate, close)
    return when_deactivated_2(close) if IS_CAT_2 else None


def watch_routes(changed: Callable[[], None]) -> Callable[[Any], None]:
    """Have `changed` called when the routes of the Cat's plugins change or are about to, in whatever thread that is.

    Returns a function that has to be called with what `endpoint` makes of each route of this plugin.
    """
    if LINE == "1.9":
        return partial(watch_route, changed=changed)
    if IS_CAT_2:
        when_routes_change(changed)
    return release_lifespan if LINE == "2.0" else lambda _: None


class _NoRoutes:
    """In place of the host's `endpoint` on a Cat that the plugin does not know: nothing is registered."""

    def get(self, *_: Any, **__: Any) -> Callable[[Any], None]:
        return lambda _: None

    post = delete = get


def _log() -> Any:
    """The Cat's log, or that of the standard library for a Cat that has none where it is looked for."""
    try:
        from cat.log import log  # noqa: PLC0415 (not on every Cat)
    except Exception:  # whatever the Cat's module raises
        return logging.getLogger("cat_openai_api")
    return log


def _endpoint() -> Any:
    if LINE is None:
        return _NoRoutes()
    try:
        from cat.mad_hatter.decorators import endpoint  # noqa: PLC0415 (not on every Cat)
    except Exception:  # whatever the Cat's module raises; `MISSING` has the name
        return _NoRoutes()
    return endpoint


endpoint = _endpoint()

if MISSING:
    _log().error(problem_for_log(MISSING))
elif LINE is None:
    _log().error(f"OpenAI API: this version of the Cat is not supported. Versions that work: {SUPPORTED}.")
