"""Finds the route template of a request: ``/v1/users/{user_id}``, never the path.

Owns that look-up for FastAPI and Starlette, routers with prefixes and mounted applications. A path that no route
matches has one shared name, so that strangers cannot grow the label's values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from types import SimpleNamespace
from typing import Any

from prometheus_fastapi_instrumentator.routing import get_route_name
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Mount

from service.telemetry.catalog import UNMATCHED_ROUTE

MAX_MOUNTED = 1024


class RouteTemplates:
    """Templates by route object; mounted applications take the slow, exact way once a route and mount point."""

    def __init__(self, app: Starlette) -> None:
        # Of the application only its routes: with its router, a request that is redirected to the path with or without
        # a slash would be named by that path.
        self._routes = SimpleNamespace(routes=app.routes)
        self._mounted: dict[tuple[int, str], str] = {}

    def template(self, scope: MutableMapping[str, Any]) -> str:
        """Template of the route that answered ``scope``, after the application has returned."""
        route = scope.get("route")
        if "app_root_path" in scope:
            return self._mounted_template(scope, route)
        if route is None:
            return UNMATCHED_ROUTE
        context = scope.get("fastapi")
        if context:  # a router that was included with a prefix: the route itself knows only its own part
            route = context.get("effective_route_context", route)
        return getattr(route, "path", None) or UNMATCHED_ROUTE

    def _mounted_template(self, scope: MutableMapping[str, Any], route: Any) -> str:
        key = (id(route), scope["root_path"])
        template = self._mounted.get(key)
        if template is None:
            outer = {**scope, "root_path": scope["app_root_path"], "app": self._routes}
            template = get_route_name(HTTPConnection(outer), False) or UNMATCHED_ROUTE
            if len(self._mounted) >= MAX_MOUNTED:  # a mount point with a parameter has as many names as it likes
                self._mounted.clear()
            self._mounted[key] = template
        return template


def route_templates(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """``(method, template)`` of every public route, those of included routers and mounted applications too."""
    for route in routes:
        if isinstance(route, Mount):
            yield from route_templates(route.routes, prefix + route.path)
            continue
        contexts = getattr(route, "effective_route_contexts", None)
        for known in contexts() if callable(contexts) else (route,):
            path = getattr(known, "path", None)
            if not path or not getattr(known, "include_in_schema", True):
                continue
            methods = getattr(known, "methods", None) or ()
            yield from ((method, prefix + path) for method in sorted(methods) if method != "HEAD")
