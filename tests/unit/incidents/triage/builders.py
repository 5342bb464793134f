"""Small traces and rules for the tests of triage."""

from __future__ import annotations

from itertools import count
from typing import Any

from incidents.trace import Span
from incidents.triage.tree import Tree

_ids = count(1)


def span(service: str, operation: str, took_s: float, *children: Any, kind: str = "server", **more: Any) -> list[Span]:
    """A span and what is under it: children are lists of spans, or lists with their start within the parent."""
    span_id = f"{next(_ids):016x}"
    at = more.pop("at", 0.0)
    tags = {name.replace("__", "."): str(value) for name, value in more.pop("tags", {}).items()}
    events = more.pop("events", [])
    own = Span(
        span_id=span_id,
        parent_id=None,
        service=service,
        operation=operation,
        kind=kind,
        start_s=at,
        duration_s=took_s,
        failed=more.pop("failed", False),
        tags=tags,
        events=events,
        instance=more.pop("instance", ""),
    )
    assert not more, more
    below = []
    for child in children:
        top, *rest = child
        below += [_moved(top, span_id, at), *(_moved(one, one.parent_id, at) for one in rest)]
    return [own, *below]


def _moved(one: Span, parent_id: str | None, by_s: float) -> Span:
    from dataclasses import replace

    return replace(one, parent_id=parent_id, start_s=one.start_s + by_s)


def tree(spans: list[Span]) -> Tree:
    """One trace with an id of its own."""
    from dataclasses import replace

    trace_id = f"{next(_ids):032x}"
    return Tree([replace(one, trace_id=trace_id) for one in spans])


def sql(took_s: float, name: str = "SELECT products", pool: str = "primary", **more: Any) -> list[Span]:
    tags = {"db.system.name": "postgresql", "db.client.connection.pool.name": pool}
    return span("api", name, took_s, kind="client", tags=tags, **more)


def order(charge_s: float = 0.01, *, failed: bool = False, answered: bool = True, **more: Any) -> Tree:
    """gateway → api → payments. `failed`: payments fails, and all above it with it."""
    status = {"http.response.status_code": 500} if failed and answered else {}
    charge = [span("payments", "POST /v1/charges", charge_s, failed=failed, at=0.001)] if answered else []
    call = span("api", "POST", charge_s + 0.002, *charge, kind="client", failed=failed, tags=status, at=0.005, **more)
    top = span(
        *("api", "POST /v1/orders", charge_s + 0.02, call, sql(0.002, at=0.001)),
        failed=failed,
        tags={"http.route": "/v1/orders"},
        at=0.001,
    )
    return tree(span("gateway", "gateway", charge_s + 0.03, top, failed=failed))
