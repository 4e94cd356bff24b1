"""The plugin's routes in the application of Cheshire Cat 2."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRouter

from ..detect import IS_CAT_2

if IS_CAT_2 or TYPE_CHECKING:
    from cat.ambient.runtime import ccat

EMPTY_LIFESPAN = APIRouter().lifespan_context
"""Replaces the lifespan of a router, which has a reference to the router and its routes."""


def release_lifespan(router: Any) -> None:
    """The application keeps the lifespans of all routers that were ever included in it. `router`: that of a route."""
    router.lifespan_context = EMPTY_LIFESPAN


def when_routes_change(changed: Callable[[], None]) -> None:
    """Have `changed` called on the event loop whenever the Cat has registered the routes of its plugins anew, until it
    switches this plugin off (see `when_deactivated`)."""
    try:
        mad_hatter = ccat().mad_hatter
    except RuntimeError:
        return  # imported outside of a Cat
    module = sys.modules[__name__]

    async def changed_or_deactivated() -> None:
        if sys.modules.get(__name__) is module:
            changed()
        else:
            # A new list: the Cat iterates over this one.
            callbacks = mad_hatter.on_refresh_callbacks
            mad_hatter.on_refresh_callbacks = [each for each in callbacks if each is not changed_or_deactivated]

    mad_hatter.on_refresh_callbacks.append(changed_or_deactivated)
