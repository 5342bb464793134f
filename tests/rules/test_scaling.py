"""The scaling rules in Prometheus' own engine: when they ask for more, for fewer, and what keeps them from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from slo.emit.scaling.rules import FLOOR, PRESSURE, emit_scaling_rules, fresh
from slo.parse.tree import parse_definitions
from slo.scaling import ScalingPolicy
from tests.conftest import ROOT
from tests.rules.promtool import Promtool

API, WORKER = parse_definitions(ROOT / "slo" / "definitions").scaling
SLO_RULES = yaml.safe_load((ROOT / "observability/prometheus/_generated/slo-rules.yaml").read_text())
STEP_S = 15
STEPS = 40  # ten minutes, the end of which is judged
ORDERS = (
    'http_server_request_duration_seconds_count{job="api",instance="%s",'
    'http_request_method="POST",http_route="/v1/orders",outcome="%s"}'
)
QUIET = {"cpu": 0.1, "memory": 0.4, "requests": 0.1, "inFlight": 0.05}
IDLE = {"cpu": 0.1, "queueDepth": 0.0, "queueAge": 0.0}


@dataclass(frozen=True)
class Scene:
    """Replicas that are this full, what is wrong, and the pressure that must come of it; None: no pressure at all."""

    title: str
    policy: ScalingPolicy
    full: Mapping[str, float]
    pressure: float | None
    replicas: int = 4
    errors: float = 0.0  # of the orders
    gone: Mapping[str, str] = field(default_factory=dict)  # series whose name contains the key: its values instead
    alerting: bool = True

    def series(self) -> Iterator[dict[str, str]]:
        for name, values in self._healthy():
            instead = next((values for part, values in self.gone.items() if part in name), values)
            if instead:
                yield {"series": name, "values": instead}

    def _healthy(self) -> Iterator[tuple[str, str]]:
        job = self.policy.workload.job
        for number in range(1, self.replicas + 1):
            labels = f'{{job="{job}",instance="{job}-{number}"}}'
            yield f"up{labels}", f"1+0x{STEPS}"
            for signal, utilisation in self.full.items():
                yield from self._signal(signal, utilisation, f"{job}-{number}")

    def _signal(self, signal: str, utilisation: float, instance: str) -> Iterator[tuple[str, str]]:
        driver = next(driver for driver in self.policy.drivers if driver.signal == signal)
        value = utilisation * float(driver.capacity)
        labels = f'{{job="{self.policy.workload.job}",instance="{instance}"}}'
        queue = labels.replace("}", f',messaging_destination_name="{driver.queue}"}}')
        constant, growing = f"{value:g}+0x{STEPS}", f"0+{value * STEP_S:g}x{STEPS}"
        if signal == "cpu":
            yield f"process_cpu_seconds_total{labels}", growing
        elif signal == "memory":
            yield f"process_resident_memory_bytes{labels}", constant
        elif signal == "inFlight":
            yield f"http_server_active_requests{labels}", constant
        elif signal == "requests":
            for outcome, share in (("good", 1 - self.errors), ("bad", self.errors)):
                yield ORDERS % (instance, outcome), f"0+{value * STEP_S * share:g}x{STEPS}"
        elif signal == "queueDepth":
            yield f"messaging_queue_depth{queue}", f"{value * self.replicas:g}+0x{STEPS}"
            yield f"messaging_queue_read_timestamp_seconds{queue}", f"0+{STEP_S}x{STEPS}"
        else:
            yield f"messaging_queue_oldest_age_seconds{queue}", constant


def quiet(title: str, pressure: float | None = 1, **more: Any) -> Scene:
    return Scene(title, API, QUIET, pressure, **more)


def idle(title: str, pressure: float | None = 1, **more: Any) -> Scene:
    return Scene(title, WORKER, IDLE, pressure, **more)


def asked(policy: ScalingPolicy, full: Mapping[str, float]) -> float:
    """What the arithmetic of slo/scaling.py says without a hold."""
    return max(driver.pressure(full[driver.signal]) for driver in policy.drivers)


FREE = [
    Scene("CPU at 90 %", API, {**QUIET, "cpu": 0.9}, 0.9 / 0.7),
    Scene("CPU at 71 %", API, {**QUIET, "cpu": 0.71}, 1.12),
    Scene("CPU at 69 %", API, {**QUIET, "cpu": 0.69}, 1),
    Scene("CPU at 31 %", API, {**QUIET, "cpu": 0.31}, 1),
    Scene("CPU at 29 %", API, {**QUIET, "cpu": 0.29}, 0.29 / 0.5),
    Scene("memory nearly full", API, {**QUIET, "memory": 0.95}, 1.12),
    Scene("twice the requests", API, {**QUIET, "requests": 1.4}, 2),
    Scene("twice the requests in flight", API, {**QUIET, "inFlight": 1.4}, 2),
    quiet("everything quiet", 0.4 / 0.775),
    Scene("a long queue", WORKER, {**IDLE, "queueDepth": 1.0}, 1 / 0.7),
    Scene("a job that waits for 18 s", WORKER, {**IDLE, "queueAge": 0.6}, 1.2),
    Scene("a job that waits for an hour", WORKER, {**IDLE, "queueAge": 120.0}, 2),
    idle("nothing to do", 0.1 / 0.5),
    Scene("no request yet", API, {**QUIET, "requests": 0.0}, 0.4 / 0.775, gone={"_count": ""}),
]
HELD = [
    quiet("a page fires", errors=1.0),
    Scene("errors come back fast, so CPU falls", API, {**QUIET, "cpu": 0.02}, 1, errors=1.0),
    Scene("a page fires and there is too much to do", API, {**QUIET, "cpu": 0.9}, 0.9 / 0.7, errors=1.0),
    quiet("alerts are not evaluated", alerting=False),
    quiet("a replica does not answer", gone={'up{job="api",instance="api-2"}': f"0+0x{STEPS}"}),
    quiet("a replica has no memory figure", gone={'memory_bytes{job="api",instance="api-2"}': ""}),
    quiet("no replica has a memory figure", gone={"memory_bytes": ""}),
    quiet("the memory figure is not a number", gone={"memory_bytes": f"NaN+0x{STEPS}"}),
    quiet("telemetry of requests is gone", gone={"_count": "", "active_requests": ""}),
    Scene("half the figures are gone and CPU is full", API, {**QUIET, "cpu": 0.9}, 0.9 / 0.7, gone={"memory": ""}),
    quiet("every figure is gone", None, gone={"process_": "", "http_": ""}),
    quiet("nothing has been scraped for two minutes", None, gone={"": f"1+0x{STEPS - 8} _x8"}),
    quiet("there is no replica at all", None, replicas=0),
    idle("the queue was last read two minutes ago", gone={"read_timestamp": f"0+{STEP_S}x{STEPS - 8} 480+0x8"}),
    idle("nobody says when the queue was read", gone={"read_timestamp": ""}),
    idle("one worker reads an old queue, the other a fresh one", 0.1 / 0.5, replicas=2,
         gone={'read_timestamp_seconds{job="worker",instance="worker-1"': f"0+0x{STEPS}"}),
]  # fmt: skip
SCENES = [*FREE, *HELD]
RULE_FILES = ("slo.yaml", "scaling.yaml")  # in the order in which they are evaluated


def alert_rules(scene: Scene) -> dict[str, Any]:
    """The watchdog, and where orders fail the promise about them. All the others would only take time."""
    wanted = {"watchdog", *(["slo-checkout-availability"] if scene.errors else [])}
    groups = [group for group in SLO_RULES["groups"] if group["name"] in wanted]
    assert len(groups) == len(wanted)
    return {"groups": groups if scene.alerting else []}


def lay_out(scenes: list[Scene], folder: Path, mutate: Callable[[str], str] = str) -> list[dict[str, Any]]:
    """A promtool test of each of some scenes that share their rules, which are written into the folder."""
    (folder / "scaling.yaml").write_text(mutate(emit_scaling_rules([scenes[0].policy])))
    (folder / "slo.yaml").write_text(yaml.safe_dump(alert_rules(scenes[0])))
    tests = []
    for scene in scenes:
        labels = f'{{policy="{scene.policy.name}"}}'
        value = [] if scene.pressure is None else [{"labels": labels, "value": round(scene.pressure, 4)}]
        check = {
            "expr": f"round({fresh(PRESSURE, scene.policy)}, 0.0001)",
            "eval_time": f"{STEP_S * STEPS}s",
            "exp_samples": value,
        }
        series = list(scene.series())
        floor = [
            {"labels": f'{FLOOR}{{policy="{scene.policy.name}"}}', "value": scene.replicas if each["value"] > 1 else 0}
            for each in value
        ]
        checks = [check, {**check, "expr": fresh(FLOOR, scene.policy), "exp_samples": floor}]
        tests.append(
            {"name": scene.title, "interval": f"{STEP_S}s", "input_series": series, "promql_expr_test": checks}
        )
    return tests


def judge(promtool: Promtool, folder: Path, tests: list[dict[str, Any]], *rule_files: str) -> str:
    """What promtool complains of, empty when all is as it must be."""
    outcome = promtool.test(folder, tests, f"{STEP_S}s", *rule_files)
    said = outcome.stdout + outcome.stderr
    assert "error parsing" not in said, said
    return "" if outcome.returncode == 0 else said


@pytest.fixture(scope="module")
def complaints(promtool: Promtool, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every scene, in one run for each set of rules."""
    by_rules: dict[tuple[str, bool, bool], list[Scene]] = {}
    for scene in SCENES:
        by_rules.setdefault((scene.policy.name, scene.errors > 0, scene.alerting), []).append(scene)
    folders = {key: tmp_path_factory.mktemp("scaling") for key in by_rules}
    return "".join(
        judge(promtool, folders[key], lay_out(scenes, folders[key]), *RULE_FILES) for key, scenes in by_rules.items()
    )


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.title)
def test_the_pressure_is_right(complaints: str, scene: Scene) -> None:
    assert f"name: {scene.title}," not in complaints, complaints


