"""When Cheshire Cat 1.9 switches the plugin off."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ..detect import IS_CAT_1
from .tokens import limit_token_counting, restore_token_counting

if IS_CAT_1 or TYPE_CHECKING:
    from cat.mad_hatter.decorators import plugin
    from cat.startup import cheshire_cat_api

    lifespan = cheshire_cat_api.router.lifespan_context


def when_deactivated(close: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    """A hook of the host, for its loader to find among the members of a module. It has `close` called on the event
    loop when the Cat switches the plugin off."""
    limit_token_counting()

    @plugin  # type: ignore[untyped-decorator, unused-ignore]
    def deactivated(_: Any) -> None:
        # FastAPI puts the lifespan of each router that it was ever given before the Cat's own, and with it keeps the
        # router and this plugin's modules. Nobody asks for lifespans any more: the Cat has been started.
        cheshire_cat_api.router.lifespan_context = lifespan
        restore_token_counting()
        asyncio.run_coroutine_threadsafe(close(), cheshire_cat_api.state.event_loop)

    return deactivated
