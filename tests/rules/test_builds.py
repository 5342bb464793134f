"""Which version an instance runs: where Prometheus was away while one replaced another, both are there for minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from incidents.triage.versions import QUERIES
from slo.emit.attribution import BY_VERSION
from tests.rules.promtool import Promtool

OF_ATTRIBUTION = (
    "sum by (job, service_version, revision) "
    f'(increase(http_server_request_duration_seconds_count{{outcome="bad"}}[1m]){BY_VERSION})'
)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [(QUERIES["failures"].replace("$h", "60s"), 0.3), (OF_ATTRIBUTION, 12)],
    ids=["triage", "pages"],
)
def test_the_version_that_was_seen_last_counts(promtool: Promtool, tmp_path: Path, query: str, wanted: float) -> None:
    identity = 'job="api",instance="api-1"'
    info = f'signalbox_build_info{{{identity},service_version="1.0",revision='
    count = f"http_server_request_duration_seconds_count{{{identity},outcome="
    test = {
        "interval": "15s",
        "input_series": [
            {"series": f'{info}"before"}}', "values": "1x10"},
            {"series": f'{info}"after"}}', "values": "_x14 1x30"},
            {"series": f'{count}"good"}}', "values": "_x14 0+7x30"},
            {"series": f'{count}"bad"}}', "values": "_x14 0+3x30"},
        ],
        "promql_expr_test": [
            {
                "expr": f"round({query}, 0.001)",
                "eval_time": "5m",
                "exp_samples": [{"labels": '{job="api",service_version="1.0",revision="after"}', "value": wanted}],
            }
        ],
    }
    outcome = promtool.test(tmp_path, [test], "15s")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
