"""`slo import`: Sloth's and Pyrra's files become documents that our parser accepts, and what they lose is said."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from slo.adopt.document import Defaults
from slo.adopt.queries import Events, read_events
from slo.adopt.read import read_files
from slo.cli import app
from slo.indicators import Query, RawIndicator, ThresholdIndicator
from slo.parse.selector import parse_selector
from slo.parse.tree import parse_tree

SLOTH = """\
version: "prometheus/v1"
service: checkout_api
labels: {owner: payments, repo: shop/checkout}
slos:
  - name: availability
    objective: 99.95
    description: Orders that are answered without a server error.
    sli:
      events:
        error_query: sum(rate(http_requests_total{job="checkout",code=~"5..|429"}[{{.window}}])) or vector(0)
        total_query: (sum(rate(http_requests_total{job="checkout"}[{{ .window }}])))
    alerting:
      name: CheckoutBurns
      annotations: {runbook: "https://example.com/runbook"}
      page_alert: {labels: {severity: critical}}
      ticket_alert: {disable: true}
  - name: latency
    objective: 99
    sli:
      events:
        error_query: |
          (
            sum(rate(http_request_duration_seconds_count{job="checkout"}[{{.window}}]))
            -
            sum(rate(http_request_duration_seconds_bucket{job="checkout",le="0.5"}[{{.window}}]))
          )
        total_query: sum(rate(http_request_duration_seconds_count{job="checkout"}[{{.window}}]))
    alerting: {name: CheckoutSlow}
  - name: ratio-of-counters
    objective: 99.9
    sli:
      raw:
        error_ratio_query: |
          sum(rate(grpc_failed_total{job="checkout"}[{{.window}}]))
          /
          sum(rate(grpc_total{job="checkout"}[{{.window}}]))
    alerting: {}
"""
KUBERNETES = """\
apiVersion: sloth.slok.dev/v1
kind: PrometheusServiceLevel
metadata: {name: search-slos, namespace: monitoring}
spec:
  service: search
  labels: {team: discovery}
  slos:
    - name: availability
      objective: 99.9
      sli:
        events:
          errorQuery: sum(rate(search_requests_total{code=~"5.."}[{{.window}}]))
          totalQuery: sum(rate(search_requests_total[{{.window}}]))
      alerting:
        pageAlert: {disable: true}
"""
PYRRA = """\
apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata:
  name: ingress-errors
  namespace: monitoring
  labels: {prometheus: k8s, role: alert-rules, pyrra.dev/team: platform, pyrra.dev/service: ingress}
spec:
  target: "99.5"
  window: 4w
  description: Requests that the ingress answers without a server error.
  indicator:
    ratio:
      errors: {metric: 'nginx_ingress_controller_requests{ingress="shop",status=~"5.."}'}
      total: {metric: 'nginx_ingress_controller_requests{ingress="shop"}'}
      grouping: [path]
  alerting: {name: IngressBurns, burnrates: true}
---
apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata: {name: ingress-latency}
spec:
  target: "90"
  window: 30d
  indicator:
    latency:
      success: {metric: 'nginx_ingress_controller_request_duration_seconds_bucket{ingress="shop",le="1"}'}
      total: {metric: 'nginx_ingress_controller_request_duration_seconds_count{ingress="shop"}'}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["import", *arguments])


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    texts = {"sloth.yml": SLOTH, "k8s.yml": KUBERNETES, "pyrra.yaml": PYRRA}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return [str(tmp_path / name) for name in texts]


