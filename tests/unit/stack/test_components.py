"""The list of components agrees with itself, and with what the rest of the project takes from it."""

import string
from pathlib import Path

import pytest

from stack.backends import load_pins
from stack.components import MOST_REPLICAS, STEPS, base_ports, components
from stack.layout import HIGHEST_BASE_PORT, Layout
from stack.native.credentials import Credentials
from stack.native.launch import Blueprint, Ground, Wish
from stack.native.postgres import PREPARATIONS

PARTS = components()
ROOT = Path(__file__).parents[3]


def test_the_components_have_the_names_that_everybody_uses():
    assert {part.name for part in PARTS} == {
        *(
            "gateway",
            "api-1",
            "api-2",
            "worker",
            "payments",
            "issuer",
            "postgres",
            "postgres-replica",
            "valkey",
            "collector",
        ),
        *("prometheus", "alertmanager", "loki", "jaeger", "grafana", "pager", "prober"),
        *("toxiproxy", "faults"),
    }


def test_every_port_is_its_own_and_stays_below_the_offset_s_reach():
    parts = components(MOST_REPLICAS)
    ports = [port for part in parts for port in part.ports.values()]
    names = [name for part in parts for name in part.ports]
    assert len(set(ports)) == len(ports)
    assert len(set(names)) == len(names)
    assert max(ports) == HIGHEST_BASE_PORT
    assert base_ports(parts)["api-40"] == 8140


def test_whatever_is_needed_or_sent_to_exists_and_nothing_waits_for_itself():
    after = {part.name: {*part.needs, *part.sends_to} for part in PARTS}
    after |= {step.name: set(step.needs) for step in STEPS}
    jobs = {
        part.job: {part.name for part in PARTS if part.job == part_job} for part in PARTS for part_job in [part.job]
    }
    jobs |= {step.name: {step.name} for step in STEPS}
    assert {need for needs in after.values() for need in needs} <= set(jobs)

    def reaches(start: str, goal: str, seen: frozenset[str] = frozenset()) -> bool:
        names = {name for need in after[start] for name in jobs[need]}
        return goal in names or any(reaches(name, goal, seen | {start}) for name in names - seen - {start})

    assert not [name for name in after if reaches(name, name)]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_probe_metrics_and_reload_name_ports_of_the_component(part):
    assert part.probe.port in part.ports
    assert part.metrics in {"", *part.ports}
    assert part.reload is None or part.reload.port in {"", *part.ports}
    assert part.prepare is None or part.prepare in PREPARATIONS


@pytest.mark.parametrize("part", [part for part in PARTS if part.backend], ids=lambda part: part.name)
def test_every_backend_is_pinned_with_the_executables_that_its_command_names(part):
    pin = load_pins()[part.backend]
    named = {key for word in part.command for _, key, _, _ in string.Formatter().parse(word) if key}
    wanted = {key.removeprefix("bin[").removesuffix("]") for key in named if key.startswith("bin[")}
    assert wanted
    assert wanted <= {*pin.executables, *pin.optional}


def test_only_grafana_and_toxiproxy_may_be_missing():
    assert [part.name for part in PARTS if part.optional] == ["grafana", "toxiproxy"]


@pytest.mark.parametrize("part", [*PARTS, *STEPS], ids=lambda part: part.name)
def test_every_command_and_environment_can_be_filled_in(part, tmp_path):
    layout = Layout(root=ROOT, state=tmp_path, port_offset=1000)
    layout.make()
    blueprint = Blueprint(layout, Wish(), PARTS, Credentials(layout.secrets))
    backend = getattr(part, "backend", None)
    executables = load_pins()[backend].executables if backend else ()
    ground = Ground(tmp_path / "data", {name: Path("/opt/home/bin") / name for name in executables})
    launch = blueprint.launch(part, ground)
    for text in (*launch.command, *launch.env.values()):
        assert "{" not in text
    for word in launch.command:
        assert blueprint.credentials["valkey_password"] not in word, "a command line is for everybody to read"


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_nothing_listens_beyond_loopback_unless_the_gateway_is_told_to(part):
    said = " ".join((*part.command, *part.env.values()))
    assert "0.0.0.0" not in said
    assert ("{gateway_host}" in said) == (part.name == "gateway")
