"""A composite in Prometheus' own engine: its parts weigh as they should, and a part that is missing is no good part."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from slo.emit.prometheus import emit_rules
from slo.emit.promtool.scenario import BUSY, HOUR, MINUTE
from slo.emit.promtool.series import Traffic, series_of
from tests.rules.promtool import LIBRARY, Promtool

VISIT = next(promise for promise in LIBRARY if promise.name == "visit")
ALL_BAD, GOOD = Traffic(HOUR, BUSY, Decimal(1)), Traffic(HOUR, BUSY)
GONE = Traffic(HOUR, BUSY, total_missing=True, counted_missing=True)
RATIO = 'sum(slo:sli_error:ratio_rate5m{slo="visit"})'
FIRING = 'count(ALERTS{alertname="VisitNoData",alertstate="firing"}) or vector(0)'


@pytest.mark.parametrize(
    ("finding", "taking", "ratio", "alarm"),
    [(ALL_BAD, GOOD, 0.75, 0), (GOOD, ALL_BAD, 0.25, 0), (GONE, ALL_BAD, 1, 1), (GOOD, GONE, 0, 1)],
    ids=["three of four", "one of four", "the heavy part is gone", "the light part is gone"],
)
def test_parts_weigh_as_they_say(
    promtool: Promtool, tmp_path: Path, finding: Traffic, taking: Traffic, ratio: float, alarm: int
) -> None:
    assert judged(promtool, tmp_path, (finding, taking), ratio, alarm) == ""


@pytest.mark.parametrize(
    "mutate",
    [lambda text: text.replace("    3 * slo:", "    1 * slo:"), lambda text: text.replace("} + 1\n", "} + 2\n")],
    ids=["weights of the bad", "weights of all"],
)
def test_other_weights_are_noticed(promtool: Promtool, tmp_path: Path, mutate: Callable[[str], str]) -> None:
    assert "FAILED" in judged(promtool, tmp_path, (ALL_BAD, GOOD), 0.75, 0, mutate)


def judged(
    promtool: Promtool,
    folder: Path,
    traffic: tuple[Traffic, Traffic],
    ratio: float,
    alarm: int,
    mutate: Callable[[str], str] = str,
) -> str:
    """What promtool has to say after half an hour."""
    rules = mutate(emit_rules([VISIT]))
    assert mutate is str or rules != emit_rules([VISIT])
    (folder / "rules.yaml").write_text(rules)
    pairs = zip(VISIT.parts, traffic, strict=True)
    found = [one for part, each in pairs for one in series_of(part.promise.indicator, [each], MINUTE / 2)]
    checks = [(RATIO, ratio), (FIRING, alarm)]
    test = {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in dict(found).items()],
        "promql_expr_test": [
            {"expr": query, "eval_time": "30m", "exp_samples": [{"labels": "{}", "value": value}]}
            for query, value in checks
        ],
    }
    outcome = promtool.test(folder, [test], "1m", "rules.yaml")
    return "" if outcome.returncode == 0 else outcome.stdout + outcome.stderr
