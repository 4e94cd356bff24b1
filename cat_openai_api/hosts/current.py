"""The Cat that this process runs: the one place that chooses."""

from cat.mad_hatter.decorators import endpoint

from .port import Host
from .v2 import Cat2

__all__ = ["endpoint", "host"]

host: Host = Cat2()
