"""What rules cost the Prometheus that evaluates them: samples read, series written, how far back they look.

Owns reading those off generated expressions, so that the figures follow the rules and not what somebody remembers of
them. An estimate: `bench/slo_evaluation.py` asks Prometheus itself. Reads no other PromQL than the compiler writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from slo.durations import parse_duration
from slo.emit.prometheus import rule_groups
from slo.model import Promise

DEFAULT_SERIES = 40  # raw series behind one counter: ten routes on four instances
SCRAPE_S = 15.0

_TOKEN = re.compile(
    r"""(?P<skip>\#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[0-9][0-9a-zA-Z.]*)"""
    r"""|(?P<labels>\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\))"""
    r"""|(?P<word>\b(?:and|or|unless|bool|offset|Inf|NaN|group_left|group_right)\b)"""
    r"""|(?P<call>[a-zA-Z_]\w*\s*(?=\(|by\b|without\b))"""
    r"""|(?P<selector>[a-zA-Z_:][\w:]*(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?)"""
    r"""|(?P<range>\[[^\]]*\])|(?P<open>\()|(?P<close>\))"""
)


@dataclass(frozen=True)
class Cost:
    """Of one or several promises. Samples are those that a query engine reads from storage or memory."""

    samples: float  # if every rule is evaluated once
    samples_per_hour: float
    series: int  # recorded or alerting
    counters_back_s: float  # the longest range over somebody's raw series: these need be kept no longer
    recorded_back_s: float  # the longest range over series that the rules record themselves

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.samples + other.samples,
            self.samples_per_hour + other.samples_per_hour,
            self.series + other.series,
            max(self.counters_back_s, other.counters_back_s),
            max(self.recorded_back_s, other.recorded_back_s),
        )


FREE = Cost(0.0, 0.0, 0, 0.0, 0.0)


def cost_of(promises: Iterable[Promise], series: int = DEFAULT_SERIES, scrape_s: float = SCRAPE_S) -> Cost:
    """What the rules of promises cost, with so many raw series behind every counter."""
    promises = list(promises)
    return cost_of_rules({"groups": rule_groups(promises)}, series, scrape_s) if promises else FREE


def cost_of_rules(document: dict[str, Any], series: int = DEFAULT_SERIES, scrape_s: float = SCRAPE_S) -> Cost:
    """The same of a rule file."""
    rules = [(rule, group) for group in document["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule, _ in rules if "record" in rule}
    whole = FREE
    for rule, group in rules:
        interval_s = parse_duration(group["interval"]).total_seconds() if "interval" in group else scrape_s
        samples, raw_s, own_s = _read(rule["expr"], recorded, series, scrape_s, interval_s)
        whole += Cost(samples, samples * 3600 / interval_s, 1, raw_s, own_s)
    return whole


def _read(
    expression: str, recorded: set[str], series: int, scrape_s: float, interval_s: float
) -> tuple[float, float, float]:
    """Samples of one evaluation, and the longest looks back over raw and over recorded series."""
    sums, last, raw_s, own_s = [0.0], 0.0, 0.0, 0.0
    ours, inside = True, [True]
    for token in _TOKEN.finditer(expression):
        text = token[0]
        if token["selector"]:
            ours = text.partition("{")[0] in recorded
            inside[-1] = inside[-1] and ours
            last = 1.0 if ours else float(series)
            sums[-1] += last
        elif token["open"]:
            sums.append(0.0)
            inside.append(True)
        elif token["close"] and len(sums) > 1:
            last, ours = sums.pop(), inside.pop()
            sums[-1] += last
            inside[-1] = inside[-1] and ours
        elif token["range"]:
            length, colon, step = text[1:-1].partition(":")
            length_s = parse_duration(length).total_seconds()
            every_s = parse_duration(step).total_seconds() if step else interval_s if colon or ours else scrape_s
            sums[-1] += last * (length_s / every_s - 1)
            last *= length_s / every_s
            raw_s, own_s = (raw_s, max(own_s, length_s)) if ours else (max(raw_s, length_s), own_s)
    return sums[0], raw_s, own_s
