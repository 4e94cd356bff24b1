"""The Cat that this process runs: the one place that chooses."""

from cat.mad_hatter.decorators import endpoint

from .detect import IS_CAT_1, IS_CAT_2
from .port import Host
from .v1 import Cat1
from .v2 import Cat2

__all__ = ["endpoint", "host"]


def _host() -> Host:
    if IS_CAT_2:
        return Cat2()
    if IS_CAT_1:
        return Cat1()
    raise ImportError("the OpenAI API plugin works with Cheshire Cat 1.9.0 to 1.9.2, and 2.0.18 or later")


host: Host = _host()
