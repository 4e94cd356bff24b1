"""When Cheshire Cat 1.9 switches the plugin off."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ..detect import IS_CAT_1

if IS_CAT_1 or TYPE_CHECKING:
    from cat.mad_hatter.decorators import plugin
    from cat.startup import cheshire_cat_api

    lifespan = cheshire_cat_api.router.lifespan_context


def when_deactivated(deactivate: Callable[[], None], close: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    """A hook for the host's loader to find among the members of a module. When the Cat switches the plugin off, the
    hook calls `deactivate`, and has `close` called on the event loop.

    The Cat calls the hook when the plugin is switched off in the panel and before it is removed. It does not when it
    loads all plugins anew because an LLM was saved: then the plugin's modules, and its runtime, stay as they are.
    """

    @plugin  # type: ignore[untyped-decorator, unused-ignore]
    def deactivated(_: Any) -> None:
        # FastAPI wraps the application's lifespan into that of each router it is given, and so keeps the routers of
        # this plugin and their modules. The lifespan from before is enough: it has begun, and is not looked up again.
        cheshire_cat_api.router.lifespan_context = lifespan
        deactivate()
        # The Cat removes plugins on the event loop, and installs them over existing ones in a thread.
        asyncio.run_coroutine_threadsafe(close(), cheshire_cat_api.state.event_loop)

    return deactivated
