"""`slo status`: live budgets in the terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from slo.commands.console import (
    DEFINITIONS,
    Definitions,
    Json,
    fail,
    print_json,
    print_table,
    read_duration,
    read_promises,
)
from slo.model import Promise
from slo.prometheus import NoPrometheus, Prometheus
from slo.quantities import say_objective, say_share, say_time
from slo.standing import Standing, observe_standings

BARS = "▁▂▃▄▅▆▇█"
GAP = "·"
STYLES = {"met": "green", "exhausted": "red", "no data": "yellow"}

Address = Annotated[
    str, typer.Option(metavar="URL", envvar="PROMETHEUS_URL", help="[default: that of the running stack]")
]
Watch = Annotated[bool, typer.Option("--watch", help="Stay and redraw; Ctrl-C ends it.")]
Every = Annotated[float, typer.Option(min=0.5, metavar="SECONDS", help="How often --watch looks.")]


def status(
    context: typer.Context,
    definitions: Definitions = DEFINITIONS,
    prometheus: Address = "",
    since: Annotated[
        str, typer.Option(help="How far the courses reach back. [default: 6h, or less under a clock]")
    ] = "",
    watch: Watch = False,
    every: Every = 5.0,
    as_json: Json = False,
) -> None:
    """Show how every promise stands: budget, burn, alerts. Exit code 0 only when all are met and none alerts."""
    if watch and as_json:
        fail("--watch and --json do not go together", "Choose one", code=2)
    surroundings: Mapping[str, Any] = context.obj or {}
    url = prometheus or surroundings.get("endpoints", {}).get("prometheus", "")
    if not url:
        fail("there is no Prometheus to ask", "Start the stack with `signalbox up`, or name one with --prometheus")
    clock = float(surroundings.get("clock", 1.0)) if not prometheus else 1.0
    since_s = read_duration("--since", since).total_seconds() if since else 6 * 3600 / clock
    promises = read_promises(definitions, as_json)
    try:
        with Prometheus(url) as server:
            if watch:
                _stay(server, promises, clock, since_s, every)
            standings = observe_standings(server, promises, clock=clock, since_s=since_s)
    except NoPrometheus as error:
        what, _, remedy = str(error).rpartition("; ")
        fail(what, f"{remedy[:1].upper()}{remedy[1:]}, or name another with --prometheus")
    ok = all(standing.verdict == "met" and not standing.firing for standing in standings)
    if as_json:
        print_json({"ok": ok, "prometheus": url, "slos": [_document(standing) for standing in standings]})
    else:
        print_table(_table(standings))
    raise typer.Exit(0 if ok else 1)


def _stay(server: Prometheus, promises: tuple[Promise, ...], clock: float, since_s: float, every_s: float) -> None:
    """Redraw until interrupted; a Prometheus that goes away is said and asked again."""
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            try:
                shown: Table | Text = _table(observe_standings(server, promises, clock=clock, since_s=since_s))
            except NoPrometheus as error:
                shown = Text(str(error).partition("; ")[0], style="red")
            live.update(shown, refresh=True)
            time.sleep(every_s)


def _document(standing: Standing) -> dict[str, object]:
    promise = standing.promise
    return {
        "name": promise.name,
        "service": promise.service.name,
        "team": promise.team,
        "objective": float(promise.objective),
        "period": promise.windows.period.name,
        "verdict": standing.verdict,
        "budget_remaining_ratio": standing.remaining_ratio,
        "error_ratio": standing.error_ratio,
        "burn_rate": standing.burn_now,
        "burn_rate_head": standing.burn_head,
        "exhausted_in_s": standing.exhausted_in_s,
        "firing": list(standing.firing),
        "burn_course": list(standing.burn_course),
        "budget_course": list(standing.budget_course),
    }


def _table(standings: list[Standing]) -> Table:
    table = Table(
        "SLO", "promise", "", "budget left", "", "burn now", "", "exhausted in", "alerts", box=None, pad_edge=False
    )
    for standing in standings:
        promise = standing.promise
        table.add_row(
            promise.name,
            f"{say_objective(float(promise.objective))} / {promise.windows.period.name}",
            Text(standing.verdict, style=STYLES[standing.verdict]),
            _known(standing.remaining_ratio, say_share),
            sparkline(standing.budget_course, low=0.0, high=1.0),
            _known(standing.burn_now, lambda burn: f"{burn:.3g}×"),
            sparkline(standing.burn_course, low=0.0),
            _exhaustion(standing),
            Text(" ".join(standing.firing) or "-", style="red" if standing.firing else ""),
        )
    return table


def _known(value: float | None, say: Any) -> str:
    return "no data" if value is None else str(say(value))


def _exhaustion(standing: Standing) -> str:
    if standing.remaining_ratio is None or standing.burn_head is None:
        return "unknown"
    if standing.exhausted_in_s is None:
        return "never"
    return "exhausted" if standing.exhausted_in_s == 0 else say_time(standing.exhausted_in_s)


def sparkline(values: tuple[float | None, ...], low: float, high: float | None = None) -> str:
    """One bar a value, a dot where there is none. Without a highest value the greatest is."""
    known = [value for value in values if value is not None]
    top = high if high is not None else max([*known, low])
    span = (top - low) or 1.0
    bars = (
        GAP if value is None else BARS[min(max(int((value - low) / span * len(BARS)), 0), len(BARS) - 1)]
        for value in values
    )
    return "".join(bars)
