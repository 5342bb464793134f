"""`slo lint`: what it finds in definitions, in what a service exposes and beside other rules, and what it says."""

from __future__ import annotations

import ast
import json
import shutil
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from slo.calendars import LAST_YEAR
from slo.cli import app
from slo.indicators import Query, ThresholdIndicator
from slo.lint.catalogue import rules
from slo.lint.definitions import lint_promises
from slo.lint.exposition import NoExposition, parse_exposition, read_exposition
from slo.lint.live import FROM_THE_SCRAPE, Target, lint_live
from slo.model import CompositeIndicator, Part, RatioIndicator
from slo.parse.selector import parse_selector
from slo.parse.tree import parse_tree
from slo.publish import REPOSITORY
from tests.unit.slo.example import LATENCY, promise

HALF = Decimal("0.5")
DEFINITIONS = REPOSITORY / "slo" / "definitions"
EXPOSED = """\
# HELP http_server_request_duration_seconds Time to the answer.
# TYPE http_server_request_duration_seconds histogram
http_server_request_duration_seconds_bucket{http_request_method="GET",http_route="/v1/products",outcome="good",le="0.05"} 900
http_server_request_duration_seconds_bucket{http_request_method="GET",http_route="/v1/products",outcome="good",le="0.1"} 990
http_server_request_duration_seconds_bucket{http_request_method="GET",http_route="/v1/products",outcome="good",le="+Inf"} 1000
http_server_request_duration_seconds_count{http_request_method="GET",http_route="/v1/products",outcome="good"} 1000
http_server_request_duration_seconds_count{http_request_method="POST",http_route="/v1/orders",outcome="good"} 2000
http_server_request_duration_seconds_count{http_request_method="POST",http_route="/v1/orders",outcome="bad"} 1
# TYPE orders_placed counter
orders_placed_total 700 # {trace_id="0af7651916cd43dd8448eb211c80319c"} 1.0 1700000000.5
# TYPE fulfilment_delay_seconds histogram
fulfilment_delay_seconds_bucket{le="30.0"} 690
fulfilment_delay_seconds_bucket{le="+Inf"} 700
# EOF
"""  # noqa: E501


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["lint", *arguments])


def found(result: Result) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEFINITIONS, tmp_path / "definitions"))


@pytest.fixture
def change(definitions: Path) -> Callable[[str, str, str], Path]:
    def replace(file: str, old: str, new: str) -> Path:
        path = definitions / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return definitions

    return replace


@pytest.fixture
def exposed(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.txt"
    path.write_text(EXPOSED)
    return path


def test_what_is_shipped_has_no_finding_beside_the_stacks_own_rules() -> None:
    result = run("--json", "--rules", str(REPOSITORY / "observability/prometheus/rules"))
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"ok": True, "counts": {"error": 0, "warning": 0, "info": 0}, "findings": []}


def test_a_prometheus_that_forgets_too_soon() -> None:
    findings = json.loads(run("--retention", "15d", "--json").stdout)["findings"]
    assert {(finding["code"], finding["severity"]) for finding in findings} == {("SB104", "warning")}
    assert len(findings) == 3
    assert run("--retention", "a while").exit_code == 2


def test_a_calendar_whose_last_years_have_come() -> None:
    promises = parse_tree(REPOSITORY / "tests" / "golden" / "library" / "definitions")

    def ending(year: int) -> int:
        return sum(problem.code == "calendar-ends" for problem in lint_promises(promises, year=year))

    assert (ending(LAST_YEAR - 2), ending(LAST_YEAR - 1), ending(LAST_YEAR + 5)) == (0, 3, 3)


def test_a_tier_that_can_never_fire_and_what_else_is_odd(change: Callable[..., Path]) -> None:
    change("fulfilment-freshness.yaml", "targetPercent: 99\n", "targetPercent: 90\n")
    definitions = change("fulfilment-freshness.yaml", 'orders_placed_total{job="api"}', "placed")
    file = definitions / "fulfilment-freshness.yaml"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if "/impact:" not in line))
    result = run("--definitions", str(definitions), "--json")
    assert result.exit_code == 0
    assert set(found(result)) == {"tier-unreachable", "liveness-unguarded", "impact-missing"}
    assert "144 %" in found(result)["tier-unreachable"]["what"]
    assert run("--definitions", str(definitions), "--fail-on", "warning").exit_code == 1
    assert run("--definitions", str(definitions), "--fail-on", "sometimes").exit_code == 2


