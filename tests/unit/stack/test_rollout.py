"""What `signalbox rollout` makes of words, and what the canary of a Deployment looks like."""

from __future__ import annotations

import json

import pytest

from stack.errors import WrongUse
from stack.rollout.cluster import canary_of, version_of
from stack.rollout.command import Request, emit_line, in_words
from stack.rollout.rollout import News, Plan

LIVE = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "api",
        "namespace": "signalbox",
        "uid": "0c5d",
        "resourceVersion": "4711",
        "labels": {"app.kubernetes.io/name": "api"},
    },
    "spec": {
        "replicas": 9,
        "selector": {"matchLabels": {"app.kubernetes.io/name": "api", "signalbox.dev/track": "stable"}},
        "template": {
            "metadata": {"labels": {"app.kubernetes.io/name": "api", "signalbox.dev/track": "stable"}},
            "spec": {"containers": [{"name": "api", "image": "registry/signalbox:1.0.0", "env": []}]},
        },
    },
    "status": {"replicas": 9},
}


def test_the_plan_shares_its_doubt_among_all_looks() -> None:
    plan = Request("1.4.0", ("SIGNALBOX_POOL_SIZE=20",), watch_s=30, patience_s=100).plan()
    assert plan.environment == {"SIGNALBOX_POOL_SIZE": "20"}
    assert plan.caution.looks == 20
    assert plan.caution.doubt_a_look == pytest.approx(0.05 / 20)


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (Request("1.4.0; rm -rf"), "is no version"),
        (Request("--help"), "is no version"),
        (Request("1.4.0", ("PATH=/tmp",)), "is no setting"),
        (Request("1.4.0", ("SIGNALBOX_VERSION=2",)), "is no setting"),
        (Request("1.4.0", watch_s=60, patience_s=30), "Be at least as patient"),
        (Request("1.4.0", watch_s=float("nan")), "--watch is nan"),
        (Request("1.4.0", doubt=0.9), "--doubt is 0.9"),
        (Request("1.4.0", exception="approved"), "--exception needs --reason"),
        (Request("1.4.0", image="registry/signalbox:1.4.0"), "belong together"),
    ],
)
def test_what_makes_no_sense_is_refused(request_: Request, complaint: str) -> None:
    with pytest.raises(WrongUse, match=complaint):
        request_.plan()


def test_the_canary_of_a_deployment_is_one_pod_that_the_service_finds_and_the_deployment_does_not() -> None:
    canary = canary_of(LIVE, "registry/signalbox:1.4.0", {})
    template = canary["spec"]["template"]
    assert canary["metadata"] == {
        "name": "api-canary",
        "namespace": "signalbox",
        "labels": {"app.kubernetes.io/name": "api", "signalbox.dev/track": "canary"},
    }
    assert canary["spec"]["replicas"] == 1
    assert canary["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    assert template["metadata"]["labels"] == {"app.kubernetes.io/name": "api", "signalbox.dev/track": "canary"}
    assert template["spec"]["containers"][0]["image"] == "registry/signalbox:1.4.0"
    assert "status" not in canary
    assert LIVE["spec"]["template"]["metadata"]["labels"]["signalbox.dev/track"] == "stable", "the live one was changed"


@pytest.mark.parametrize(
    ("image", "version"),
    [("registry:5000/team/signalbox:1.4.0", "1.4.0"), ("signalbox:1", "1"), ("signalbox:2@sha256:abc", "2")],
)
def test_an_images_tag_is_its_version(image: str, version: str) -> None:
    assert version_of(image) == version


@pytest.mark.parametrize("image", ["signalbox", "registry:5000/signalbox", "signalbox@sha256:abc", "signalbox:"])
def test_an_image_without_a_tag_has_no_version(image: str) -> None:
    with pytest.raises(WrongUse, match="names no version"):
        version_of(image)


def test_what_happens_is_told_on_one_line_and_kept_as_loki_reads_it() -> None:
    news = News("rolled back", "4 of 9 are bad")
    assert in_words(news, Plan("2")) == "rolled back: 4 of 9 are bad"
    line = json.loads(emit_line(news, "2"))
    assert (line["message"], line["severity"], line["service.name"]) == ("rollout.rolled_back", "WARN", "rollout")
    assert (line["rollout.version"], line["rollout.reason"]) == ("2", "4 of 9 are bad")
    assert next(iter(line)) == "timestamp", "the collector knows our lines by their first key"
