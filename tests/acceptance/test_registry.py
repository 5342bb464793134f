"""The pipeline's way from an image to a registry and back: pushed, addressed by its digest, signed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stack.backends import Absent, resolve
from tests.acceptance.backends import eventually
from tests.acceptance.test_containers import docker
from tests.acceptance.test_image import IMAGE
from tests.compose.standins import tools
from tests.conftest import ROOT, Stack, missing_backend

pytestmark = [pytest.mark.compose_only, pytest.mark.timeout(300)]
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def registry(stack: Stack) -> Iterator[str]:
    """`host:port` of a registry of the test's own."""
    words = ["--rm", "--detach", "--publish", "127.0.0.1::5000", tools()["registry"].image]
    container = docker("run", *words).strip()
    try:
        address = docker("port", container, "5000/tcp").split()[0]
        with httpx.Client(trust_env=False) as client:
            eventually(lambda: client.get(f"http://{address}/v2/").is_success, "the registry", within_s=30)
        yield address
    finally:
        docker("rm", "--force", "--volumes", container)


def attempt(target: str, registry: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A step of the pipeline. The image is tagged as `make image` would."""
    words = [f"{name}={text}" for name, text in {"REGISTRY": registry, **variables}.items()]
    return subprocess.run(["make", "--silent", target, *words], cwd=ROOT, capture_output=True, text=True, check=False)


def make(target: str, registry: str, **variables: str) -> None:
    """A step of the pipeline that succeeds."""
    done = attempt(target, registry, **variables)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def pushed(registry: str) -> str:
    """The image's address by its digest, as `make push` leaves it."""
    docker("tag", IMAGE, f"{registry}/{IMAGE}")
    make("push", registry)
    return (ROOT / "build" / f"digest-{IMAGE.partition(':')[2]}").read_text().strip()


def test_what_was_pushed_is_what_the_digest_says(registry: str, pushed: str) -> None:
    name, digest = pushed.removeprefix(f"{registry}/").split("@")
    manifest = httpx.get(f"http://{registry}/v2/{name}/manifests/{digest}", headers={"accept": MANIFEST})
    assert manifest.status_code == 200, manifest.text
    assert f"sha256:{hashlib.sha256(manifest.content).hexdigest()}" == digest
    layers = [layer["digest"] for layer in manifest.json()["layers"]]
    assert len(layers) > 3
    for layer in layers:
        assert httpx.head(f"http://{registry}/v2/{name}/blobs/{layer}").status_code == 200, layer


def test_whoever_pulls_by_the_digest_gets_the_same_image(registry: str, pushed: str) -> None:
    built = docker("inspect", "--format", "{{.Id}}", IMAGE)
    docker("rmi", "--force", f"{registry}/{IMAGE}", pushed)
    docker("pull", "--quiet", pushed)
    assert docker("inspect", "--format", "{{.Id}}", pushed) == built
    assert "api" in docker("run", "--rm", "--network", "none", pushed, "python", "-m", "service", "--help")


@pytest.fixture(scope="module")
def keys(pushed: str, registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with two pairs of keys, by the first of which the image and its bill of materials were signed."""
    try:
        program = resolve("cosign", pins=tools()).main
    except Absent as absent:
        missing_backend(f"cosign is absent: {absent.missing}")
    folder = tmp_path_factory.mktemp("cosign")
    (folder / "cosign").symlink_to(program)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        environment.setenv("COSIGN_PASSWORD", "")
        for name in ("ours", "another"):
            command = ["cosign", "generate-key-pair", f"--output-key-prefix={name}"]
            subprocess.run(command, cwd=folder, capture_output=True, check=True)
        make("sbom", registry)
        make("sign", registry, COSIGN_KEY=str(folder / "ours.key"))
        yield folder


def verify(image: str, key: Path, *what: str) -> subprocess.CompletedProcess[str]:
    """What `cosign verify…` says of the image."""
    command = ["cosign", *(what or ("verify",)), "--key", str(key), "--insecure-ignore-tlog=true", image]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_signature_is_ours_and_nobody_elses(keys: Path, pushed: str) -> None:
    assert verify(pushed, keys / "ours.pub").returncode == 0
    assert verify(pushed, keys / "another.pub").returncode != 0


def test_an_image_of_ours_passes_the_step_before_every_deploy(keys: Path, registry: str) -> None:
    make("verify", registry, COSIGN_PUBLIC_KEY=str(keys / "ours.pub"))


def test_an_image_that_another_signed_does_not(keys: Path, registry: str) -> None:
    refused = attempt("verify", registry, COSIGN_PUBLIC_KEY=str(keys / "another.pub"))
    assert refused.returncode != 0, refused.stdout


def test_an_image_that_nobody_signed_does_not_though_it_has_our_tag(keys: Path, registry: str) -> None:
    """What somebody pushes over the tag after it was signed."""
    image = f"{registry}/{IMAGE}"
    container = docker("create", IMAGE).strip()
    try:
        docker("commit", "--change", "LABEL moved=yes", container, image)
        docker("push", "--quiet", image)
    finally:
        docker("rm", "--force", container)
    addresses = docker("inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", image).split()
    docker("rmi", "--force", image)
    [digest] = [address.split("@")[1] for address in addresses if address.startswith(f"{registry}/")]
    refused = attempt("verify", registry, DIGEST=digest, COSIGN_PUBLIC_KEY=str(keys / "ours.pub"))
    assert refused.returncode != 0, refused.stdout
    make("verify", registry, COSIGN_PUBLIC_KEY=str(keys / "ours.pub"))  # what was signed still is


def test_the_bill_of_materials_is_attached_and_signed(keys: Path, pushed: str) -> None:
    found = verify(pushed, keys / "ours.pub", "verify-attestation", "--type", "cyclonedx")
    assert found.returncode == 0, found.stderr
    statement = json.loads(base64.b64decode(json.loads(found.stdout)["payload"]))
    assert "fastapi" in {part["name"] for part in statement["predicate"]["components"]}
    assert f"sha256:{statement['subject'][0]['digest']['sha256']}" == pushed.split("@")[1]
