"""What kustomize makes of deploy/kubernetes: overlays built once, and ways to look into them."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack.components import Component, components
from tests.conftest import missing_backend

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = {
    **{name: KUBERNETES / "overlays" / name for name in ("dev", "stage", "prod")},
    **{name: ROOT / "deploy" / name for name in ("aks", "gke")},
}
ENVIRONMENTS = dict.fromkeys(("prod", "aks", "gke"), "production") | {"dev": "development", "stage": "stage"}
SCHEMAS = ("kubernetes-1.37.2", "prometheus-operator-0.92.1", "external-secrets-1.3.2")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = tomllib.loads((ROOT / "stack" / "backends" / "pins.toml").read_text())
PARTS: dict[str, Component] = {}
for _part in components():
    PARTS.setdefault(_part.job, _part)
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
SERVICES = ("api", "worker", "payments", "issuer")  # processes of service/
AGENTS = "signalbox-agents"

Manifest = dict[str, Any]
each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@cache
def build(overlay: str) -> tuple[Manifest, ...]:
    """What `kubectl apply -k` would send."""
    programs = (shutil.which("kustomize"), "build"), (shutil.which("kubectl"), "kustomize")
    command = next(([path, word, str(OVERLAYS[overlay])] for path, word in programs if path), None)
    if command is None:
        missing_backend("neither kustomize nor kubectl is on PATH: nobody can build the overlays")
    assert command
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    return [manifest for manifest in build(overlay) if manifest["kind"] in kinds]


def workloads(overlay: str) -> dict[str, Manifest]:
    return {manifest["metadata"]["name"]: manifest for manifest in of_kind(overlay, *WORKLOADS)}


def pod(workload: Manifest) -> Manifest:
    return dict(workload["spec"]["template"]["spec"])


def container(workload: Manifest) -> Manifest:
    [only] = pod(workload)["containers"]
    return dict(only)


def labels(workload: Manifest) -> dict[str, str]:
    return dict(workload["spec"]["template"]["metadata"]["labels"])


def environment(overlay: str, workload: Manifest) -> dict[str, str]:
    """Everything that its process gets, from ConfigMaps too; what the cluster fills in is `<…>`."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(overlay, "ConfigMap")}
    found: dict[str, str] = {}
    for source in container(workload).get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]
    for variable in container(workload).get("env", []):
        found[variable["name"]] = variable.get("value", "<filled in>")
    return found


def deployed(overlay: str) -> Iterator[tuple[Component, Manifest]]:
    """Components that have a workload here, with it."""
    for name, workload in workloads(overlay).items():
        if name in PARTS:
            yield PARTS[name], workload
