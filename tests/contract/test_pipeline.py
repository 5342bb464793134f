"""The workflow asks for nothing that another CI could not do: its steps are make targets, and all of them are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
# YAML 1.1 reads the key `on` as true.
WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "pipeline.yml").read_text())
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
MAKEFILES = [ROOT / "Makefile", ROOT / "deploy" / "pipeline" / "pipeline.mk"]
PIPELINE = MAKEFILES[1].read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", "\n".join(file.read_text() for file in MAKEFILES), re.M))
SCRIPTS = {"version", "digest"}  # what only GitHub knows: how a ref becomes a version, and how jobs tell each other

each_job = pytest.mark.parametrize("name", JOBS)


def steps(name: str) -> list[dict[str, Any]]:
    return list(JOBS[name]["steps"])


@each_job
def test_every_step_is_a_make_target_that_there_is(name: str) -> None:
    for step in steps(name):
        if "run" not in step or step.get("id") in SCRIPTS:
            continue
        words = step["run"].split()
        assert words[0] == "make", step["run"]
        assert words[1] in TARGETS, step["run"]


def test_the_steps_come_in_their_order() -> None:
    ran = {
        name: [step["run"].split()[1] for step in steps(name) if step.get("run", "").startswith("make")]
        for name in JOBS
    }
    assert ran["check"] == ["check", "scan"]
    assert ran["image"] == ["image", "scan-image", "sbom", "push", "sign"]
    steps_of = {name: [target for target in ran[name] if target != "annotate"] for name in ran}
    assert steps_of["stage"] == ["verify", "migrate", "deploy", "smoke-deployed"]
    assert steps_of["production"] == ["verify", "gate", "migrate", "canary", "deploy"]
    assert "smoke" in ran["test"], "the same questions, of the checkout's own stack"
    assert JOBS["image"]["needs"] == ["check", "test", "containers"]
    assert JOBS["stage"]["needs"] == "image"
    assert set(JOBS["production"]["needs"]) == {"image", "stage"}


@each_job
def test_a_job_may_do_no_more_than_it_must(name: str) -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert set(JOBS[name].get("permissions", {})) <= {"contents", "packages", "id-token"}
    if name != "image":
        assert "write" not in JOBS[name].get("permissions", {}).values()
    assert JOBS[name]["timeout-minutes"] > 0


@each_job
def test_no_text_from_outside_is_run_as_a_command(name: str) -> None:
    for step in steps(name):
        assert "${{" not in step.get("run", ""), step["run"]
        if "uses" in step:
            assert re.search(r"@v\d", step["uses"]), step["uses"]


def test_production_is_reached_by_a_tag_and_an_approval_only() -> None:
    assert JOBS["production"]["if"] == "github.ref_type == 'tag'"
    assert JOBS["production"]["environment"] == "production"
    assert JOBS["image"]["if"] == "github.event_name == 'push'"


def test_the_image_that_is_pushed_was_scanned_whole_and_a_high_finding_with_a_fix_stops_it() -> None:
    recipe = PIPELINE.split("\nscan-image:")[1].split("\n\n")[0]
    assert "docker save --output build/scan/image.tar $(IMAGE):$(VERSION)" in recipe
    assert "docker-archive:/scan/image.tar --only-fixed --fail-on high" in recipe
    assert "docker.sock" not in recipe
    assert re.search(r"^SCANNER \?= [\w./-]+:v\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?$", PIPELINE, re.M)
    assert "docker push $(IMAGE):$(VERSION)" in PIPELINE


def test_what_runs_offline_scans_nothing() -> None:
    for target in ("check", "test"):
        recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILES[0].read_text(), re.M)
        assert recipe
        assert "scan" not in recipe[0]


@pytest.mark.parametrize("name", ["stage", "production"])
def test_what_is_deployed_is_the_image_that_was_signed_here(name: str) -> None:
    """By its digest: the tag might have been moved since. Its signature must be this very run's."""
    given = JOBS[name]["env"]
    assert given["DIGEST"] == "${{ needs.image.outputs.digest }}"
    assert JOBS["image"]["outputs"]["digest"] == "${{ steps.digest.outputs.digest }}"
    assert given["SIGNER"] == "${{ github.server_url }}/${{ github.workflow_ref }}"
    assert any("cosign-installer" in step.get("uses", "") for step in steps(name))
