"""`slo gate`: may this be deployed now?"""

from __future__ import annotations

import getpass
import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from slo.budget import BudgetPolicy, Reading, percent
from slo.commands.console import DEFINITIONS, Definitions, Json, fail, print_json, read_folder
from slo.durations import format_duration
from slo.gate import Gate, blind_readings, observe_readings, open_gate, ways_out
from slo.model import Promise
from slo.prometheus import NoPrometheus, Prometheus

CODES = {"go": 0, "stop": 1, "unknown": 2}
WORDS = {"go": "GO", "stop": "STOP", "unknown": "CANNOT TELL"}
RECORD = Path("slo-gate-exceptions.jsonl")

Address = Annotated[
    str, typer.Option(metavar="URL", envvar="PROMETHEUS_URL", help="[default: that of the running stack]")
]
Why = Annotated[str, typer.Option(metavar="TEXT", help="Why the exception is used. It is written down.")]
Record = Annotated[
    Path, typer.Option(metavar="FILE", envvar="SIGNALBOX_GATE_RECORD", help="Where used exceptions are written down.")
]


def gate(
    context: typer.Context,
    definitions: Definitions = DEFINITIONS,
    service: Annotated[str, typer.Option(metavar="NAME", help="Only the promises of this service.")] = "",
    policy: Annotated[str, typer.Option(metavar="NAME", help="Only this budget policy.")] = "",
    prometheus: Address = "",
    exception: Annotated[str, typer.Option(metavar="NAME", help="Use an exception of the policy.")] = "",
    reason: Why = "",
    record: Record = RECORD,
    as_json: Json = False,
) -> None:
    """Ask the budget policies whether to deploy. Exit code 0: go. 1: stop. 2: nobody can tell."""
    found = read_folder(definitions, as_json, decision="unknown")
    policies = [each for each in found.budgets if policy in ("", each.name)]
    promises = [each for each in found.promises if service in ("", each.service.name)]
    _refuse_unknown("budget policy", policy, (each.name for each in found.budgets), needed=not policies)
    _refuse_unknown("service", service, (each.service.name for each in found.promises), needed=not promises)
    exceptions = {each.name for one in policies for each in one.exemptions}
    _refuse_unknown("exception", exception, exceptions, needed=bool(exception) and exception not in exceptions)
    if exception and not reason.strip():
        fail("--exception needs --reason", "Say why, for those who read the record", code=2)
    readings, url, trouble = _read(context.obj or {}, prometheus, promises)
    outcome = open_gate(policies, readings, exception)
    if outcome.exemption:
        _write_down(record, outcome, reason.strip())
    if as_json:
        print_json(_document(outcome, policies, url, trouble))
    else:
        _print(outcome, policies, trouble, record)
    raise typer.Exit(CODES[outcome.decision])


def _refuse_unknown(what: str, name: str, known: Iterable[str], *, needed: bool) -> None:
    if needed:
        listed = ", ".join(sorted(set(known)))
        remedy = f"Known: {listed}" if listed else f"Add a {what} to the definitions"
        fail(f"there is no {what} {name!r}" if name else f"there is no {what}", remedy, code=2)


def _read(surroundings: Mapping[str, Any], named: str, promises: list[Promise]) -> tuple[list[Reading], str, str]:
    """Readings, the address that was asked, and what went wrong: without an answer everything is unknown."""
    url = named or surroundings.get("endpoints", {}).get("prometheus", "")
    if not url:
        remedy = "start the stack with `signalbox up`, or name one with --prometheus"
        return blind_readings(promises), "", f"there is no Prometheus to ask; {remedy}"
    try:
        with Prometheus(url) as server:
            clock = 1.0 if named else float(surroundings.get("clock", 1.0))
            return observe_readings(server, promises, clock), url, ""
    except NoPrometheus as error:
        return blind_readings(promises), url, str(error)


def _write_down(record: Path, outcome: Gate, reason: str) -> None:
    """One JSON line a use. What cannot be written down is not used."""
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": getpass.getuser(),
        "exception": outcome.exemption,
        "reason": reason,
        "lifted": [f"{each.reading.promise}: {each.reason}" for each in outcome.verdicts if each.state != "allow"],
    }
    try:
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        fail(f"the exception cannot be written down in {record}: {error.strerror}", "Name another with --record", 2)


def _document(outcome: Gate, policies: list[BudgetPolicy], url: str, trouble: str) -> dict[str, object]:
    return {
        "decision": outcome.decision,
        "state": outcome.state,
        "reason": outcome.reason,
        "exception": outcome.exemption or None,
        "prometheus": url or None,
        "trouble": trouble or None,
        "slos": [
            {
                "name": each.reading.promise,
                "service": each.reading.service,
                "policy": each.policy,
                "state": each.state,
                "reason": each.reason,
                "budget_remaining_ratio": each.reading.remaining,
                "burn_rate": each.reading.burn,
                "exhausted_in_s": _finite(each.reading.exhaustion_s),
                "paging": each.reading.paging,
            }
            for each in outcome.verdicts
        ],
        "exceptions": [
            {"name": each.name, "description": each.description} for each in ways_out(policies, outcome.verdicts)
        ],
    }


def _finite(seconds: float | None) -> float | None:
    return seconds if seconds is not None and math.isfinite(seconds) else None


def _print(outcome: Gate, policies: list[BudgetPolicy], trouble: str, record: Path) -> None:
    typer.echo(f"{WORDS[outcome.decision]}  {outcome.reason}")
    width = max((len(each.reading.promise) for each in outcome.verdicts), default=0)
    for each in outcome.verdicts:
        reading = each.reading
        left = "no data" if reading.remaining is None else f"{percent(reading.remaining)} left"
        lasts = f"lasts {_lasts(reading)}"
        typer.echo(f"  {reading.promise:<{width}}  {each.state:<8}  {left:<14}  {lasts:<16}  {each.reason}")
    if trouble:
        typer.echo(f"signalbox: {trouble}.", err=True)
    if outcome.exemption:
        typer.echo(f"The exception {outcome.exemption!r} was used; {record} says so.", err=True)
        return
    for exemption in ways_out(policies, outcome.verdicts):
        typer.echo(
            f"Still allowed: {exemption.description.rstrip('.')}: --exception {exemption.name} --reason …", err=True
        )


def _lasts(reading: Reading) -> str:
    seconds = reading.exhaustion_s
    if seconds is None:
        return "?"
    if not math.isfinite(seconds):
        return "for ever"
    unit = 60 if seconds < 86_400 else 3600
    return format_duration(timedelta(seconds=seconds // unit * unit)) if seconds >= unit else "0s"
