"""Which host this process runs: the one place that chooses."""

from collections.abc import Callable, Coroutine
from typing import Any

from .detect import IS_CAT_1, IS_CAT_2
from .port import Host
from .v1.host import Cat1
from .v1.lifecycle import when_deactivated as when_deactivated_1
from .v2.host import Cat2
from .v2.lifecycle import when_deactivated as when_deactivated_2

__all__ = ["create_host", "endpoint", "when_deactivated"]

SUPPORTED = "Cheshire Cat 1.9.0 to 1.9.2, and 2.0.18 or later"


def create_host() -> Host:
    """The host that fits the Cat of this process."""
    return Cat1() if IS_CAT_1 else Cat2()


def when_deactivated(close: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    """Have `close` called when the Cat switches the plugin off. What is returned must be a member of a module, where
    the loader of Cheshire Cat 1.9 finds its hooks."""
    if IS_CAT_1:
        return when_deactivated_1(close)
    return when_deactivated_2(close) if IS_CAT_2 else None


class _NoRoutes:
    """In place of the host's `endpoint` on a Cat that the plugin does not know: nothing is registered."""

    def get(self, *_: Any, **__: Any) -> Callable[[Any], None]:
        return lambda _: None

    post = delete = get


if IS_CAT_1 or IS_CAT_2:
    from cat.mad_hatter.decorators import endpoint
else:
    from cat.log import log

    endpoint = _NoRoutes()
    log.error(f"OpenAI API: this version of the Cat is not supported. Versions that work: {SUPPORTED}.")
