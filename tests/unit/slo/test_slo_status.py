"""`slo status` against a server that answers as Prometheus does; tests/acceptance asks the running one."""

from __future__ import annotations

import http.server
import json
import math
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from slo.cli import app
from slo.commands.status import sparkline
from slo.standing import POINTS

NAMES = ("catalogue-latency", "checkout-availability", "fulfilment-freshness")
REMAINING, BURN = "slo:period_error_budget_remaining:ratio", "slo:current_burn_rate:ratio"
HEAD, PERIOD = "slo:sli_error:ratio_rate1h", "slo:sli_error:ratio_rate30d"
Values = dict[tuple[str, str], float]


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["status", "--prometheus", url, *arguments])


@contextmanager
def prometheus(answer: Callable[[str, dict[str, str]], tuple[int, str]]) -> Iterator[str]:
    class Api(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, text = answer(self.path, dict(urllib.parse.parse_qsl(body)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def recorded(values: Values, firing: tuple[str, ...] = ()) -> Callable[[str, dict[str, str]], tuple[int, str]]:
    """A Prometheus that has recorded these values, always."""

    def answer(path: str, form: dict[str, str]) -> tuple[int, str]:
        series: list[dict[str, Any]] = []
        if form["query"].startswith("ALERTS"):
            series = [{"metric": {"slo": name, "alertname": "Burns"}, "value": [0, "1"]} for name in firing]
        elif path.endswith("query_range"):
            end, step = float(form["end"]), float(form["step"])
            for (name, metric), value in values.items():
                if metric in form["query"]:
                    moments = [[end - step * index, str(value)] for index in range(5)][::-1]
                    series.append({"metric": {"slo": name}, "values": moments})
        else:
            series = [
                {"metric": {"slo": name, "__name__": metric}, "value": [time.time(), str(value)]}
                for (name, metric), value in values.items()
            ]
        kind = "matrix" if path.endswith("query_range") else "vector"
        return 200, json.dumps({"status": "success", "data": {"resultType": kind, "result": series}})

    return answer


def healthy() -> Values:
    return {(name, metric): value for name in NAMES for metric, value in ((REMAINING, 0.75), (BURN, 0.5), (HEAD, 0.002), (PERIOD, 0.001))}  # noqa: E501  # fmt: skip


def test_promises_that_are_met_are_shown_with_burn_and_time_to_exhaustion() -> None:
    with prometheus(recorded(healthy())) as url:
        assert run(url).exit_code == 0
        document = json.loads(run(url, "--json").stdout)
    assert document["ok"] is True
    checkout = next(slo for slo in document["slos"] if slo["name"] == "checkout-availability")
    assert checkout["verdict"] == "met"
    assert checkout["burn_rate_head"] == pytest.approx(2)
    assert checkout["exhausted_in_s"] == pytest.approx(0.75 * 30 * 86400 / 2)
    assert checkout["burn_course"] == [None] * (POINTS - 5) + [0.5] * 5


@pytest.mark.parametrize("gone", [REMAINING, BURN])
def test_no_data_is_never_shown_as_met(gone: str) -> None:
    for values in ({}, {key: value for key, value in healthy().items() if key[1] != gone}, {**healthy(), (NAMES[0], gone): math.nan}):  # noqa: E501  # fmt: skip
        with prometheus(recorded(values)) as url:
            result = run(url, "--json")
        assert result.exit_code == 1
        first = json.loads(result.stdout)["slos"][0]
        assert first["verdict"] == "no data"
    with prometheus(recorded({})) as url:
        said = run(url).stdout
    assert "met" not in said
    assert said.count("no data") >= len(NAMES)


def test_an_exhausted_budget_and_a_firing_alert_are_not_well() -> None:
    with prometheus(recorded({**healthy(), (NAMES[1], REMAINING): -0.2})) as url:
        result = run(url)
    assert result.exit_code == 1
    assert "exhausted" in result.stdout
    with prometheus(recorded(healthy(), firing=(NAMES[2],))) as url:
        result = run(url, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["slos"][2]["firing"] == ["Burns"]


def test_without_burn_a_budget_lasts_for_ever() -> None:
    with prometheus(recorded({**healthy(), (NAMES[1], HEAD): 0.0})) as url:
        assert json.loads(run(url, "--json").stdout)["slos"][1]["exhausted_in_s"] is None


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (200, "<html>", "answers 200 without JSON"),
        (404, "not found", "answers 404 without JSON"),
        (200, "[]", "does not answer as Prometheus does"),
        (400, '{"status": "error", "error": "too many samples"}', "too many samples"),
        (200, '{"status": "success", "data": {"resultType": "scalar", "result": []}}', "does not answer as Prometheus"),
    ],
)
def test_a_server_that_is_no_prometheus_is_one_clear_line(status: int, text: str, said: str) -> None:
    with prometheus(lambda path, form: (status, text)) as url:
        result = run(url)
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[", "nonsense", "ftp://x"])
def test_nobody_there_is_one_clear_line(url: str) -> None:
    result = run(url)
    assert result.exit_code == 1
    assert result.stderr.startswith("signalbox: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_without_a_stack_and_without_an_address_the_remedy_is_said() -> None:
    result = CliRunner(env={"PROMETHEUS_URL": ""}).invoke(app, ["status"])
    assert result.exit_code == 1
    assert "signalbox up" in result.stderr


def test_sparklines_have_a_dot_where_there_is_nothing() -> None:
    assert sparkline((None, 0.0, 0.5, 1.0), low=0.0, high=1.0) == "·▁▅█"
    assert sparkline((2.0, -1.0), low=0.0, high=1.0) == "█▁"
    assert sparkline((0.0, 0.0), low=0.0) == "▁▁"