def test_rules_without_end_are_not_read() -> None:
    result = run("--rules", "/dev/zero")
    assert result.exit_code == 2
    assert "more than 32 MiB" in result.stderr


def test_what_the_compiler_refuses_is_no_warning(change: Callable[..., Path]) -> None:
    definitions = change("fulfilment-freshness.yaml", "targetPercent: 99\n", "targetPercent: 50\n")
    result = run("--definitions", str(definitions), "--json")
    assert result.exit_code == 1
    assert found(result)["severity-unreachable"]["severity"] == "error"


def test_all_errors_of_all_files_at_once(definitions: Path) -> None:
    (definitions / "broken.yaml").write_text("a: *b\n")
    (definitions / "services.yaml").unlink()
    result = run("--definitions", str(definitions))
    assert result.exit_code == 1
    *lines, hint = result.stderr.strip().splitlines()
    assert len(lines) == 5
    assert all(line.startswith("error: ") for line in lines)
    assert hint == "What they mean: signalbox slo lint --explain SB012"
    assert run("--definitions", str(definitions), "--fail-on", "never").exit_code == 0


def test_a_histogram_that_is_counted_whole_is_an_error(change: Callable[..., Path]) -> None:
    definitions = change("catalogue-latency.yaml", ',outcome="good",le="0.1"}', ',outcome="good"}')
    result = run("--definitions", str(definitions), "--json")
    assert result.exit_code == 1
    assert "an event counts many times" in found(result)["bucket-uncut"]["what"]


def test_events_that_are_counted_without_being_in_the_total(change: Callable[..., Path]) -> None:
    definitions = change(
        "checkout-availability.yaml",
        'http_request_method="POST",http_route="/v1/orders",outcome="bad"',
        'outcome="bad"',
    )
    findings = json.loads(run("--definitions", str(definitions), "--json").stdout)["findings"]
    assert {(finding["name"], finding["what"].split("'")[1]) for finding in findings} == {
        ("counted-wider", "http_request_method"),
        ("counted-wider", "http_route"),
    }


# against a service


def test_a_service_that_exposes_what_the_definitions_ask_for(exposed: Path) -> None:
    result = run("--metrics", str(exposed), "--json")
    assert json.loads(result.stdout)["findings"] == []


@pytest.mark.parametrize(
    ("old", "new", "name", "said"),
    [
        ('le="0.1"}', 'le="0.2"}', "bucket-edge-missing", "has no bucket edge 0.2. Next to it lie 0.05, 0.1"),
        ('le="0.1"}', 'le="0.10"}', None, ""),
        ('outcome="good",le', 'result="good",le', "label-missing",
         "has no label 'result'. Its labels are http_request"),
        ('outcome="good",le', 'outcome="fine",le', "counted-unseen", "fails, seen are 'good'"),
        ('_count{job="api",http_request_method="GET"', '_count{job="api",http_request_method="PUT"', "total-unseen",
         "seen are 'GET', 'POST'"),
        ("request_duration_seconds_count", "request_duration_second_count", "metric-missing",
         "did you mean http_server_request_duration_seconds_count"),
    ],
)  # fmt: skip
def test_what_the_service_does_not_expose(
    change: Callable[..., Path], exposed: Path, old: str, new: str, name: str | None, said: str
) -> None:
    definitions = change("catalogue-latency.yaml", old, new)
    result = run("--definitions", str(definitions), "--metrics", str(exposed), "--json")
    findings = {name: finding for name, finding in found(result).items() if finding["code"].startswith("SB2")}
    assert set(findings) == ({name} if name else set())
    if name:
        assert said in f"{findings[name]['what']}. {findings[name]['remedy']}"
        assert result.exit_code == (1 if rules()[name].severity == "error" else 0)


