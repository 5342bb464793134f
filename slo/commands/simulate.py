"""`slo simulate`: what a course of errors and traffic would set off, and what it would spend."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from slo.commands.console import (
    DEFINITIONS,
    Definitions,
    Json,
    fail,
    one_promise,
    print_json,
    progress_bar,
    read_duration,
    read_promises,
    read_value,
)
from slo.commands.explain import Name
from slo.durations import format_duration
from slo.model import Promise
from slo.quantities import Step, parse_course, parse_rate, parse_share, say_count, say_objective, say_share, say_time
from slo.simulate.outcome import NO_DATA, Outcome
from slo.simulate.outcome import simulate as run

DEFAULT_DURATION = timedelta(hours=6)
SLOW_FROM = timedelta(days=4)  # of history and course; shorter ones take less than two seconds

ErrorRate = Annotated[
    str,
    typer.Option(
        "--error-rate", metavar="COURSE", help="Share of bad events, such as 5%, or steps: 10m:0.05,5m:0,1h:100%."
    ),
]
Traffic = Annotated[str, typer.Option("--traffic", metavar="COURSE", help="Events such as 10/s, or steps: 30m:10/s,0.")]


def simulate(
    name: Name,
    error_rate: ErrorRate,
    traffic: Traffic = "10/s",
    duration: Annotated[str, typer.Option(help="How long the course lasts. [default: its steps, or 6h]")] = "",
    history: Annotated[str, typer.Option(help="Healthy time before it. [default: the longest window]")] = "",
    definitions: Definitions = DEFINITIONS,
    as_json: Json = False,
) -> None:
    """Say when a course of errors pages and stops, and what it spends."""
    promise = one_promise(read_promises(definitions, as_json), name)
    errors = read_value("--error-rate", error_rate, lambda text: parse_course(text, parse_share))
    events = read_value("--traffic", traffic, lambda text: parse_course(text, parse_rate))
    lasting = read_duration("--duration", duration) if duration else _length(errors, events)
    before = read_duration("--history", history) if history else None
    span = lasting + (before or promise.windows.windows[-1].length)
    try:
        with progress_bar("simulating", shown=span > SLOW_FROM) as progress:
            outcome = run(promise, errors, events, lasting, history=before, progress=progress)
    except ValueError as error:
        what, _, remedy = str(error).partition("; ")
        fail(what, f"{remedy[:1].upper()}{remedy[1:]}", code=2)
    if as_json:
        print_json(_document(promise, outcome))
    else:
        _print(promise, outcome, f"{error_rate} errors, {traffic}")


def _length(*courses: list[Step]) -> timedelta:
    """As long as the longest course whose every step has a length."""
    whole = [
        sum((step.length for step in course if step.length), timedelta())
        for course in courses
        if all(step.length for step in course)
    ]
    return max(whole, default=DEFAULT_DURATION)


def _document(promise: Promise, outcome: Outcome) -> dict[str, object]:
    episodes = [
        {**asdict(episode), "tier": episode.tier and f"{episode.tier.long.name} and {episode.tier.short.name}"}
        for episode in outcome.episodes
    ]
    return {"name": promise.name, **asdict(outcome), "episodes": episodes}


def _print(promise: Promise, outcome: Outcome, course: str) -> None:
    lines: list[tuple[float, str]] = [(0.0, course), (outcome.duration_s, "the course ends: no errors from here")]
    for episode in outcome.episodes:
        why = "nothing is counted"
        if episode.tier:
            threshold = say_share(float(promise.threshold(episode.tier)))
            why = f"{episode.tier.long.name} and {episode.tier.short.name} above {threshold}"
        spent = say_share(episode.spent_ratio)
        alert = "the page for missing data" if episode.alert == NO_DATA else f"the {episode.alert}"
        lines.append((episode.fires_s, f"{alert} fires: {why}; {spent} of the budget spent so far"))
        if episode.resets_s is not None:
            lines.append((episode.resets_s, f"{alert} stops"))
    typer.echo(f"{promise.title}: {say_objective(float(promise.objective))} over {promise.windows.period.name}\n")
    for at_s, what in sorted(lines, key=lambda line: line[0]):
        typer.echo(f"{say_time(at_s):>11}  {what}")
    if not outcome.episodes:
        typer.echo(f"{'':>11}  nobody is paged, no ticket is written")
    spent = "an unknown share" if outcome.spent_ratio is None else say_share(outcome.spent_ratio)
    typer.echo(
        f"\n{say_count(outcome.bad_events)} of {say_count(outcome.total_events)} were bad: "
        f"{spent} of the budget of {promise.windows.period.name}. Evaluated every "
        f"{format_duration(promise.windows.interval)}; Alertmanager's group_wait comes on top."
    )
