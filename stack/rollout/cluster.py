"""A Deployment in a Kubernetes cluster as ground for a rollout: the canary is a second Deployment beside it.

Owns what the canary's Deployment is like, and the calls of `kubectl`, whose context says which cluster. The canary's
pods carry the labels that the Service chooses by, so they get their share of the traffic: one of N + 1 parts. Knows
nothing of judgements.
"""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from stack.errors import StackError, WrongUse

DEPLOYMENT = CONTAINER = "api"
TRACK = "signalbox.dev/track"
READY_TIMEOUT_S = 180
GONE_TIMEOUT_S = 90  # a pod's grace is 35 s (deploy/kubernetes/base/api.yaml)
CALL_TIMEOUT_S = 30

Manifest = dict[str, Any]


def canary_of(deployment: Manifest, image: str, environment: Mapping[str, str]) -> Manifest:
    """The Deployment of one pod with another image, from the one that runs. Everything else is the same."""
    spec = copy.deepcopy(deployment["spec"])
    name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
    labels = {**deployment["metadata"].get("labels", {}), TRACK: "canary"}
    spec["replicas"] = 1
    spec["selector"]["matchLabels"][TRACK] = "canary"
    template = spec["template"]
    template["metadata"]["labels"][TRACK] = "canary"
    [container] = [one for one in template["spec"]["containers"] if one["name"] == CONTAINER]
    container["image"] = image
    kept = [one for one in container.get("env", []) if one["name"] not in environment]
    container["env"] = kept + [{"name": key, "value": value} for key, value in environment.items()]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{name}-canary", "namespace": namespace, "labels": labels},
        "spec": spec,
    }


def version_of(image: str) -> str:
    """The tag of an image, which is its version. Raises WrongUse when it has none."""
    _, colon, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    if not colon or not tag:
        raise WrongUse(
            f"{image!r} names no version", "Write it with its tag, like registry.example.com/signalbox:1.4.0"
        )
    return tag


class Cluster:
    """The API's Deployment in a namespace; `stable` is the asked for version itself when that very image runs already.
    Raises StackError when `kubectl` does not get an answer."""

    def __init__(self, namespace: str, image: str, version: str, environment: Mapping[str, str]) -> None:
        if version_of(image) != version:
            raise WrongUse(f"{image} is not {version}", "Name the image of that version")
        if environment:
            raise WrongUse("--set is for the stack on this machine", "Change the overlay's settings instead")
        self._namespace, self._image = namespace, image
        self._before = self._get(DEPLOYMENT)
        self._stable_image = _image(self._before)
        self.stable, self.canary = version_of(self._stable_image), f"{DEPLOYMENT}-canary"
        if self.stable == version and self._stable_image != image:
            raise WrongUse(f"{version} runs already, as {self._stable_image}", "Name another version")

    def start_canary(self) -> str:
        manifest = canary_of(self._before, self._image, {})
        self._kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(manifest))
        return self._await(self.canary)

    def trouble(self) -> str:
        status = self._get(self.canary).get("status", {})
        return "" if status.get("readyReplicas", 0) >= 1 else "its pod is not ready"

    def promote(self, tell: Callable[[str], None]) -> str:
        """The canary goes first, with its pod and its connections: the database's cap counts on what a rollout surges
        by and not on one more (`slo.scaling`). Left are as many pods as the autoscaler wanted before it came."""
        tell(f"{self.canary} goes")
        self._delete_canary(wait_for_pod=True)
        tell(f"{DEPLOYMENT} becomes {self._image}")
        self._set_image(self._image)
        return self._await(DEPLOYMENT)

    def settle(self) -> str:
        """Finish what was promoted already: wait until it is everywhere, alone. Says why it is not."""
        self._delete_canary()
        return self._await(DEPLOYMENT)

    def roll_back(self) -> None:
        self._delete_canary()
        if _image(self._get(DEPLOYMENT)) != self._stable_image:
            self._set_image(self._stable_image)
            if trouble := self._await(DEPLOYMENT):
                raise StackError(f"the old version did not come back: {trouble}", "Look at it with `kubectl describe`")

    def _set_image(self, image: str) -> None:
        self._kubectl("set", "image", f"deployment/{DEPLOYMENT}", f"{CONTAINER}={image}")
        cause = f"kubernetes.io/change-cause=signalbox rollout: {image}"
        self._kubectl("annotate", "--overwrite", f"deployment/{DEPLOYMENT}", cause)

    def _delete_canary(self, *, wait_for_pod: bool = False) -> None:
        """`kubectl` waits for the Deployment to be gone, which is before its pods are unless they are to go first."""
        cascade, timeout_s = ("foreground", GONE_TIMEOUT_S) if wait_for_pod else ("background", CALL_TIMEOUT_S)
        words = ("delete", "deployment", self.canary, "--ignore-not-found", "--wait=true", f"--cascade={cascade}")
        self._kubectl(*words, timeout_s=timeout_s)

    def _await(self, name: str) -> str:
        words = ("rollout", "status", f"deployment/{name}", f"--timeout={READY_TIMEOUT_S}s")
        try:
            self._kubectl(*words, timeout_s=READY_TIMEOUT_S + CALL_TIMEOUT_S)
        except StackError as error:
            return str(error)
        return ""

    def _get(self, name: str) -> Manifest:
        return dict(json.loads(self._kubectl("get", "deployment", name, "-o", "json")))

    def _kubectl(self, *words: str, given: str = "", timeout_s: float = CALL_TIMEOUT_S) -> str:
        command = ["kubectl", "--namespace", self._namespace, *words]
        try:
            done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=timeout_s, check=False)
        except FileNotFoundError:
            raise StackError("there is no kubectl on PATH", "Install it") from None
        except subprocess.TimeoutExpired:
            raise StackError(f"kubectl {words[0]} does not end", "Look at the cluster") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise StackError(f"kubectl {words[0]}: {said[-1] if said else f'exit code {done.returncode}'}")
        return done.stdout


def _image(deployment: Manifest) -> str:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return str(next(one["image"] for one in containers if one["name"] == CONTAINER))
