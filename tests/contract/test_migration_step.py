"""`make migrate` brings along what its Job refers to, so that a first deploy and a changed setting find it there."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import yaml

from tests.contract.api_server import serve
from tests.contract.manifests import ROOT, Manifest, each_overlay
from tests.contract.pipeline_steps import Bench, set_up
from tests.contract.test_kubernetes_closed import chosen

DIGEST = "sha256:" + "5e" * 32
BY_HAND = {"dev": {("Secret", "signalbox", "signalbox")}}  # overlays/dev says how
Name = tuple[str, str, str]  # kind, namespace, name
# Where a name stands in a manifest, and of what kind it is the name.
REFERENCES = {
    "configMapRef": ("ConfigMap", "name"),
    "configMapKeyRef": ("ConfigMap", "name"),
    "configMap": ("ConfigMap", "name"),
    "secretRef": ("Secret", "name"),
    "secretKeyRef": ("Secret", "name"),
    "secret": ("Secret", "secretName"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
    "serviceAccountRef": ("ServiceAccount", "name"),
    "secretStoreRef": ("SecretStore", "name"),
}


def name_of(manifest: Manifest) -> Name:
    return manifest["kind"], manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def named(node: Any, namespace: str) -> Iterator[Name]:
    """Everything that a piece of a manifest calls by name."""
    if isinstance(node, list):
        for one in node:
            yield from named(one, namespace)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key in REFERENCES and isinstance(value, dict):
            kind, field = REFERENCES[key]
            yield value.get("kind", kind), namespace, value[field]
        elif key == "serviceAccountName":
            yield "ServiceAccount", namespace, value
        elif key == "imagePullSecrets":
            yield from (("Secret", namespace, one["name"]) for one in value)
        yield from named(value, namespace)


def needs(manifest: Manifest) -> set[Name]:
    """What has to be there before this can be, or can run."""
    namespace = manifest["metadata"].get("namespace", "")
    return set(named(manifest["spec"], namespace) if "spec" in manifest else ()) | (
        {("Namespace", "", namespace)} if namespace else set()
    )


def missing(overlay: str, job: Manifest, applied: list[Manifest], everything: list[Manifest]) -> set[Name]:
    """What the Job needs, and what that needs in turn, that was not applied; flows that it needs are among it."""
    here = {name_of(one): one for one in applied}
    secrets = {
        ("Secret", one["metadata"]["namespace"], one["spec"]["target"]["name"]): one
        for one in applied
        if one["kind"] == "ExternalSecret"
    }
    labels = job["spec"]["template"]["metadata"]["labels"]
    flows = {
        name_of(one)
        for one in everything
        if one["kind"] == "NetworkPolicy"
        and one["metadata"]["namespace"] == job["metadata"]["namespace"]
        and chosen(one["spec"]["podSelector"], labels)
    }
    asked, seen, lost = {name_of(job)} | flows, set[Name](), set[Name]()
    while asked:
        one = asked.pop()
        seen.add(one)
        found = here.get(one) or secrets.get(one)
        if found:
            asked |= needs(found) - seen
        elif one not in BY_HAND.get(overlay, set()):
            lost.add(one)
    return lost


@dataclass(frozen=True)
class Carried:
    """What `make migrate` asked of kubectl; what kubectl sends to the API server when asked that, call by call; and
    everything that the environment is made of."""

    calls: list[list[str]]
    sent: list[list[Manifest]]
    everything: list[Manifest]

    @property
    def job(self) -> Manifest:
        [job] = self.sent[-1]
        return job


@cache
def migrate(stage: str) -> Carried:
    with set_up() as bench:
        done = bench.make("migrate", STAGE=stage, VERSION="1.4.0", REGISTRY="registry.test", DIGEST=DIGEST)
        assert done.returncode == 0, done.stderr
        calls = [words[1:] for words in bench.calls]
        everything = list(yaml.safe_load_all((bench.folder / f"{stage}.yaml").read_text()))
        sent = [send(bench, words, everything) for words in calls if words[0] == "apply"]
    return Carried(calls, sent, everything)


def send(bench: Bench, words: list[str], everything: list[Manifest]) -> list[Manifest]:
    """What kubectl itself sends, told the same."""
    with serve(everything) as server:
        done = subprocess.run(
            [bench.kubectl, *words, "--validate=false", "--cache-dir", bench.folder / "cache"],
            cwd=ROOT,
            env=os.environ | {"KUBECONFIG": str(server.kubeconfig(bench.folder))},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return server.applied


@each_overlay
def test_what_the_job_refers_to_is_there_before_it(overlay: str) -> None:
    carried = migrate(overlay)
    assert [(words[0] if words[0] == "apply" else " ".join(words[2:5])) for words in carried.calls] == [
        "apply",
        "wait --for=create --timeout=120s",
        "delete job migrate",
        "apply",
        "wait --for=condition=complete --timeout=600s",
    ]
    before, job = carried.sent[0], carried.job
    assert name_of(job) == ("Job", "signalbox", "migrate")
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == f"registry.test/signalbox:1.4.0@{DIGEST}"
    assert name_of(job) not in map(name_of, before), "the last one's Job is still there and cannot be changed"
    assert before[0]["kind"] == "Namespace"
    assert missing(overlay, job, [*before, job], carried.everything) == set()
    running = {"Deployment", "StatefulSet", "DaemonSet", "ScaledObject", "Service"} & {one["kind"] for one in before}
    assert not running, "the new version would begin before its schema is there"


@pytest.mark.parametrize(
    ("lost", "kind"),
    [
        ("service-settings", "ConfigMap"),
        ("signalbox", "Namespace"),
        ("signalbox", "ExternalSecret"),
        ("signalbox", "SecretStore"),
        ("secrets-reader", "ServiceAccount"),
        ("data-from-who-keeps-some", "NetworkPolicy"),
    ],
)
def test_whatever_were_not_brought_along_would_be_missed(lost: str, kind: str) -> None:
    carried = migrate("prod")
    before = carried.sent[0]
    gone = [one for one in before if one["kind"] == kind and one["metadata"]["name"].startswith(lost)]
    assert len(gone) == 1
    rest = [carried.job, *(one for one in before if one is not gone[0])]
    assert missing("prod", carried.job, rest, carried.everything)


def test_a_reference_of_any_form_is_found() -> None:
    job = migrate("prod").job
    changed = copy.deepcopy(job)
    spec = changed["spec"]["template"]["spec"]
    spec["serviceAccountName"] = "migrator"
    spec["imagePullSecrets"] = [{"name": "pull"}]
    spec["containers"][0]["env"].append({"name": "X", "valueFrom": {"secretKeyRef": {"name": "x", "key": "x"}}})
    spec["volumes"].append({"name": "p", "projected": {"sources": [{"configMap": {"name": "y"}}]}})
    found = {(kind, name) for kind, _, name in needs(changed)} - {(kind, name) for kind, _, name in needs(job)}
    assert found == {("ServiceAccount", "migrator"), ("Secret", "pull"), ("Secret", "x"), ("ConfigMap", "y")}
