"""The images of docker-compose.yml, had by hook or by crook: official ones are pulled, and only what cannot be pulled
is made here, from the native stack's executables, under the same name and with a label that says so.

Knows no version: names come from docker-compose.yml and the Dockerfile, executables from the pinned backends. An image
whose server is not to be had here either (Grafana) gets no stand-in.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from stack.backends import Pin, load_pins, resolve
from stack.backends.cache import root as cache
from tests.compose.debian import make_root

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
DEBIAN = "standin/debian:trixie"
PULL_S, BUILD_S = 900.0, 900.0
PIP = "pip==25.3"
# Image, without its tag → stage of standins.Dockerfile.
STAGES = {
    "python": "python",
    "postgres": "postgres",
    "valkey/valkey": "valkey",
    "caddy": "caddy",
    "haproxy": "haproxy",
    "prom/prometheus": "prometheus",
    "prom/alertmanager": "alertmanager",
    "grafana/loki": "loki",
    "otel/opentelemetry-collector-contrib": "collector",
    "jaegertracing/jaeger": "jaeger",
    "ghcr.io/shopify/toxiproxy": "toxiproxy",
    "registry": "registry",
}
PLAIN = (
    "prometheus",
    "alertmanager",
    "loki",
    "collector",
    "jaeger",
    "caddy",
    "valkey",
    "toxiproxy",
)  # nothing but executables


def tools() -> Mapping[str, Pin]:
    """What the tests need besides the images of the stack, by name."""
    return load_pins(HERE / "pins.toml", HERE / "recipes")


def main() -> int:
    """Have every image that the compose file and the Dockerfile name; 0 when all are there that can be."""
    for image, how in obtain(wanted()).items():
        sys.stdout.write(f"{image:<50} {how}\n")
    return 0


def wanted() -> list[str]:
    """Every image that is pulled: docker-compose.yml's but our own, the Dockerfile's base, and the tests' registry."""
    command = ["docker", "compose", "--profile", "*", "config", "--format", "json"]
    document = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    images = {service["image"] for service in document["services"].values() if "build" not in service}
    ours = {service["image"] for service in document["services"].values() if "build" in service}
    bases = set(re.findall(r"^FROM (\S+:\S+)", (ROOT / "Dockerfile").read_text(), re.M))
    return sorted((images - ours) | bases | {tools()["registry"].image})


def obtain(images: Sequence[str]) -> dict[str, str]:
    """Image → how it was had: `there`, `pulled`, `stand-in`, or that it is missing."""
    had = {image: "there" if exists(image) else "pulled" if pull(image) else "missing" for image in images}
    stages = {image: stage for image, how in had.items() if how == "missing" and (stage := stage_of(image))}
    if stages:
        say(f"These cannot be pulled, so stand-ins are made: {', '.join(stages)} …")
        context = cache() / "standins" / "context"
        lay_out(context)
        build(stages, context)
    return had | dict.fromkeys(stages, "stand-in")


def stage_of(image: str) -> str | None:
    """The stage of standins.Dockerfile that stands in for it; nothing does for an image that is named by its digest."""
    return None if "@" in image else STAGES.get(image.rpartition(":")[0])


def exists(image: str) -> bool:
    """Whether the engine has it."""
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0


def pull(image: str) -> bool:
    """Pull it; False when that fails."""
    try:
        done = subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, timeout=PULL_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def build(images: Mapping[str, str], context: Path) -> None:
    """Build stand-ins, image → stage. By `docker compose`, which brings its own BuildKit client."""
    services = {
        stage: {"image": image, "build": {"context": str(context), "target": stage}} for image, stage in images.items()
    }
    file = context.with_name("standins.json")
    file.write_text(json.dumps({"name": "signalbox-standins", "services": services}))
    command = ["docker", "compose", "--file", str(file), "build", "--quiet"]
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=BUILD_S, check=True)


def lay_out(context: Path) -> None:
    """Everything that standins.Dockerfile copies, in one folder, and the Debian root as an image."""
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    shutil.copy(HERE / "standins.Dockerfile", context / "Dockerfile")
    for name in ("postgres-entrypoint.sh", "registry.yaml"):
        shutil.copy(HERE / name, context)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", context / "certificates.crt")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(context / "pip"), PIP]
    subprocess.run(pip, check=True)
    for name in PLAIN:
        copy([resolve(name).main], context / name)
    copy([resolve("registry", pins=tools()).main], context / "registry")
    postgres = resolve("postgres").main.parents[2]  # <package>/pginstall/bin; its libraries lie beside the package
    for folder in (postgres, postgres.with_name(f"{postgres.name}.libs")):
        shutil.copytree(folder, context / "postgres" / folder.name, symlinks=True)
    import_debian(make_root(cache() / "standins"))


def copy(paths: Iterable[Path], folder: Path) -> None:
    """Copy executables into a folder of the context."""
    folder.mkdir(parents=True)
    for path in paths:
        shutil.copy(path, folder)
        (folder / path.name).chmod(0o755)


def import_debian(root: Path) -> None:
    """Debian's root as an image."""
    if exists(DEBIAN):
        return
    command = ["docker", "import", "-", DEBIAN]
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as archive:
        subprocess.run(command, stdin=archive.stdout, stdout=subprocess.DEVNULL, check=True)


def say(text: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
