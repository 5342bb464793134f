"""windows/*.yaml → WindowTable: which pairs of windows alert at which burn, one file a period.

Owns the form of those files and the choice of the table for a period: its own file, or a shipped table scaled.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import cast, get_args

from slo.durations import format_duration, parse_duration
from slo.errors import DefinitionErrors, Location, Problem
from slo.model import Severity, Tier, Window, WindowTable
from slo.parse.fields import Fields
from slo.parse.nodes import Mapping, parse_nodes

SHIPPED = Path(__file__).resolve().parent.parent / "windows"
SHIPPED_TABLES = ("30d.yaml", "1d.yaml")  # the first whose windows are not too short when scaled to a period
LONGEST_PERIOD = timedelta(days=731)  # two years: longer than Prometheus is ever told to keep samples
SHORTEST_BASE = timedelta(minutes=1)  # four scrapes at 15 s, the least that a rate is worth something with


def table_for(period: timedelta, folder: Path = SHIPPED) -> WindowTable:
    """The table of a period. Raises ValueError when it is too short or too long to be watched."""
    if period > LONGEST_PERIOD:
        raise ValueError(f"a period of more than {LONGEST_PERIOD.days} days cannot be watched; choose a shorter one")
    own = folder / f"{format_duration(period)}.yaml"
    if own.is_file():
        return load_table(own)
    tables = [load_table(path).for_period(period) for name in SHIPPED_TABLES if (path := folder / name).is_file()]
    if not tables:
        raise ValueError(f"there is no {' or '.join(SHIPPED_TABLES)} in {folder}; add one")
    for table in tables:
        if table.base.length >= SHORTEST_BASE:
            return table
    table = tables[-1]
    least = SHORTEST_BASE / table.base.length * period
    least = round(least / SHORTEST_BASE) * SHORTEST_BASE  # scaled lengths are rounded to microseconds
    raise ValueError(
        f"the shortest window of a {format_duration(period)} period would be {format_duration(table.base.length)}, "
        f"too short for scrapes every 15 s; choose a period of at least {format_duration(least)}"
    )


@cache
def load_table(path: Path) -> WindowTable:
    """Read one file. Raises DefinitionErrors."""
    documents, problems = parse_nodes(path.read_bytes(), str(path))
    if not problems and (len(documents) != 1 or not isinstance(documents[0], Mapping)):
        at = Location(str(path))
        problems.append(Problem(at, "", "field-form", "expected one mapping", "See windows/30d.yaml"))
    if problems:
        raise DefinitionErrors(problems)
    root = documents[0]
    assert isinstance(root, Mapping)
    table = _read_table(Fields(root, "", problems))
    if problems:
        raise DefinitionErrors(problems)
    return table


def _read_table(fields: Fields) -> WindowTable:
    """Whatever could not be read has filed its problem and left a stand-in; the caller then drops the table."""
    steps = {}
    if inner := fields.mapping("steps"):
        steps = {name: _length(inner, name) for name in inner.names()}

    def window(owner: Fields, key: str) -> Window:
        length = _length(owner, key)
        name = format_duration(length)
        return Window(name, length, steps.get(name, length))

    tiers = []
    for tier in fields.mappings("tiers"):
        severity = tier.choice("severity", get_args(Severity)) or "page"
        burn = tier.number("burn") or Decimal(1)
        tiers.append(Tier(cast(Severity, severity), window(tier, "long"), window(tier, "short"), burn))
        tier.done()
    table = WindowTable(
        source=fields.text("source"),
        period=window(fields, "period"),
        tiers=tuple(tiers),
        interval=_length(fields, "evaluation_interval"),
        budget_interval=_length(fields, "budget_interval"),
        liveness_window=_length(fields, "liveness_window"),
        liveness_for=_length(fields, "liveness_for"),
    )
    fields.done()
    if not tiers:
        fields.problem("tiers", "field-missing", "no tier", "Add a page and a ticket tier")
        return table
    for each in (*table.windows, table.period):
        if each.length > table.head.length and each.name not in steps:
            remedy = "Say how finely it is sampled, a divisor of the shortest window"
            fields.problem("steps", "field-missing", f"{each.name} has no step", remedy)
    return table


def _length(fields: Fields, key: str) -> timedelta:
    return fields.parsed(key, parse_duration) or timedelta(days=1)
