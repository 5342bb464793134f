"""Which bytes the tags of the images stood for: `python -m stack.container.digests [--write | --clear]`.

A tag may be moved, a digest not. Owns the list of files that name images of others, and writes each one's digest behind
its tag in all of them at once. The engine says what a digest is; nothing here knows one.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    "stack/backends/pins.toml",
    "docker-compose.yml",
    "Dockerfile",
    "deploy/ecs/collector.Dockerfile",
    "deploy/ecs/gateway.Dockerfile",
    "deploy/kubernetes/base/collector-agent.yaml",
    "deploy/kubernetes/base/collector-gateway.yaml",
    "deploy/kubernetes/base/gateway.yaml",
)
DIGEST = r"@sha256:[0-9a-f]{64}"
PULL_S = 900.0
_NAMED = re.compile(
    rf'(?P<before>^\s*image: |^FROM |^image = ")(?P<name>[\w./-]+):(?P<tag>[\w.{{}}-]+)(?P<digest>{DIGEST})?', re.M
)
_OURS = "signalbox"


def without(image: str) -> str:
    """The image by its tag alone."""
    return image.partition("@")[0]


def images(texts: Iterable[str]) -> list[str]:
    """Every image of others that the texts name, by its tag; templates of versions are no images."""
    found = {f"{one['name']}:{one['tag']}" for text in texts for one in _NAMED.finditer(text) if one["name"] != _OURS}
    return sorted(image for image in found if "{" not in image)


def pinned(text: str, digests: Mapping[str, str]) -> str:
    """The text with each image's digest, which stands below its name, behind its tag; and with no other."""

    def pin(found: re.Match[str]) -> str:
        digest = None if found["name"] == _OURS else digests.get(found["name"])
        return f"{found['before']}{found['name']}:{found['tag']}" + (f"@{digest}" if digest else "")

    return _NAMED.sub(pin, text)


def digest_of(image: str) -> str | None:
    """What the registry called the image when it was pulled; None for one that was made here, or is not here."""
    look = ["docker", "image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', image]
    done = subprocess.run(look, capture_output=True, text=True, check=False)
    names = {name.partition("@")[2] for name in done.stdout.split() if "@" in name}
    return names.pop() if len(names) == 1 else None


def pull(image: str) -> str | None:
    """The digest after a pull; None when it cannot be had."""
    command = ["docker", "pull", "--quiet", image]
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, timeout=PULL_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else digest_of(image)


def main(arguments: list[str], root: Path = ROOT, ask: Callable[[str], str | None] = pull) -> int:
    """Print each image with its digest; 1 when one cannot be had, and then nothing is written."""
    parser = argparse.ArgumentParser(prog="python -m stack.container.digests", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write them behind the tags")
    parser.add_argument("--clear", action="store_true", help="leave the tags alone again")
    options = parser.parse_args(arguments)
    texts = {root / name: (root / name).read_text() for name in FILES}
    digests: dict[str, str] = {}
    missing = []
    for image in [] if options.clear else images(texts.values()):
        digest = ask(image)
        sys.stdout.write(f"{image}@{digest}\n" if digest else f"{image} cannot be pulled\n")
        if digest:
            digests[image.rpartition(":")[0]] = digest
        else:
            missing.append(image)
    if missing:
        return 1
    if options.write or options.clear:
        for path, text in texts.items():
            path.write_text(pinned(text, digests))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
