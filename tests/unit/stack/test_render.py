"""The running stack's configuration is the checkout's own, but for ports, secrets, replicas and the clock."""

import json
import stat
from pathlib import Path

import pytest
import yaml

from stack.components import components
from stack.errors import StackError
from stack.layout import Layout
from stack.native.credentials import Credentials
from stack.native.launch import Blueprint, Wish, digest
from stack.native.render import quicken, render

ROOT = Path(__file__).parents[3]


def rendered(tmp_path, root: Path = ROOT, **wish) -> Layout:
    layout = Layout(root=root, state=tmp_path / "state", port_offset=1000)
    layout.make()
    wanted = Wish(**wish)
    render(Blueprint(layout, wanted, components(wanted.replicas), Credentials(layout.secrets)))
    return layout


def prometheus(layout: Layout) -> dict:
    return yaml.safe_load((layout.run / "prometheus" / "prometheus.yml").read_text())


def test_at_clock_one_prometheus_gets_the_committed_file_as_it_is(tmp_path):
    layout = rendered(tmp_path)
    committed = ROOT / "observability" / "prometheus" / "prometheus.yml"
    assert (layout.run / "prometheus" / "prometheus.yml").read_text() == committed.read_text()


def test_under_a_clock_prometheus_scrapes_and_evaluates_every_second_and_nothing_else_changes(tmp_path):
    quick = prometheus(rendered(tmp_path, clock=20.0))
    committed = yaml.safe_load((ROOT / "observability" / "prometheus" / "prometheus.yml").read_text())
    assert [quick["global"][name] for name in ("scrape_interval", "evaluation_interval", "scrape_timeout")] == [
        "1s"
    ] * 3
    quick["global"] = committed["global"]
    assert quick == committed
    assert yaml.safe_load(quicken(json.dumps(committed)))["global"]["external_labels"] == {"cluster": "signalbox"}


def test_the_rules_are_compiled_for_the_clock(tmp_path):
    slow = rendered(tmp_path / "slow").run / "prometheus" / "_generated" / "slo-rules.yaml"
    quick = rendered(tmp_path / "quick", clock=20.0).run / "prometheus" / "_generated" / "slo-rules.yaml"
    committed = ROOT / "observability" / "prometheus" / "_generated" / "slo-rules.yaml"
    assert yaml.safe_load(slow.read_text()) == yaml.safe_load(committed.read_text())
    names = [
        [
            rule.get("record") or rule["alert"]
            for group in yaml.safe_load(path.read_text())["groups"]
            for rule in group["rules"]
        ]
        for path in (slow, quick)
    ]
    assert names[0] == names[1]
    assert slow.read_text() != quick.read_text()


def test_prometheus_finds_every_replica_under_its_job_and_instance(tmp_path):
    layout = rendered(tmp_path, replicas=3)
    api = json.loads((layout.run / "prometheus" / "targets" / "api.json").read_text())
    assert [target["targets"] for target in api] == [["127.0.0.1:9101"], ["127.0.0.1:9102"], ["127.0.0.1:9103"]]
    assert api[2]["labels"] == {"job": "api", "instance": "api-3"}
    jobs = {path.stem for path in (layout.run / "prometheus" / "targets").iterdir()}
    assert jobs >= {"worker", "payments", "gateway", "collector", "loki", "jaeger", "alertmanager", "pager", "prober"}


def test_alertmanager_reads_the_pager_s_address_from_the_secrets_of_this_stack(tmp_path):
    layout = rendered(tmp_path)
    text = (layout.run / "alertmanager" / "_generated" / "alertmanager.yml").read_text()
    files = [hook["url_file"] for receiver in yaml.safe_load(text)["receivers"] for hook in receiver["webhook_configs"]]
    assert {Path(file).parent for file in files} == {layout.secrets}
    assert {Path(file).read_text() for file in files} == {
        "http://127.0.0.1:9170/api/v1/alerts\n",
        "http://127.0.0.1:9170/api/v1/deadman\n",
    }


def test_only_their_owner_reads_configuration_and_secrets(tmp_path):
    layout = rendered(tmp_path)
    files = [path for folder in (layout.run, layout.secrets) for path in folder.rglob("*") if path.is_file()]
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_rendering_again_touches_nothing_and_drops_what_is_not_wanted_any_more(tmp_path):
    layout = rendered(tmp_path, replicas=2)
    config = layout.run / "prometheus" / "prometheus.yml"
    before = config.stat().st_mtime_ns
    (layout.run / "prometheus" / "rules-of-yesterday.yaml").write_text("groups: []")
    assert rendered(tmp_path, replicas=2) == layout
    assert config.stat().st_mtime_ns == before
    assert not (layout.run / "prometheus" / "rules-of-yesterday.yaml").exists()


def test_a_changed_file_changes_the_digest_but_a_changed_target_does_not(tmp_path):
    (tmp_path / "targets").mkdir()
    (tmp_path / "prometheus.yml").write_text("a")
    (tmp_path / "targets" / "api.json").write_text("[]")
    before = digest(tmp_path)
    (tmp_path / "targets" / "api.json").write_text("[1]")
    assert digest(tmp_path) == before
    (tmp_path / "prometheus.yml").write_text("b")
    assert digest(tmp_path) != before


def test_a_wrong_definition_is_named_before_anything_starts(tmp_path):
    root = tmp_path / "checkout"
    (root / "slo" / "definitions").mkdir(parents=True)
    (root / "slo" / "definitions" / "broken.yaml").write_text("apiVersion: openslo/v1\nkind: Nonsense\n")
    with pytest.raises(StackError, match=r"broken\.yaml:\d+"):
        rendered(tmp_path, root=root)


def test_hand_written_rules_follow_the_clock_like_the_compiled_ones(tmp_path):
    slow = (rendered(tmp_path / "slow").run / "prometheus/rules/stack.yaml").read_text()
    quick = (rendered(tmp_path / "quick", clock=20.0).run / "prometheus/rules/stack.yaml").read_text()
    assert slow == (ROOT / "observability/prometheus/rules/stack.yaml").read_text()
    one, other = (
        {rule["alert"]: rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule}
        for text in (slow, quick)
    )
    assert one.keys() == other.keys()
    assert (one["TargetDown"]["for"], other["TargetDown"]["for"]) == ("5m", "15s")
    assert (one["ServiceDown"]["for"], other["ServiceDown"]["for"]) == ("1m", "5s"), "never under five scrapes"
    assert "telemetry_dropped_total[15s]" in other["TelemetryDropping"]["expr"]
    assert yaml.safe_load(quick)["groups"][0]["interval"] == "1s"
    for name in one:
        assert one[name]["labels"] == other[name]["labels"]
        assert one[name]["annotations"] == other[name]["annotations"]


def test_notifications_link_to_this_machine_s_pager(tmp_path):
    text = (rendered(tmp_path).run / "alertmanager/templates/addresses.tmpl").read_text()
    assert '{{ define "signalbox.address.runbooks" }}http://127.0.0.1:9170/runbooks{{ end }}' in text