def test_realistic_files_become_promises_with_the_same_numbers(files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(*files, "--out", str(out))
    assert result.exit_code == 0, result.output
    promises = {promise.name: promise for promise in parse_tree(out)}
    told = {
        name: (str(promise.objective), promise.service.name, promise.team, promise.windows.period.name)
        for name, promise in promises.items()
    }
    assert told == {
        "checkout-api-availability": ("0.9995", "checkout-api", "payments", "30d"),
        "checkout-api-latency": ("0.99", "checkout-api", "payments", "30d"),
        "checkout-api-ratio-of-counters": ("0.999", "checkout-api", "payments", "30d"),
        "search-availability": ("0.999", "search", "discovery", "30d"),
        "ingress-errors": ("0.995", "ingress", "platform", "28d"),
        "ingress-latency": ("0.9", "ingress-latency", "ingress-latency", "30d"),
    }
    latency = promises["checkout-api-latency"].counters
    assert latency is not None
    assert (latency.counts, latency.counted.metric) == ("good", "http_request_duration_seconds_bucket")
    ratio = promises["checkout-api-ratio-of-counters"].counters
    assert ratio is not None
    assert (ratio.counts, ratio.counted.metric, ratio.total.metric) == ("bad", "grpc_failed_total", "grpc_total")


def test_what_is_not_carried_over_is_said_for_each_field_with_a_remedy(files: list[str]) -> None:
    findings = json.loads(run(*files, "--json").stdout)["findings"]
    assert {finding["name"] for finding in findings} == {"not-carried"}
    fields = {(Path(finding["file"]).name, finding["field"]) for finding in findings}
    assert fields >= {
        ("sloth.yml", "slos[0].alerting.name"),
        ("sloth.yml", "slos[0].alerting.annotations"),
        ("sloth.yml", "slos[0].alerting.page_alert.labels"),
        ("sloth.yml", "slos[0].alerting.ticket_alert.disable"),
        ("k8s.yml", "metadata.namespace"),
        ("k8s.yml", "spec.slos[0].alerting.pageAlert.disable"),
        ("pyrra.yaml", "spec.indicator.ratio.grouping"),
        ("pyrra.yaml", "spec.alerting.name"),
        ("pyrra.yaml", "metadata.labels"),
    }
    assert all(finding["remedy"] and finding["line"] > 1 for finding in findings)
    kept = {finding["file"]: finding["what"] for finding in findings if "stay in the document" in finding["what"]}
    assert {Path(file).name: what.split(" stay")[0] for file, what in kept.items()} == {
        "sloth.yml": "repo",
        "pyrra.yaml": "prometheus, role",
    }


@pytest.mark.parametrize(
    ("old", "new", "field", "said"),
    [
        ("events:\n        error_query: sum(rate(http_requests",
         "plugin: {id: a}\n      other:\n        error_query: sum(",
         "slos[0].sli.plugin", "Write the query that the plugin makes"),
        ('{job="checkout",code=~"5..|429"}[{{.window}}])) or vector(0)', "[5m])) or vector(0)",
         "slos[0].sli.events.error_query", "is not sum(rate(counter[{{.window}}]))"),
        ("sum(rate(http_requests_total{job=\"checkout\",", "sum(rate(a[{{.window}}])) + sum(rate(b{",
         "slos[0].sli.events.error_query", "Record it as one counter"),
        ("objective: 99.95", "objective: 100", "spec.objectives[0].targetPercent", "cannot be promised"),
    ],
)  # fmt: skip
def test_what_cannot_say_the_same_is_left_out_and_the_rest_is_made(
    tmp_path: Path, old: str, new: str, field: str, said: str
) -> None:
    assert old in SLOTH
    path = tmp_path / "sloth.yml"
    path.write_text(SLOTH.replace(old, new))
    result = run(str(path), "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["slos"] == ["checkout-api-latency", "checkout-api-ratio-of-counters"]
    errors = [finding for finding in document["findings"] if finding["severity"] == "error"]
    assert all(error["file"] == str(path) and error["line"] > 1 for error in errors), errors
    assert any(error["field"] == field and said in f"{error['what']}. {error['remedy']}" for error in errors), errors


@pytest.mark.parametrize(
    ("query", "events"),
    [
        ("sum(rate(a[{{.window}}]))", Events("a")),
        ("((sum(increase( a{b=\"(]\"} [{{ .window }}]))))", Events('a{b="(]"}')),
        ("sum by (c) (rate(a[{{.window}}]))", Events("a", grouped=True)),
        ("sum(rate(a[{{.window}}])) by (c)", Events("a", grouped=True)),
        ("sum(rate(a[{{.window}}])) OR on() vector(0)", Events("a")),
        ("sum(rate(a{x=\"b-c\"}[{{.window}}]))-sum(rate(b[{{.window}}]))", Events('a{x="b-c"}', "b")),
    ],
)  # fmt: skip
def test_counters_are_found_in_queries(query: str, events: Events) -> None:
    assert read_events(query) == events


@pytest.mark.parametrize(
    "query",
    ["", "a", "sum(a)", "sum(rate(a[5m]))", "sum(rate(a[{{.window}}])) * 2", "(((((", "sum(rate(a[{{.window}}])) - ",
     "sum(rate(a[{{.window}}]) + rate(b[{{.window}}]))", "max(rate(a[{{.window}}]))",
     "sum(rate({__name__=~\"a\"}[{{.window}}]))"],
)  # fmt: skip
def test_other_queries_are_refused(query: str) -> None:
    with pytest.raises(ValueError, match=r".+; .+"):
        read_events(query)


@pytest.mark.parametrize(
    "text",
    ["", "a: *b\n", "- 1\n", "kind: SLO\napiVersion: openslo/v1\n", "version: prometheus/v2\n", "\0", "version: [1]\n"],
)
def test_files_of_no_known_format_are_refused_in_one_line_each(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    result = run(str(path), str(tmp_path / "nothing.yaml"))
    assert result.exit_code == 1
    assert not result.stdout
    assert "0 SLOs carried over" in result.stderr


def test_nothing_is_overwritten_unasked(files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "services.yaml").write_text("mine\n")
    result = run(*files, "--out", str(out))
    assert result.exit_code == 2
    assert [path.name for path in out.iterdir()] == ["services.yaml"]
    assert run(*files, "--out", str(out), "--force").exit_code == 0


def test_one_name_twice_is_an_error_and_the_team_can_be_given(tmp_path: Path) -> None:
    for name in ("a.yml", "b.yml"):
        (tmp_path / name).write_text(SLOTH.replace("owner", "tier"))
    adopted = read_files([tmp_path / "a.yml", tmp_path / "b.yml"], Defaults(team="night"))
    assert [problem.what for problem in adopted.problems if problem.code == "not-convertible"] == [
        f"checkout-api-{name} was read already" for name in ("availability", "latency", "ratio-of-counters")
    ]
    assert adopted.services == {"checkout-api": "night"}


def test_gauges_native_histograms_and_ready_made_ratios_become_what_is_looked_at(tmp_path: Path) -> None:
    head = "apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjective\n"
    head += "metadata: {name: NAME, labels: {team: ops, app: probe}}\n"
    spec = 'spec:\n  target: "99"\n  window: 4w\n  indicator:\n    '
    gauge = "bool_gauge: {metric: 'probe_success{job=\"blackbox\"}'}\n---\n"
    native = "latencyNative: {latency: 200ms, total: {metric: 'request_seconds{job=\"api\"}'}}\n"
    (tmp_path / "pyrra.yaml").write_text(
        head.replace("NAME", "probe-up") + spec + gauge + head.replace("NAME", "native-latency") + spec + native
    )
    raw = 'avg_over_time(failing{job="api"}[{{.window}}])'
    (tmp_path / "sloth.yml").write_text(
        "version: prometheus/v1\nservice: shop\nlabels: {team: ops}\nslos:\n  - name: raw\n    objective: 99\n"
        f"    sli: {{raw: {{error_ratio_query: '{raw}'}}}}\n    alerting: {{}}\n"
    )
    result = run(str(tmp_path / "pyrra.yaml"), str(tmp_path / "sloth.yml"), "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    found = {promise.name: promise.indicator for promise in parse_tree(tmp_path / "out")}
    assert found["probe-up"] == ThresholdIndicator(
        Query('probe_success{job="blackbox"}', parse_selector('probe_success{job="blackbox"}')), "gte", Decimal(1)
    )
    native_ratio, sloth_ratio = found["native-latency"], found["shop-raw"]
    assert isinstance(native_ratio, RawIndicator)
    assert native_ratio.means == "success"
    assert native_ratio.ratio.text.startswith("histogram_fraction(0, 0.2, sum(rate(request_seconds{")
    assert isinstance(sloth_ratio, RawIndicator)
    assert (sloth_ratio.means, sloth_ratio.ratio.text) == ("failure", raw.replace("{{.window}}", "5m"))
    assert result.stderr.count("weighs the same") == 2
