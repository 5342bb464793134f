"""A rollout in a cluster, whose `kubectl` counts the pods that there are at once."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from slo.scaling import Connections
from stack.errors import StackError, WrongUse
from stack.layout import Layout
from stack.rollout import command
from stack.rollout.cluster import Cluster
from stack.rollout.command import Request
from stack.state import StackState
from tests.unit.stack.test_rollout import LIVE

ROOT = Path(__file__).resolve().parents[3]
OLD, NEW = "registry/signalbox:1.0.0@sha256:aa", "registry/signalbox:1.4.0@sha256:bb"
# A cluster in a file: Deployments by name, pods that drain, and the most pods that there ever were. A rollout has a
# quarter more pods; what is deleted without waiting for its pods leaves them to drain.
KUBECTL = """\
#!{python}
import json, math, sys
words, path = sys.argv[3:], {world!r}
world = json.load(open(path))
deployments, calls = world["deployments"], world["calls"]
calls.append(" ".join(words[:3]))
surge = 0
if words[0] == "get":
    print(json.dumps(deployments[words[2]]))
elif words[0] == "apply":
    given = json.load(sys.stdin)
    given["status"] = {{"readyReplicas": 1}}
    deployments[given["metadata"]["name"]] = given
elif words[:2] == ["set", "image"]:
    name, image = words[2].partition("/")[2], words[3].partition("=")[2]
    one = deployments[name]["spec"]
    one["template"]["spec"]["containers"][0]["image"] = image
    surge = math.ceil(one["replicas"] / 4)
elif words[0] == "delete":
    gone = deployments.pop(words[2], None)
    if gone and "--cascade=foreground" not in words:
        world["draining"] += gone["spec"]["replicas"]
elif words[:2] == ["rollout", "status"] and world["stuck"] == deployments[words[2].partition("/")[2]]["spec"]["template"]["spec"]["containers"][0]["image"]:
    sys.exit("error: exceeded its progress deadline")
pods = sum(one["spec"]["replicas"] for one in deployments.values()) + surge + world["draining"]
world["most"] = max(world["most"], pods)
json.dump(world, open(path, "w"))
"""  # noqa: E501


@dataclass
class World:
    path: Path

    def read(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.path.read_text())
        return document

    @property
    def images(self) -> dict[str, str]:
        found = self.read()["deployments"].items()
        return {name: one["spec"]["template"]["spec"]["containers"][0]["image"] for name, one in found}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    live = copy.deepcopy(LIVE)
    live["spec"]["replicas"] = 17  # type: ignore[index]
    live["spec"]["template"]["spec"]["containers"][0]["image"] = OLD  # type: ignore[index]
    made = World(tmp_path / "world.json")
    there = {"deployments": {"api": live}, "draining": 0, "most": 0, "calls": [], "stuck": ""}
    made.path.write_text(json.dumps(there))
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL.format(python=sys.executable, world=str(made.path)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return made


def no_stack() -> StackState:
    raise AssertionError("a cluster was meant")


def cluster(image: str = NEW, version: str = "1.4.0") -> Cluster:
    return Cluster("signalbox", image, version, {})


def test_a_promotion_never_has_more_pods_than_the_databases_cap_counts_on(world: World) -> None:
    ground = cluster()
    assert ground.start_canary() == ""
    assert world.images == {"api": OLD, "api-canary": NEW}
    assert ground.promote(lambda what: None) == ""
    assert world.images == {"api": NEW}
    database = Connections("primary", 220, 0, 10, surge_ratio=Decimal("0.25"))
    assert world.read()["most"] * 10 == database.needed(17) == 220


def test_a_version_that_does_not_become_ready_everywhere_goes_back(world: World) -> None:
    ground = cluster()
    ground.start_canary()
    world.path.write_text(json.dumps(world.read() | {"stuck": NEW}))
    assert "progress deadline" in ground.promote(lambda what: None)
    ground.roll_back()
    assert world.images == {"api": OLD}


def test_a_job_that_is_run_again_finds_its_version_promoted(world: World, tmp_path: Path) -> None:
    ground = cluster()
    ground.start_canary()
    ground.promote(lambda what: None)
    ask = Request("1.4.0", image=NEW, prometheus="http://127.0.0.1:1")
    document = command.carry_out(Layout(ROOT, tmp_path, 0), no_stack, ask, lambda line: None)
    assert (document["promoted"], document["version"], document["reason"]) == (True, "1.4.0", "it runs already")
    assert world.images == {"api": NEW}
    assert [call for call in world.read()["calls"] if call.startswith("set image")] == ["set image deployment/api"]
    world.path.write_text(json.dumps(world.read() | {"stuck": NEW}))
    with pytest.raises(StackError, match="was promoted and is not ready everywhere"):
        command.carry_out(Layout(ROOT, tmp_path, 0), no_stack, ask, lambda line: None)


def test_another_image_under_the_same_version_is_refused(world: World) -> None:
    with pytest.raises(WrongUse, match=r"1\.0\.0 runs already, as registry/signalbox:1\.0\.0@sha256:aa"):
        cluster("registry/signalbox:1.0.0@sha256:cc", "1.0.0")
