"""From a signed image to a running one: by its digest, verified, and back where it does not become ready."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml

from tests.contract.manifests import OVERLAYS, container
from tests.contract.pipeline_steps import Bench, set_up

DIGEST = "sha256:" + "5e" * 32
IMAGE = "registry.test/signalbox"
VERSION = {"VERSION": "1.4.0", "REGISTRY": "registry.test"}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with set_up() as one:
        yield one


def asked(bench: Bench, program: str) -> list[str]:
    return [" ".join(words[1:]) for words in bench.calls if words[0] == program]


# By digest


@pytest.mark.parametrize("stage", OVERLAYS)
def test_what_is_deployed_is_named_by_its_digest(bench: Bench, stage: str) -> None:
    done = bench.make("deploy", STAGE=stage, DIGEST=DIGEST, **VERSION)
    assert done.returncode == 0, done.stderr
    manifests = yaml.safe_load_all((bench.folder / f"{stage}.yaml").read_text())
    workloads = [one for one in manifests if one["kind"] in ("Deployment", "Job")]
    images = {one["metadata"]["name"]: container(one)["image"] for one in workloads}
    assert {images[name] for name in ("migrate", "api", "worker", "payments")} == {f"{IMAGE}:1.4.0@{DIGEST}"}


def test_so_is_the_canary(bench: Bench) -> None:
    given = {"STAGE": "prod", "DIGEST": DIGEST, "PROMETHEUS_URL": "http://prometheus.test", **VERSION}
    command = bench.make("canary", "--dry-run", **given).stdout
    assert f"rollout 1.4.0 --image {IMAGE}:1.4.0@{DIGEST} --prometheus http://prometheus.test" in command


@pytest.mark.parametrize("target", ["migrate", "deploy", "canary", "verify"])
def test_a_tag_alone_is_not_deployed(bench: Bench, target: str) -> None:
    done = bench.make(target, STAGE="prod", PROMETHEUS_URL="http://127.0.0.1:1", **VERSION)
    assert done.returncode != 0
    assert "which image is 1.4.0?" in done.stderr
    assert bench.calls == []


def test_a_push_leaves_the_digest_of_its_own_registry_and_version(bench: Bench) -> None:
    bench.answers["inspect"] = (f"elsewhere.test/signalbox@sha256:00\n{IMAGE}@{DIGEST}", 0)
    assert bench.make("push", **VERSION).returncode == 0
    assert (bench.folder / "digest-1.4.0").read_text().strip() == f"{IMAGE}@{DIGEST}"
    assert bench.make("deploy", STAGE="prod", **VERSION).returncode == 0
    assert "which image is 1.5.0?" in bench.make("deploy", STAGE="prod", **{**VERSION, "VERSION": "1.5.0"}).stderr


def test_an_overlay_with_another_name_for_the_image_is_not_applied(bench: Bench) -> None:
    """It would go out with its own image under the new version's flag."""
    (bench.folder / "kubectl").write_text("#!/bin/sh\necho 'image: somebody/signalbox:0.1.0'\n")
    done = bench.make("deploy", STAGE="prod", DIGEST=DIGEST, **VERSION)
    assert done.returncode != 0
    assert "no container of prod got registry.test/signalbox" in done.stderr


# Verified


@pytest.mark.parametrize(
    ("given", "by"),
    [
        ({"COSIGN_PUBLIC_KEY": "/keys/ours.pub"}, "--key /keys/ours.pub --insecure-ignore-tlog=true"),
        (
            {"SIGNER": "https://forge.test/pipeline.yml@refs/tags/v1", "SIGNER_ISSUER": "https://tokens.test"},
            "--certificate-identity https://forge.test/pipeline.yml@refs/tags/v1 "
            "--certificate-oidc-issuer https://tokens.test",
        ),
    ],
)
def test_the_signatures_of_image_and_bill_are_asked_for_by_digest(bench: Bench, given: dict[str, str], by: str) -> None:
    assert bench.make("verify", DIGEST=DIGEST, **VERSION, **given).returncode == 0
    assert asked(bench, "cosign") == [
        f"verify {by} {IMAGE}@{DIGEST}",
        f"verify-attestation {by} --type cyclonedx {IMAGE}@{DIGEST}",
    ]


@pytest.mark.parametrize("missing", ["verify --key", "verify-attestation"])
def test_an_image_without_either_signature_stops_the_job(bench: Bench, missing: str) -> None:
    bench.answers[missing] = ("Error: no signatures found", 1)
    assert bench.make("verify", DIGEST=DIGEST, COSIGN_PUBLIC_KEY="ours.pub", **VERSION).returncode != 0


def test_nobody_in_particular_is_no_signer(bench: Bench) -> None:
    done = bench.make("verify", DIGEST=DIGEST, **VERSION)
    assert done.returncode != 0
    assert "who must have signed it?" in done.stderr
    assert bench.calls == []


# Back


def deploy(bench: Bench) -> tuple[int, list[str], str]:
    """How it ends, which Deployments went back, what is said."""
    done = bench.make("deploy", STAGE="prod", DIGEST=DIGEST, **VERSION)
    words = "\n".join(asked(bench, "kubectl"))
    return done.returncode, re.findall(r"rollout undo deployment/(\w+) --to-revision=7$", words, re.M), done.stderr


def test_what_does_not_become_ready_goes_back_and_the_rest_stays(bench: Bench) -> None:
    bench.answers["--namespace signalbox rollout status deployment/payments"] = ("timed out", 1)
    bench.revisions = {"payments": ["7", "8"], "worker": ["3", "4"]}
    code, back, said = deploy(bench)
    assert (code != 0, back) == (True, ["payments"])
    assert "not ready with 1.4.0: payments" in said


@pytest.mark.parametrize("revisions", [["7", "7"], ["", "1"]])
def test_what_was_not_changed_or_not_there_has_nothing_to_go_back_to(bench: Bench, revisions: list[str]) -> None:
    bench.answers["--namespace signalbox rollout status deployment/payments"] = ("timed out", 1)
    bench.revisions = {"payments": revisions}
    code, back, said = deploy(bench)
    assert (code != 0, back) == (True, [])
    assert "there is nothing to go back to" in said


def test_when_all_become_ready_nothing_goes_back(bench: Bench) -> None:
    assert deploy(bench)[:2] == (0, [])
    assert [words for words in asked(bench, "kubectl") if " undo " in words] == []
