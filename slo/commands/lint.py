"""`slo lint`: what is wrong with the definitions, and what is allowed but probably not meant."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from slo.commands.console import (
    DEFINITIONS,
    Definitions,
    Json,
    Retention,
    fail,
    findings,
    print_findings,
    print_json,
    read_duration,
)
from slo.emit.prometheus import emit_rules
from slo.errors import DefinitionErrors
from slo.lint.catalogue import SEVERITIES, by_urgency, find_rule, rules
from slo.lint.collisions import lint_rules, read_rule_files, read_rules
from slo.lint.definitions import lint_promises
from slo.lint.exposition import NoExposition, read_exposition
from slo.lint.live import FROM_THE_SCRAPE, Target, lint_live
from slo.lint.policies import lint_policies
from slo.parse.tree import parse_definitions

COMPILED = "the generated rules"
_WITH_JOB = re.compile(r"(?P<job>[a-zA-Z0-9_.-]+)=(?P<place>.+)", re.DOTALL)

Explain = Annotated[
    str, typer.Option(metavar="CODE", help="Say what a finding means, by code or name; `all` lists them.")
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(metavar="[JOB=]URL|FILE", help="Check queries against what a service exposes. Repeatable."),
]
TargetLabels = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="A label that the scrape adds. Repeatable.")
]
OtherRules = Annotated[
    list[Path] | None,
    typer.Option("--rules", metavar="PATH", help="Other rule files of the same Prometheus. Repeatable."),
]
FailOn = Annotated[
    str, typer.Option(metavar="SEVERITY", help="Exit 1 from this severity on: error, warning, info, never.")
]


def lint(
    definitions: Definitions = DEFINITIONS,
    metrics: Metrics = None,
    target_label: TargetLabels = None,
    rule_files: OtherRules = None,
    retention: Retention = "",
    fail_on: FailOn = "error",
    explain: Explain = "",
    as_json: Json = False,
) -> None:
    """Say what is wrong with the definitions, and what is allowed but probably not meant."""
    if explain:
        _explain(explain, as_json)
        return
    if fail_on not in (*SEVERITIES, "never"):
        fail(f"--fail-on {fail_on!r} is no severity", "Use error, warning, info or never", code=2)
    kept = read_duration("--retention", retention) if retention else None
    targets = _read_targets(metrics or [], frozenset(target_label or ()))
    try:
        others = read_rule_files(rule_files or ())
    except (OSError, ValueError) as error:
        fail(f"--rules: {error}", "Name rule files, or folders of them", code=2)
    try:
        folder = parse_definitions(definitions)
        promises = folder.promises
        problems = [
            *lint_promises(promises, kept, datetime.now(UTC).year),
            *lint_policies(folder.scaling),
            *folder.unused,
            *lint_live(promises, targets),
            *lint_rules(read_rules(emit_rules(promises), COMPILED), others),
        ]
    except DefinitionErrors as found:
        problems = list(found.errors)
    judged = by_urgency(problems)
    counts = {severity: sum(rule.severity == severity for rule, _ in judged) for severity in SEVERITIES}
    if as_json:
        print_json({"ok": not counts["error"], "counts": counts, "findings": findings(problems)})
    else:
        print_findings(problems)
        typer.echo(f"{counts['error']} errors, {counts['warning']} warnings, {counts['info']} notes")
        if judged:
            typer.echo(
                f"What they mean: signalbox slo lint --explain {judged[0][0].code or judged[0][0].name}", err=True
            )
    failing = SEVERITIES[: SEVERITIES.index(fail_on) + 1] if fail_on != "never" else ()
    raise typer.Exit(1 if any(counts[severity] for severity in failing) else 0)


def _read_targets(metrics: list[str], added: frozenset[str]) -> dict[str | None, Target]:
    """Expositions by the job that was named before the `=`; an address without a job stands for all of them."""
    by_job: dict[str | None, list[str]] = {}
    for word in metrics:
        found = None if word.startswith(("http://", "https://")) or Path(word).exists() else _WITH_JOB.fullmatch(word)
        by_job.setdefault(found["job"] if found else None, []).append(found["place"] if found else word)
    targets = {}
    for job, places in by_job.items():
        try:
            targets[job] = Target(job, tuple(map(read_exposition, places)), FROM_THE_SCRAPE | added)
        except NoExposition as error:
            what, _, remedy = str(error).partition("; ")
            fail(f"--metrics: {what}", remedy[:1].upper() + remedy[1:].rstrip("?") if remedy else "Look at it")
    return targets


def _explain(word: str, as_json: bool) -> None:
    chosen = list(rules().values()) if word == "all" else [rule for rule in (find_rule(word),) if rule]
    if not chosen:
        fail(f"there is no finding {word!r}", "`signalbox slo lint --explain all` lists them", code=2)
    if as_json:
        print_json({"rules": [vars(rule) for rule in chosen]})
        return
    for rule in chosen:
        if word == "all":
            typer.echo(f"{rule.code}  {rule.severity:<8} {rule.name}")
        else:
            typer.echo(f"{rule.code} {rule.name} ({rule.severity})\n\n{rule.why}\n\nWhat to do: {rule.remedy}")
