"""Routes of other plugins that have the path and method of a route of this plugin."""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from dataclasses import dataclass

from fastapi import routing
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, compile_path

from ..domain.log import Log

DELAY = 0.2
"""Seconds after which the routes are looked at once more: a Cat may register them in another thread meanwhile."""


@dataclass(frozen=True)
class _Route:
    """`place`: of the route, or of the router that it is in, in the application's list. `setting`: the name of the
    setting that switches the route on; None for a route that is always on."""

    place: int
    path: str
    methods: frozenset[str]
    module: str
    is_own: bool
    setting: str | None

    def hides(self, later: "_Route") -> bool:
        """Whether all requests to `later`, which is tried after this route, match this one."""
        example = re.sub(r"{[^}]*}", "x", later.path)
        return bool(self.methods & later.methods and compile_path(self.path)[0].match(example))


class RouteClashes:
    """Each clash is logged once, and once more where it is gone and comes back.

    A route with a setting is moved before those of other plugins: it leaves requests to them while it is off.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: frozenset[str] = frozenset()
        self._timer: asyncio.TimerHandle | None = None
        self._is_checked = False
        self._closed = False

    def check(self, routes: Callable[[], list[BaseRoute]], own: type[APIRoute]) -> None:
        """Now and after `DELAY`. To be called on the event loop; calls in one turn of it are one.

        `routes`: of the Cat's application. `own`: the class of the plugin's.
        """
        if self._is_checked or self._closed:
            return
        self._is_checked = True
        loop = asyncio.get_running_loop()
        loop.call_soon(self._turn_ended, context=Context())
        self._check(routes(), own)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(DELAY, self._check_again, routes, own, context=Context())

    def _turn_ended(self) -> None:
        self._is_checked = False

    def _check_again(self, routes: Callable[[], list[BaseRoute]], own: type[APIRoute]) -> None:
        self._timer = None
        self._check(routes(), own)

    def _check(self, routes: list[BaseRoute], own: type[APIRoute]) -> None:
        clashes = [*_clashes([*_flat(routes, own)])]
        for mine, other in clashes:
            if mine.setting and other.place < mine.place:
                routes.insert(other.place, routes.pop(mine.place))
                return self._check(routes, own)
        lines = dict.fromkeys(_line(mine, other) for mine, other in clashes)
        for line in lines:
            if line not in self._known:
                self._log.log_warning(line)
        self._known = frozenset(lines)
        return None

    async def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _clashes(routes: Sequence[_Route]) -> Iterator[tuple[_Route, _Route]]:
    """Each route of this plugin with a route that hides it or is hidden by it.

    An earlier load of this plugin may have left routes of its own, which match no request.
    """
    for mine in (route for route in routes if route.is_own):
        for other in routes:
            if not other.is_own and other.module != mine.module:
                first, second = sorted((mine, other), key=lambda route: route.place)
                if first.hides(second):
                    yield mine, other


def _line(mine: _Route, other: _Route) -> str:
    is_first = mine.place < other.place
    route = f"{', '.join(sorted(mine.methods & other.methods))} {other.path if is_first else mine.path}"
    if not is_first:
        return f"OpenAI API: {route} is a route of {other.module} too, which was registered first and answers"
    if mine.setting:
        return f"OpenAI API: {route} is a route of {other.module} too, which answers while {mine.setting} is off"
    return f"OpenAI API: {route} is a route of {other.module} too, which was registered later and does not answer"


def _flat(routes: Sequence[BaseRoute], own: type[APIRoute]) -> Iterator[_Route]:
    """All routes that have methods and do not yield to others. Current versions of FastAPI keep the routes of an
    included router in it."""
    contexts = getattr(routing, "iter_route_contexts", None)
    for place, entry in enumerate(routes):
        for route in contexts([entry]) if contexts else [entry]:
            path, methods, endpoint = (getattr(route, name, None) for name in ("path_format", "methods", "endpoint"))
            if path and methods and endpoint:
                original = getattr(route, "original_route", route)
                module = str(getattr(endpoint, "__module__", "")).removeprefix("cat.plugins.")
                if getattr(original, "yields", False):
                    continue
                setting = getattr(original, "setting", None)
                yield _Route(place, path, frozenset(methods), module, isinstance(original, own), setting)