def test_a_job_is_checked_against_its_own_service_only(exposed: Path, tmp_path: Path) -> None:
    other = tmp_path / "worker.txt"
    other.write_text("# TYPE up gauge\nup 1\n")
    result = run("--metrics", f"api={exposed}", "--metrics", f"worker={other}", "--json")
    assert {finding["field"] for finding in json.loads(result.stdout)["findings"]} == {"fulfilment-freshness, good"}
    assert run("--metrics", f"api={exposed}").exit_code == 0, "the worker was not asked about"


def judge(text: str, age_s: float | None = None, **changes: Any) -> list[tuple[str, str]]:
    exposition = parse_exposition(text, "shop")
    exposition.age_s = age_s
    target = Target(None, (exposition,), FROM_THE_SCRAPE)
    return [(problem.code, problem.what) for problem in lint_live([promise(**changes)], {None: target})]


def test_a_gauge_is_no_counter_and_a_declared_counter_may_wait_for_its_first_event() -> None:
    assert judge('# TYPE requests_total gauge\nrequests_total{code="500"} 3\n')[0][0] == "metric-not-counter"
    assert {name for name, _ in judge("# TYPE requests counter\n# EOF\n")} == {"metric-without-series"}


def test_gauges_and_thresholds_are_looked_for_and_need_not_count() -> None:
    text = '# TYPE depth gauge\ndepth{queue="a"} 3\n'
    for query, found in (
        ('depth{queue="a"}', []),
        ('depth{queue="b"}', ["total-unseen"]),
        ("deep", ["metric-missing"]),
    ):
        indicator = ThresholdIndicator(Query(query, parse_selector(query)), "lte", Decimal(10))
        assert [name for name, _ in judge(text, indicator=indicator)] == found


def test_too_few_events_for_the_threshold_or_for_any_page() -> None:
    text = '# TYPE requests_total counter\nrequests_total{{code="200"}} {}\nrequests_total{{code="500"}} 0\n'
    assert judge(text.format(100_000), age_s=3600) == []
    assert judge(text.format(100)) == [], "a saved exposition says nothing about time"
    ((name, said),) = judge(text.format(200), age_s=36_000)
    assert name == "traffic-low"
    assert said.startswith("about 20 events in 1h: one bad event is 0.05 of them")
    ((name, said),) = judge(text.format(10), age_s=36_000)
    assert said == "about 1 events in 1h, fewer than the 3 bad ones that a page needs"


def test_the_age_of_a_service_is_read_off_its_metrics(tmp_path: Path) -> None:
    import http.server
    import threading

    class Metrics(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(f"process_start_time_seconds {time.time() - 600}\n".encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        assert 599 < (read_exposition(f"{url}/metrics").age_s or 0) < 620
        with pytest.raises(NoExposition, match="answers 404"):
            read_exposition(f"{url}/nothing")
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(NoExposition, match="is the service running"):
        read_exposition(f"{url}/metrics")


@pytest.mark.parametrize(
    "text",
    ["<html><body>hello</body></html>\n", "", 'a{b="c} 1\n', "a 1 2 3 4 five\nb{c} 1\n", "a one\n", "{} 1\n", "\0"],
)
def test_what_is_no_exposition_is_refused(text: str) -> None:
    with pytest.raises(NoExposition):
        parse_exposition(text, "it")


def test_labels_of_every_spelling_are_read() -> None:
    text = 'm{a="x, \\"y\\" \\\\ {z} \\n",b="",} +Inf 1700000000000\nm NaN\nm{a="}"} 1e-3 # {id="1"} 1\n'
    exposition = parse_exposition(text, "it")
    assert [labels for labels, _ in exposition.series["m"]] == [{"a": 'x, "y" \\ {z} \n', "b": ""}, {}, {"a": "}"}]


def test_a_query_without_a_job_and_one_with_patterns_are_matched_as_prometheus_does() -> None:
    indicator = LATENCY.__class__(
        parse_selector('d_count{route=~"/a|/b"}'), parse_selector('d_bucket{route=~"/a|/b",le="1"}'), "good"
    )
    text = (
        '# TYPE d histogram\nd_count{route="/b"} 3\nd_bucket{route="/b",le="1.0"} 2\nd_bucket{route="/b",le="+Inf"} 3\n'
    )
    assert judge(text, indicator=indicator) == []
    assert judge(text.replace("/b", "/bc"), indicator=indicator)[0][0] == "counted-unseen"


def test_metrics_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    result = run("--metrics", str(tmp_path / "nothing"))
    assert result.exit_code == 1
    assert result.stderr.startswith("signalbox: --metrics: ")
    assert len(result.stderr.strip().splitlines()) == 1


# beside other rules


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("{record: 'slo:objective:ratio', expr: vector(1), labels: {service: checkout, slo: checkout-availability}}",
         "record-collides"),
        ("{record: 'slo:objective:ratio', expr: vector(1), labels: {service: checkout, slo: another}}", None),
        ("{alert: CheckoutAvailabilityBurnPage, expr: vector(2), "
         "labels: {service: checkout, slo: checkout-availability}}",
         "alert-collides"),
    ],
)  # fmt: skip
def test_other_rules_of_the_same_prometheus(tmp_path: Path, rule: str, name: str | None) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"groups: [{{name: old, rules: [{rule}]}}]\n")
    result = run("--rules", str(other), "--json")
    assert set(found(result)) == ({name} if name else set())
    assert result.exit_code == (1 if name else 0)


