"""grafana/dashboards/<name>.json of the boards that people design (observability/grafana/definitions).

Owns how a board's words become panels, and that the line on a latency panel is the promise's own limit.
"""

from __future__ import annotations

from collections.abc import Iterable

from slo.boards import Block, Board
from slo.emit import promql
from slo.emit.grafana.frame import emit_dashboard
from slo.emit.grafana.panels import Leads, Panel, Steps, Target
from slo.errors import DefinitionErrors, Problem
from slo.model import Promise


def emit_boards(boards: Iterable[Board], promises: Iterable[Promise]) -> dict[str, str]:
    """Path below the output folder → JSON. Raises DefinitionErrors when a board names an SLO that is not there."""
    known = {promise.name: promise for promise in promises}
    return {f"grafana/dashboards/{board.name}.json": _emit(board, known) for board in boards}


def latency_limit(promise: Promise) -> float | None:
    """The bucket edge in seconds under which an event is good; None for a promise that is not about time."""
    if promise.counters is None:
        return None
    edges = [promql.bucket_edge(matcher) for matcher in promise.counters.counted.matchers]
    return next((float(edge) for edge in edges if edge is not None), None)


def _emit(board: Board, promises: dict[str, Promise]) -> str:
    rows = [(title, [_panel(block, promises) for block in blocks]) for title, blocks in board.rows]
    return emit_dashboard(
        f"signalbox-{board.name}",
        board.title,
        board.about,
        ["designed"],
        rows,
        Leads(board.traces, board.logs),
        variables=board.variables,
        since=board.since,
        refresh="10s",
    )


def _panel(block: Block, promises: dict[str, Promise]) -> Panel:
    steps: Steps = tuple(block.steps)
    if block.objective:
        steps = (*steps, (_limit(block, promises), "red"))
    instant = block.kind in ("stat", "bargauge", "table")
    return Panel(
        block.kind,
        block.title,
        block.about,
        [Target(query.expression, query.legend, instant, query.exemplars) for query in block.queries],
        width=block.width,
        unit=block.unit,
        steps=((None, "transparent" if block.kind == "timeseries" and steps else "green"), *steps),
        limits=block.limits,
        of_lines=block.of_lines,
    )


def _limit(block: Block, promises: dict[str, Promise]) -> float:
    promise = promises.get(block.objective)
    limit = latency_limit(promise) if promise else None
    if limit is None:
        what = f"{block.objective!r} is no SLO with a bucket edge"
        raise DefinitionErrors([Problem(block.at, "objective", "reference-unknown", what, "Name a latency SLO")])
    return limit
