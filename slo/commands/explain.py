"""`slo explain`: the arithmetic of one promise, in words and numbers."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from slo.commands.console import (
    DEFINITIONS,
    Definitions,
    Json,
    one_promise,
    print_json,
    print_table,
    read_promises,
    read_value,
)
from slo.explanation import explain as explanation_of
from slo.quantities import parse_rate, say_count, say_objective, say_share, say_time

Name = Annotated[str, typer.Argument(help="An SLO, for example checkout-availability.")]


def explain(
    name: Name,
    definitions: Definitions = DEFINITIONS,
    traffic: Annotated[str, typer.Option(metavar="RATE", help="Events, such as 10/s or 600/m.")] = "",
    as_json: Json = False,
) -> None:
    """Show the arithmetic of an SLO: budget, thresholds, when it pages and stops, what that spends."""
    promise = one_promise(read_promises(definitions, as_json), name)
    document = explanation_of(promise, read_value("--traffic", traffic, parse_rate) if traffic else None)
    if as_json:
        print_json(document)
        return
    objective = say_objective(document["objective"])
    typer.echo(f"{document['title']}: {objective} over {document['period']}, team {document['team']}\n")
    print_table(_tiers(document["tiers"]))
    typer.echo()
    print_table(_reactions(document["reactions"]))
    for sentence in document["sentences"]:
        typer.echo(f"\n{sentence}")


def _tiers(tiers: list[dict[str, Any]]) -> Table:
    table = Table(
        "tier", "windows", "burn", "errors above", "spent by then", "one error counts below", box=None, pad_edge=False
    )
    for tier in tiers:
        table.add_row(
            tier["severity"],
            f"{tier['long']} and {tier['short']}",
            f"{tier['burn']:g}×",
            say_share(tier["threshold"]),
            say_share(tier["spent_at_firing"]),
            f"{say_count(round(tier['events_that_dilute_one_error']))} in {tier['long']}",
        )
    return table


def _reactions(reactions: list[dict[str, Any]]) -> Table:
    table = Table("errors", "page after", "spent", "stops", "ticket after", "spent", "stops", box=None, pad_edge=False)
    for reaction in reactions:
        cells = [say_share(reaction["error_ratio"])]
        for severity in ("page", "ticket"):
            found = reaction[severity]
            if found is None:
                cells += ["never", "", ""]
            else:
                cells += [say_time(found["after_s"]), say_share(found["spent"]), f"{say_time(found['reset_s'])} after"]
        table.add_row(*cells)
    return table
