"""Dashboards as Grafana will read them: their schema, their form, what they ask and where they lead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from slo.errors import DefinitionErrors
from slo.parse.boards import read_boards
from slo.parse.tree import parse_tree

ROOT = Path(__file__).parent.parent.parent
GRAFANA = ROOT / "observability/grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(GRAFANA.rglob("dashboards/*.json"))}
# Fields of the Prometheus and query-variable plugins, which the SDK's model of a dashboard does not hold.
OF_PLUGINS = re.compile(r"\.annotations\.list\[\]\.(step|titleFormat)|\.templating\.list\[\]\.definition")
PROMISES = parse_tree(ROOT / "slo/definitions")

each_dashboard = pytest.mark.parametrize("name", DASHBOARDS)


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] != "row"]


def lost(written: Any, read: Any, path: str = "") -> Iterator[str]:
    """Paths of what was written and is not read back."""
    if isinstance(written, dict):
        for key, value in written.items():
            if not isinstance(read, dict) or key not in read:
                yield f"{path}.{key}"
            else:
                yield from lost(value, read[key], f"{path}.{key}")
    elif isinstance(written, list):
        assert len(written) == len(read), path
        for one, other in zip(written, read, strict=True):
            yield from lost(one, other, f"{path}[]")
    elif written != read:
        yield f"{path} = {written!r}"


def test_there_is_a_dashboard_for_all_that_one_looks_at() -> None:
    designed = {
        "service",
        "resources",
        "postgresql",
        "valkey",
        "queue",
        "gateway",
        "telemetry",
        "autoscaling",
        "incident",
    }
    promised = {f"service-{promise.service.name}" for promise in PROMISES}
    assert set(DASHBOARDS) == designed | promised | {"budgets", "slo"}


@each_dashboard
def test_grafana_s_own_schema_knows_every_field(name: str) -> None:
    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(DASHBOARDS[name]), cls=JSONEncoder))
    assert [path for path in lost(DASHBOARDS[name], read) if not OF_PLUGINS.fullmatch(path)] == []


@each_dashboard
def test_panels_have_ids_of_their_own_and_do_not_overlap(name: str) -> None:
    everything = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@each_dashboard
def test_every_panel_says_what_it_shows_in_which_unit_and_leads_on(name: str) -> None:
    for panel in panels(name):
        assert panel["description"], panel["title"]
        assert panel["targets"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        if panel["type"] != "logs":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert [link["title"] for link in panel["links"]] == ["Traces", "Logs"]
        for link, source in zip(panel["links"], ("jaeger", "loki"), strict=True):
            path, _, query = unquote(link["url"]).partition("&panes=")
            assert path == "/explore?schemaVersion=1&orgId=1"
            pane = json.loads(query)["a"]
            assert pane["datasource"] == source
            assert pane["range"] == {"from": "${__from}", "to": "${__to}"}


def test_no_panel_repeats_another() -> None:
    asked: dict[str, str] = {}
    for name in DASHBOARDS:
        for panel in panels(name):
            for target in panel["targets"]:
                here, query = f"{name}: {panel['title']}", " ".join(target["expr"].split())
                assert query not in asked, f"{here} asks what {asked[query]} asks"
                asked[query] = here
    assert len(asked) > 100


@each_dashboard
def test_quantiles_carry_exemplars(name: str) -> None:
    for panel in panels(name):
        for target in panel["targets"]:
            if "histogram_quantile" in target["expr"]:
                assert target["exemplar"], panel["title"]


@each_dashboard
def test_variables_and_annotations_are_of_one_set(name: str) -> None:
    document = DASHBOARDS[name]
    defined = {variable["name"] for variable in document["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(document["panels"]))) - {"__from", "__to"}
    assert {word for word in used if not word.startswith("__")} == defined
    assert [note["name"] for note in document["annotations"]["list"]] == ["Deploys", "Faults", "Alerts", "Pipeline"]
    assert document["uid"].startswith("signalbox-")
    assert len(document["uid"]) <= 40


def test_the_line_on_a_latency_panel_is_the_objective() -> None:
    (catalogue,) = [promise for promise in PROMISES if promise.name == "catalogue-latency"]
    assert catalogue.counters is not None
    edge = float(next(m.value for m in catalogue.counters.counted.matchers if m.label == "le"))
    lines = {
        (name, panel["title"]): [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]
        for name in ("service", "service-catalogue", "queue")
        for panel in panels(name)
    }
    assert lines["service", "Latency"] == [edge]
    assert lines["service-catalogue", "Duration of all events"] == [edge]
    assert lines["queue", "From order to fulfilment"] == [30.0]


def test_provisioning_names_the_sources_and_folders_that_are_used() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/signalbox.yaml").read_text())
    assert sources["apiVersion"] == 1
    known = {(source["type"], source["uid"]) for source in sources["datasources"]}
    used = {
        (target["datasource"]["type"], target["datasource"]["uid"])
        for name in DASHBOARDS
        for panel in panels(name)
        for target in panel["targets"]
    }
    assert used <= known
    assert ("jaeger", "jaeger") in known, "panels link to it"
    providers = yaml.safe_load((GRAFANA / "provisioning/dashboards/signalbox.yaml").read_text())
    assert providers["apiVersion"] == 1
    for provider in providers["providers"]:
        assert provider["type"] == "file"
        assert provider["options"]["path"].startswith("$SIGNALBOX_DASHBOARDS")
        assert not provider["allowUiUpdates"], "the files are the truth"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("rows: [{title: R, panels: [{title: P, querys: {a: up}}]}]", "unknown field"),
        ("rows: [{title: R, panels: [{title: P}]}]", "queries: is missing"),
        ("rows: [{title: R, panels: [{title: P, kind: logs, queries: {a: up}}]}]", "lines: is missing"),
        ("rows: [{title: R, panels: [{title: P, lines: {a: x}, queries: {a: up}}]}]", "unknown field"),
        ("rows: [{title: R, panels: [{title: P, kind: pie, queries: {a: up}}]}]", "'pie' is not known here"),
        ("rows: [{title: R, panels: [{title: P, steps: {red: hot}, queries: {a: up}}]}]", "'hot' is not a number"),
    ],
)
def test_a_board_that_is_wrong_is_refused_with_its_place(tmp_path: Path, change: str, said: str) -> None:
    (tmp_path / "x.yaml").write_text(f"title: X\nabout: Y.\n{change}\n")
    with pytest.raises(DefinitionErrors, match=r"x\.yaml:3") as caught:
        read_boards(tmp_path)
    assert said in str(caught.value)
