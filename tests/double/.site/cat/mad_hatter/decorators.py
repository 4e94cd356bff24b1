from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from cat.log import log

PREFIX = "/custom"
TAGS = ["Custom Endpoints"]


class CatHook:
    plugin_id: str

    def __init__(self, name: str, func: Callable[..., Any], priority: int) -> None:
        self.function = func
        self.name = name
        self.priority = priority


def hook(*args: str | Callable[..., Any], priority: int = 1) -> Any:
    """`@hook`, `@hook("name")` and `@hook(priority=2)`."""
    return _decorated(args, lambda name, function: CatHook(name, function, priority))


class CatTool:
    plugin_id: str

    def __init__(self, name: str, func: Callable[..., Any], return_direct: bool, examples: list[str]) -> None:
        self.name = name
        self.func = func
        self.return_direct = return_direct
        self.description = inspect.cleandoc(func.__doc__ or "")
        self.start_examples = examples

    def run(self, input_by_llm: str, cat: Any) -> Any:
        return self.func(input_by_llm, cat=cat)


def tool(*args: str | Callable[..., Any], return_direct: bool = False, examples: list[str] | None = None) -> Any:
    return _decorated(args, lambda name, function: CatTool(name, function, return_direct, examples or []))


class CatPluginDecorator:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__name__


def plugin(func: Callable[..., Any]) -> CatPluginDecorator:
    """Overrides something of the plugin's own: its settings, what is done when it is switched on and off."""
    return CatPluginDecorator(func)


class CustomEndpoint:
    plugin_id: str

    def __init__(
        self,
        prefix: str,
        path: str,
        function: Callable[..., Any],
        methods: set[str],
        tags: list[str],
        **kwargs: Any,
    ) -> None:
        self.name = prefix + path
        self.function = function
        self.methods = methods
        self.tags = tags
        self.kwargs = kwargs
        self._app: Any = None

    def activate(self, app: Any) -> None:
        self._app = app
        if self._routes():
            log.warning(f"There is already an active {self.methods} endpoint with path {self.name}")
            return
        # Directly: what a current FastAPI includes is no route, and cannot be removed as one.
        app.router.add_api_route(self.name, self.function, methods=self.methods, tags=self.tags, **self.kwargs)
        app.openapi_schema = None

    def deactivate(self) -> None:
        for route in self._routes()[:1]:
            self._app.router.routes.remove(route)
            self._app.openapi_schema = None

    def _routes(self) -> list[Any]:
        """Of this path and these methods, whoever added them."""
        routes = self._app.router.routes if self._app else []
        mine = (self.name, self.methods)
        return [route for route in routes if (route.path, getattr(route, "methods", None)) == mine]


class Endpoint:
    def endpoint(
        self,
        path: str,
        methods: Any,
        prefix: str = PREFIX,
        tags: list[str] = TAGS,
        **kwargs: Any,
    ) -> Callable[[Callable[..., Any]], CustomEndpoint]:
        """`kwargs` are those of FastAPI's `add_api_route`."""
        return lambda function: CustomEndpoint(prefix, path, function, set(methods), tags, **kwargs)

    @staticmethod
    def _shorthand(method: str) -> Any:
        def register(
            self: Endpoint,
            path: str,
            prefix: str = PREFIX,
            response_model: Any = None,
            tags: list[str] = TAGS,
            **kwargs: Any,
        ) -> Any:
            return self.endpoint(path, {method}, prefix, tags, response_model=response_model, **kwargs)

        return register

    get = _shorthand("GET")
    post = _shorthand("POST")
    put = _shorthand("PUT")
    delete = _shorthand("DELETE")


endpoint = Endpoint()


def _decorated(arguments: tuple[Any, ...], make: Callable[[str, Callable[..., Any]], Any]) -> Any:
    """The object itself for a bare decorator, a decorator for one with arguments."""
    if not arguments:
        return lambda function: make(function.__name__, function)
    (argument,) = arguments
    if isinstance(argument, str):
        return lambda function: make(argument, function)
    return make(argument.__name__, argument)
