"""`slo canary`: is the new version as good as the one that runs?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from slo.budget import percent
from slo.canary import Caution, Comparison, Judgement, observe
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
from slo.commands.gate import Address
from slo.prometheus import NoPrometheus, Prometheus
from slo.releases import Tally

CODES = {"promote": 0, "roll back": 1, "unknown": 2}
WORDS = {"promote": "PROMOTE", "roll back": "ROLL BACK", "unknown": "CANNOT TELL"}


def canary(
    context: typer.Context,
    version: Annotated[str, typer.Option("--canary", metavar="VERSION", help="The new version.")],
    stable: Annotated[
        str, typer.Option(metavar="VERSION", help="The version to compare with; all others when left out.")
    ] = "",
    window: Annotated[str, typer.Option(metavar="DURATION", help="How far back to look, in real time.")] = "10m",
    slo: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this SLO; may be repeated.")] = None,
    doubt: Annotated[float, typer.Option(help="Accepted chance of a wrong answer, on each side.")] = 0.05,
    looks: Annotated[int, typer.Option(min=1, help="How often this is asked of one canary: doubt is shared.")] = 1,
    most_budget: Annotated[float, typer.Option(help="Share of a period's budget that a canary may spend.")] = 0.02,
    definitions: Definitions = DEFINITIONS,
    prometheus: Address = "",
    as_json: Json = False,
) -> None:
    """Compare a canary with the stable version, SLO by SLO. Exit code 0: promote. 1: roll back. 2: cannot tell yet."""
    if not 0 < doubt < 0.5:
        fail(f"--doubt {doubt:g} is not between 0 and 0.5", "Give for example 0.05", code=2)
    window_s = read_duration("--window", window).total_seconds()
    promises = read_promises(definitions, as_json, decision="unknown")
    known = {promise.name for promise in promises}
    if unknown := sorted(set(slo or ()) - known):
        fail(f"there is no SLO {unknown[0]!r}", f"There are {', '.join(sorted(known))}", code=2)
    surroundings: Mapping[str, Any] = context.obj or {}
    url = prometheus or surroundings.get("endpoints", {}).get("prometheus", "")
    if not url:
        fail("there is no Prometheus to ask", "Start the stack with `signalbox up`, or name one with --prometheus", 2)
    clock = 1.0 if prometheus else float(surroundings.get("clock", 1.0))
    chosen = [promise.at_clock(clock) for promise in promises if not slo or promise.name in slo]
    try:
        with Prometheus(url) as server:
            judgement = observe(server, chosen, version, stable, window_s, Caution(doubt, looks, most_budget))
    except NoPrometheus as error:
        what, _, remedy = str(error).partition("; ")
        fail(what, f"{remedy[:1].upper()}{remedy[1:]}" or "Look at it", code=2)
    if as_json:
        print_json(document(judgement))
    else:
        _print(judgement)
    raise typer.Exit(CODES[judgement.outcome])


def document(judgement: Judgement) -> dict[str, object]:
    """A judgement as `--json` prints it."""
    return {
        "decision": judgement.outcome,
        "reason": judgement.reason,
        "slos": [
            {
                "name": each.promise,
                "decision": each.outcome,
                "reason": each.reason,
                "canary": _tally(each.evidence.canary),
                "stable": _tally(each.evidence.stable),
                "burn_rate": {"least": each.evidence.least_burn, "most": each.evidence.most_burn},
                "chance_ratio": each.evidence.chance,
                "budget_spent_ratio": each.evidence.spent,
            }
            for each in judgement.comparisons
        ],
        "not_told_apart": list(judgement.untold),
    }


def _tally(tally: Tally) -> dict[str, int]:
    return {"events": tally.events, "bad": tally.bad}


def _print(judgement: Judgement) -> None:
    typer.echo(f"{WORDS[judgement.outcome]}  {judgement.reason}")
    if judgement.comparisons:
        table = Table(box=None, pad_edge=False)
        for heading in ("SLO", "decision", "canary bad", "stable bad", "burn", "by chance", "budget spent"):
            table.add_column(heading)
        for each in judgement.comparisons:
            table.add_row(*_row(each))
        print_table(table)
    for name in judgement.untold:
        typer.echo(f"{name} is not judged: its events cannot be told apart by version.", err=True)


def _row(comparison: Comparison) -> tuple[str, ...]:
    seen = comparison.evidence
    shares = (f"{tally.bad} of {tally.events}" for tally in (seen.canary, seen.stable))
    burn = f"{seen.least_burn:.3g} to {seen.most_burn:.3g}"
    return comparison.promise, comparison.outcome, *shares, burn, f"{seen.chance:.2g}", percent(seen.spent)