def test_a_file_without_rules_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("- 1\n")
    assert run("--rules", str(tmp_path)).exit_code == 2
    assert run("--rules", str(tmp_path / "nothing")).exit_code == 2


def test_a_label_that_overwrites_what_the_expression_returns() -> None:
    from slo.lint.collisions import lint_rules, read_rules

    text = "groups: [{name: g, rules: [{record: a, expr: 'sum by (slo, x) (b)', labels: {slo: c, __d: e}}]}]"
    assert [problem.what for problem in lint_rules(read_rules(text, "f"), [])] == [
        "the label '__d' is reserved, or no label name",
        "the label 'slo' overwrites the one that the expression returns",
    ]


# explanations


def test_every_finding_is_explained_by_code_and_by_name() -> None:
    assert "exactly this value" in run("--explain", "sb203").stdout
    assert run("--explain", "bucket-edge-missing").stdout == run("--explain", "SB203").stdout
    assert run("--explain", "SB999").exit_code == 2
    listed = run("--explain", "all").stdout.splitlines()
    assert len(listed) == len(rules()) > 30
    assert len({rule.code for rule in rules().values()}) == len(rules())


def test_every_problem_that_the_compiler_can_raise_is_in_the_catalogue() -> None:
    """Codes are the words with dashes that stand where a problem is made."""
    raised = set()
    for path in [*(REPOSITORY / "slo" / "parse").rglob("*.py"), *(REPOSITORY / "slo" / "lint").rglob("*.py")]:
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            maker = getattr(call.func, "attr", getattr(call.func, "id", ""))
            position = {"Problem": 2, "_Refused": 1, "problem": 1, "_warning": 2}.get(maker)
            if position is not None and len(call.args) > position and isinstance(call.args[position], ast.Constant):
                raised.add(call.args[position].value)
            if path.name == "live.py" and maker == "problem":
                raised.add(call.args[0].value if isinstance(call.args[0], ast.Constant) else None)
    raised = {code for code in raised if isinstance(code, str) and " " not in code}
    assert len(raised) > 20
    assert raised <= set(rules()), "add it to slo/lint/rules.yaml"


@pytest.mark.parametrize(("total", "found"), [('r{job="a"}', []), ("r", ["liveness-unguarded"])])
def test_a_composite_is_guarded_if_its_parts_are(total: str, found: list[str]) -> None:
    one = promise(indicator=RatioIndicator(parse_selector(total), parse_selector('r{job="a",code="500"}'), "bad"))
    whole = promise(indicator=CompositeIndicator((Part(one, Decimal(1), HALF), Part(promise(), Decimal(1), HALF))))
    codes = [problem.code for problem in lint_promises([whole])]
    assert [code for code in codes if code == "liveness-unguarded"] == found
