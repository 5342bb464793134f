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
from collections.abc import Iterable, Sequence
from pathlib import Path

from stack.backends import resolve
from stack.backends.cache import root as cache

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
DEBIAN = "standin/debian:trixie"
PACKAGES = "python3,ca-certificates,busybox-static,haproxy,libcap2-bin,valkey-tools"
MIRROR = "http://deb.debian.org/debian"
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
}
PLAIN = ("prometheus", "alertmanager", "loki", "collector", "jaeger", "caddy", "valkey")  # nothing but executables


def main() -> int:
    """Have every image that the compose file and the Dockerfile name; 0 when all are there that can be."""
    for image, how in obtain(wanted()).items():
        sys.stdout.write(f"{image:<50} {how}\n")
    return 0


def wanted() -> list[str]:
    """Every image that is pulled: those of docker-compose.yml but our own, and the Dockerfile's base."""
    command = ["docker", "compose", "--profile", "*", "config", "--format", "json"]
    document = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    images = {service["image"] for service in document["services"].values() if "build" not in service}
    ours = {service["image"] for service in document["services"].values() if "build" in service}
    bases = set(re.findall(r"^FROM (\S+:\S+)", (ROOT / "Dockerfile").read_text(), re.M))
    return sorted((images - ours) | bases)


def obtain(images: Sequence[str]) -> dict[str, str]:
    """Image → how it was had: `there`, `pulled`, `stand-in`, or why it is missing."""
    had = {image: "there" if exists(image) else "pulled" if pull(image) else "" for image in images}
    missing = [image for image, how in had.items() if not how]
    if missing:
        context = cache() / "standins" / "context"
        lay_out(context)
        for image in missing:
            stage = STAGES.get(image.rpartition(":")[0])
            had[image] = "stand-in" if stage and build(image, stage, context) else "missing: no stand-in can be made"
    return had


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


def build(image: str, stage: str, context: Path) -> bool:
    """Build a stand-in."""
    say(f"{image} cannot be pulled: making a stand-in …")
    command = ["docker", "build", "--quiet", "--target", stage, "--tag", image, str(context)]
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=BUILD_S, check=True)
    return True


def lay_out(context: Path) -> None:
    """Everything that standins.Dockerfile copies, in one folder, and the Debian root as an image."""
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    shutil.copy(HERE / "standins.Dockerfile", context / "Dockerfile")
    shutil.copy(HERE / "postgres-entrypoint.sh", context)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", context / "certificates.crt")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(context / "pip"), PIP]
    subprocess.run(pip, check=True)
    for name in PLAIN:
        copy(resolve(name).executables.values(), context / name)
    postgres = resolve("postgres").main.parents[2]  # <package>/pginstall/bin; its libraries lie beside the package
    for folder in (postgres, postgres.with_name(f"{postgres.name}.libs")):
        shutil.copytree(folder, context / "postgres" / folder.name, symlinks=True)
    import_debian(cache() / "standins")


def copy(paths: Iterable[Path], folder: Path) -> None:
    """Copy executables into a folder of the context."""
    folder.mkdir(parents=True)
    for path in paths:
        shutil.copy(path, folder)
        (folder / path.name).chmod(0o755)


def import_debian(folder: Path) -> None:
    """Debian trixie as an image: made once by debootstrap, then kept as an archive."""
    if exists(DEBIAN):
        return
    archive, root = folder / "trixie.tar", folder / "trixie"
    if not archive.exists():
        say("Making a Debian root …")
        shutil.rmtree(root, ignore_errors=True)
        log = folder / "debootstrap.log"
        with log.open("wb") as output:
            command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "trixie", str(root), MIRROR]
            subprocess.run(command, stdout=output, stderr=output, check=True)
        unfinished = archive.with_suffix(".unfinished")
        leave_out = ["./var/cache/apt/*", "./var/lib/apt/lists/*", "./usr/share/doc/*", "./usr/share/man/*"]
        leave_out += ["./usr/share/locale/*", "./dev/*", "./proc/*", "./sys/*"]
        excluded = [f"--exclude={pattern}" for pattern in leave_out]
        subprocess.run(["tar", "-C", str(root), "-c", "-f", str(unfinished), *excluded, "."], check=True)
        unfinished.replace(archive)
        shutil.rmtree(root)
    subprocess.run(["docker", "import", str(archive), DEBIAN], stdout=subprocess.DEVNULL, check=True)


def say(text: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
