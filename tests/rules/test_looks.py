"""Ready-made ratios in Prometheus' own engine: what is looked at now and then is counted in time, and counted once."""

from __future__ import annotations

from pathlib import Path

import pytest

from slo.emit.prometheus import emit_rules
from tests.rules.promtool import LIBRARY, Promtool

SCANNER = next(promise for promise in LIBRARY if promise.name == "scanner-reads")
FIRING = 'count(ALERTS{alertname="ScannerReadsBurnTicket",alertstate="firing"}) or vector(0)'
MINUTES_OF_LOOKS = (60, 90, 122.5)  # the scanner is used three times, and fails; 3 is the least that alerts


@pytest.mark.parametrize(
    ("failures", "minute", "firing"),
    [(3, 122, 0), (3, 122.75, 1), (2, 122.75, 0), (2, 150, 0)],
    ids=["before the third failure", "an evaluation after it", "two are too few", "two stay too few"],
)
def test_the_failure_that_makes_enough_alerts_at_the_next_evaluation(
    promtool: Promtool, tmp_path: Path, failures: int, minute: int, firing: int
) -> None:
    looks = ["NaN"] * 800
    for at in MINUTES_OF_LOOKS[:failures]:
        looks[int(at * 4)] = "0"
    (tmp_path / "rules.yaml").write_text(emit_rules([SCANNER]))
    test = {
        "interval": "15s",
        "input_series": [
            {"series": 'scanner_success_ratio{job="scanner"}', "values": " ".join(looks)},
            {"series": 'up{job="scanner"}', "values": "1x800"},
        ],
        "promql_expr_test": [
            {"expr": FIRING, "eval_time": f"{minute * 60:g}s", "exp_samples": [{"labels": "{}", "value": firing}]}
        ],
    }
    outcome = promtool.test(tmp_path, [test], "15s", "rules.yaml")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
