"""The Cat that this process runs: the one place that chooses."""

from collections.abc import Callable
from typing import Any

from .detect import IS_CAT_1, IS_CAT_2
from .port import Host
from .v1.host import Cat1
from .v2.host import Cat2

__all__ = ["endpoint", "host"]

SUPPORTED = "Cheshire Cat 1.9.0 to 1.9.2, and 2.0.18 or later"

host: Host = Cat1() if IS_CAT_1 else Cat2()


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
