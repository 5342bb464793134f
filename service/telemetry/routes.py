"""Finds the route template of a request: ``/v1/users/{user_id}``, never the path.

Owns that look-up for FastAPI and Starlette, routers with prefixes and mounted applications. A path that no route
matches has one shared name, so that strangers cannot grow the label's values.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from prometheus_fastapi_instrumentator.routing import get_route_name
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from service.telemetry.catalog import UNMATCHED_ROUTE


class RouteTemplates:
    """Templates by route object; mounted applications take the slow, exact way once a route."""

    def __init__(self, app: Starlette | None) -> None:
        self._app = app
        self._mounted: dict[int, str] = {}

    def template(self, scope: MutableMapping[str, Any]) -> str:
        """Template of the route that answered ``scope``, after the application has returned."""
        route = scope.get("route")
        if route is None:
            return UNMATCHED_ROUTE
        if "app_root_path" in scope:
            return self._mounted_template(scope, route)
        context = scope.get("fastapi")
        if context:  # a router that was included with a prefix: the route itself knows only its own part
            route = context.get("effective_route_context", route)
        return getattr(route, "path", None) or UNMATCHED_ROUTE

    def _mounted_template(self, scope: MutableMapping[str, Any], route: Any) -> str:
        template = self._mounted.get(id(route))
        if template is None:
            original = scope["app_root_path"]
            outer = {**scope, "root_path": original, "app": self._app}
            template = get_route_name(HTTPConnection(outer), False) or UNMATCHED_ROUTE
            self._mounted[id(route)] = template
        return template