def test_promtool_complains_of_nothing(complaints: str) -> None:
    assert complaints == ""


@pytest.mark.parametrize("scene", FREE, ids=lambda scene: scene.title)
def test_the_table_above_is_what_the_arithmetic_says(scene: Scene) -> None:
    assert scene.pressure == pytest.approx(asked(scene.policy, scene.full))


def test_a_pressure_that_is_no_longer_evaluated_is_no_pressure(promtool: Promtool, tmp_path: Path) -> None:
    stopped = replace(API, name="stopped")
    series = [{"series": f'{PRESSURE}{{policy="stopped"}}', "values": "0.2+0x20"}]
    checks = []
    for after, there in (("5m", True), ("5m45s", True), ("6m15s", False), ("9m", False)):
        samples = [{"labels": f'{PRESSURE}{{policy="stopped"}}', "value": 0.2}] if there else []
        checks.append({"expr": fresh(PRESSURE, stopped), "eval_time": after, "exp_samples": samples})
    test = {"interval": "15s", "input_series": series, "promql_expr_test": checks}
    assert judge(promtool, tmp_path, [test]) == ""


# What was changed, the scene that notices, and the change.
MUTANTS = [
    ("a page does not hold", "a page fires", r'tier="page"', 'tier="pager"'),
    ("blindness to pages does not hold", "alerts are not evaluated", r"absent\(ALERTS\{[^}]*\}\)", "vector(0)"),
    ("a dead replica does not hold", "a replica does not answer",
     r"(< bool sum\(scaling:replicas:)known", r"\1fresh"),
    ("a missing driver does not hold", "no replica has a memory figure", r"< bool 4", "< bool 1"),
    ("a hole in a signal does not hold", "a replica has no memory figure", r"(driver=~\"cpu)\|memory", r"\1"),
    ("what is missing reads as zero", "every figure is gone",
     r"avg\(scaling:signal:value\{policy=\"api\",driver=\"cpu\"\}\)", r"(\g<0> or vector(0))"),
    ("the age of a scrape is not asked", "nothing has been scraped for two minutes", r"< 60", "< 600"),
    ("the age of a reading is not asked", "the queue was last read two minutes ago",
     r"(read_timestamp_seconds\{[^}]*\} < )60", r"\g<1>600"),
    ("growth is unbounded by age", "a job that waits for an hour", r"clamp_max\((.*), 2\)", r"(\1)"),
    ("there is no floor under growth", "CPU at 90 %", r"(ratio\{[^}]*\}\)) > 1\)", r"\1 > 9)"),
    ("growth may be ignored as noise", "CPU at 71 %", r", 1\.12\)", ", 1)"),
    ("there is no band", "CPU at 31 %", r"< 0\.3\)", "< 0.7)"),
    ("a hold forbids growth too", "a page fires and there is too much to do",
     r"clamp_min\(max\((.*)\), 1\)", r"0 * max(\1) + 1"),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MUTANTS, ids=lambda mutant: mutant[0])
def test_a_scene_notices(promtool: Promtool, tmp_path: Path, mistake: tuple[str, str, str, str]) -> None:
    _, title, pattern, replacement = mistake
    (scene,) = [scene for scene in SCENES if scene.title == title]

    def mutate(rules: str) -> str:
        changed, count = re.subn(pattern, replacement, rules)
        assert count, f"nothing in the rules matches {pattern}"
        return changed

    assert "FAILED" in judge(promtool, tmp_path, lay_out([scene], tmp_path, mutate), *RULE_FILES)
