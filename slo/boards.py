"""A dashboard as a person designs it: rows of panels, each with its queries, in our own few words.

Owns these words as plain data. Refuses to know Grafana, YAML and the metrics it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from slo.errors import NOWHERE, Location

Kind = Literal["timeseries", "stat", "bargauge", "state-timeline", "table", "logs"]


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked, and what each answer is called (`{{label}}` stands for a label's value)."""

    expression: str
    legend: str
    exemplars: bool = False


@dataclass(frozen=True)
class Block:
    """One panel. `steps` are (from, colour); `objective` names the SLO whose limit is drawn as a line.

    `of_lines`: it asks the log lines (LogQL), not the metrics.
    """

    title: str
    about: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    unit: str = "short"
    steps: tuple[tuple[float, str], ...] = ()
    limits: tuple[float | None, float | None] = (None, None)
    objective: str = ""
    of_lines: bool = False
    at: Location = NOWHERE


@dataclass(frozen=True)
class Board:
    """A dashboard. `traces` is the service whose traces its panels lead to, `logs` the lines (LogQL)."""

    name: str
    title: str
    about: str
    rows: tuple[tuple[str, tuple[Block, ...]], ...]
    variables: tuple[str, ...] = ()
    traces: str = "gateway"
    logs: str = '{service_name=~".+"}'
    since: str = "now-30m"
