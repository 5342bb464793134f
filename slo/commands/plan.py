"""`slo plan`: what a change of the definitions means, before anybody is woken by it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from slo.commands.console import DEFINITIONS, Definitions, Json, Series, fail, print_findings, print_json, read_promises
from slo.cost import DEFAULT_SERIES, cost_of
from slo.errors import DefinitionErrors
from slo.plan import compare, say_cost
from slo.revision import NoRevision, read_other

MARKS = {"added": "+", "removed": "-", "changed": "~"}

Against = Annotated[str, typer.Option(metavar="DIR|REF", help="A folder, or a revision that git knows.")]


def plan(
    definitions: Definitions = DEFINITIONS,
    against: Against = "HEAD",
    series: Series = DEFAULT_SERIES,
    as_json: Json = False,
) -> None:
    """Say what a change means: when it pages, what may be lost, which rules, what they cost."""
    after = read_promises(definitions, as_json, changes=[])
    try:
        before = read_other(definitions, against)
    except NoRevision as error:
        what, _, remedy = str(error).partition("; ")
        fail(what, f"{remedy[:1].upper()}{remedy[1:]}", code=2)
    except DefinitionErrors as found:
        print_findings(found.errors)
        fail(f"the definitions of {against} do not compile", "Compare with others")
    changes = compare(before, after, series)
    whole = cost_of(before, series), cost_of(after, series)
    if as_json:
        cost = {"series_per_counter": series, "before": asdict(whole[0]), "after": asdict(whole[1])}
        print_json({"against": against, "changes": [change.document() for change in changes], "cost": cost})
        return
    known = len({promise.name for promise in (*before, *after)})
    for change in changes:
        typer.echo(f"{MARKS[change.kind]} {change.name}")
        for sentence in change.sentences:
            typer.echo(f"    {sentence}")
        rules = [f"{len(names)} rules {what}" for what, names in change.rules.items() if names]
        typer.echo(f"    {', '.join(rules) or 'no rule changes'}")
        if change.kind == "changed" and change.before != change.after:
            typer.echo(f"    costs {say_cost(change.before, change.after)}")
    typer.echo(f"{'No change' if not changes else f'{len(changes)} of {known} SLOs change'} against {against}.")
    typer.echo(f"All {len(after)} SLOs, {series} raw series behind each counter: {say_cost(*whole)}.")
