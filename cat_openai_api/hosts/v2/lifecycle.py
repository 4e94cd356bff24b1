"""When Cheshire Cat 2 switches the plugin off."""

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ..detect import IS_CAT_2

if IS_CAT_2 or TYPE_CHECKING:
    from cat.ambient.runtime import ccat


def when_deactivated(close: Callable[[], Awaitable[None]]) -> None:
    """Have `close` called once, when the Cat has switched the plugin off.

    The Cat has no hook for that. It removes the plugin's modules from `sys.modules` (`Plugin.deactivate`), and then
    calls `MadHatter.on_refresh_callbacks`, as it does whenever its plugins have changed.
    """
    try:
        mad_hatter = ccat().mad_hatter
    except RuntimeError:
        return  # imported outside of a Cat
    module = sys.modules[__name__]

    async def close_if_deactivated() -> None:
        if sys.modules.get(__name__) is not module:
            # A new list: the Cat iterates over this one.
            callbacks = mad_hatter.on_refresh_callbacks
            mad_hatter.on_refresh_callbacks = [each for each in callbacks if each is not close_if_deactivated]
            await close()

    mad_hatter.on_refresh_callbacks.append(close_if_deactivated)
