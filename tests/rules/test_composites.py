"""A composite in Prometheus' own engine: burn rates add up, a bad slice is bad for all, and what is missing is told."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from slo.emit.alerts import liveness_alert_name
from slo.emit.prometheus import emit_rules
from slo.emit.promtool.scenario import BUSY, HOUR, MINUTE
from slo.emit.promtool.series import Traffic, series_of
from slo.model import Promise
from tests.rules.promtool import LIBRARY, Promtool

VISIT, QUIET = (next(promise for promise in LIBRARY if promise.name == name) for name in ("visit", "quiet-visit"))
ALL_BAD, GOOD = Traffic(HOUR, BUSY, Decimal(1)), Traffic(HOUR, BUSY)
GONE = Traffic(HOUR, BUSY, total_missing=True, counted_missing=True)
TURNS = Traffic(HOUR / 2, BUSY, Decimal(1)), Traffic(HOUR / 2, BUSY)
AT_BUDGET = [Traffic(HOUR, BUSY, part.promise.budget) for part in VISIT.parts]


@pytest.mark.parametrize(
    ("finding", "taking", "burn", "alarm"),
    [
        (AT_BUDGET[0], GOOD, 3, 0),
        (GOOD, AT_BUDGET[1], 1, 0),
        (*AT_BUDGET, 4, 0),
        (ALL_BAD, ALL_BAD, 1 / 0.006, 0),
        (GONE, AT_BUDGET[1], 1, 1),
        (GOOD, GONE, 0, 1),
    ],
    ids=["times three", "times one", "both", "as fast as can be", "the heavy part is gone", "the light part is gone"],
)
def test_burn_rates_add_up(
    promtool: Promtool, tmp_path: Path, finding: Traffic, taking: Traffic, burn: float, alarm: int
) -> None:
    assert judged(promtool, tmp_path, VISIT, ([finding], [taking]), burn, alarm) == ""


@pytest.mark.parametrize(
    ("seats", "silence", "share", "alarm"),
    [
        ([ALL_BAD], [GOOD], 1, 0),
        ([GOOD], [ALL_BAD], 1, 0),
        ([GOOD], [GOOD], 0, 0),
        ([*TURNS], [*reversed(TURNS)], 1, 0),
        ([*TURNS], [*TURNS], 0.5, 0),
        ([GONE], [*TURNS], 0.5, 1),
    ],
    ids=["one", "the other", "none", "in turns", "at once", "one is gone"],
)
def test_a_slice_is_bad_when_it_is_bad_for_any(
    promtool: Promtool, tmp_path: Path, seats: list[Traffic], silence: list[Traffic], share: float, alarm: int
) -> None:
    assert judged(promtool, tmp_path, QUIET, (seats, silence), share / 0.01, alarm) == ""


@pytest.mark.parametrize(
    "mutate",
    [lambda text: text.replace("    0.9 * slo:", "    0.3 * slo:"), lambda text: text.replace("group(", "count(")],
    ids=["shares of the bad", "what is the whole"],
)
def test_other_shares_are_noticed(promtool: Promtool, tmp_path: Path, mutate: Callable[[str], str]) -> None:
    assert "FAILED" in judged(promtool, tmp_path, VISIT, ([AT_BUDGET[0]], [GOOD]), 3, 0, mutate)


def judged(
    promtool: Promtool,
    folder: Path,
    promise: Promise,
    traffic: tuple[list[Traffic], list[Traffic]],
    burn: float,
    alarm: int,
    mutate: Callable[[str], str] = str,
) -> str:
    """What promtool has to say of the last hour."""
    rules = mutate(emit_rules([promise]))
    assert mutate is str or rules != emit_rules([promise])
    (folder / "rules.yaml").write_text(rules)
    pairs = zip(promise.parts, traffic, strict=True)
    found = [one for part, each in pairs for one in series_of(part.promise.indicator, each, MINUTE / 2)]
    rate = f'slo:sli_error:ratio_rate1h{{slo="{promise.name}"}} / slo:error_budget:ratio'
    firing = f'count(ALERTS{{alertname="{liveness_alert_name(promise)}",alertstate="firing"}}) or vector(0)'
    checks = [(f"round(sum({rate}), 0.02)", round(round(burn / 0.02) * 0.02, 10)), (firing, alarm)]
    test = {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in dict(found).items()],
        "promql_expr_test": [
            {"expr": query, "eval_time": "60m", "exp_samples": [{"labels": "{}", "value": value}]}
            for query, value in checks
        ],
    }
    outcome = promtool.test(folder, [test], "1m", "rules.yaml")
    return "" if outcome.returncode == 0 else outcome.stdout + outcome.stderr
