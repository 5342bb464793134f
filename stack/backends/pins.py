"""The pins: which versions of each backend are wanted, which are accepted, and under which names they are published.

Owns the model of `pins.toml` and the rules of versions and addresses. Refuses to know how anything is found, fetched
or built, and touches neither the network nor the cache.
"""

from __future__ import annotations

import os
import platform
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PINS = Path(__file__).with_name("pins.toml")
RECIPES = Path(__file__).parent.parent / "recipes"

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Release:
    """The addresses and names of one release on one platform, all templates filled in."""

    archive_url: str
    checksums_url: str
    file: str
    members: Mapping[str, str]


@dataclass(frozen=True)
class Archive:
    """Where an official release lies; the fields are templates (see `pins.toml`)."""

    base: str
    file: str
    checksums: str
    members: Mapping[str, str]
    os_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Build:
    """A build from a published Go module; `recipe` is the folder with its go.mod and go.sum."""

    version: str
    module: str
    module_version: str
    packages: Mapping[str, str]
    recipe: Path
    tags: tuple[str, ...] = ()
    stamp: str | None = None


@dataclass(frozen=True)
class Pin:
    """Everything known in advance about one backend."""

    name: str
    version: str
    image: str
    minimum: str
    below: str
    executables: tuple[str, ...]
    version_arguments: tuple[str, ...]  # empty: it cannot be asked, see `machine.version_of`
    version_pattern: str
    cost: str
    optional: tuple[str, ...] = ()
    archive: Archive | None = None
    build: Build | None = None
    wheel: str | None = None

    @property
    def main(self) -> str:
        """The executable that is the backend; the others are its tools."""
        return self.executables[0]

    @property
    def variable(self) -> str:
        """The environment variable that names the main executable by hand."""
        return f"SIGNALBOX_{self.name.upper()}_BIN"

    @property
    def range(self) -> str:
        """The accepted versions in words."""
        return f"{self.minimum} or later, before {self.below}"

    def accepts(self, version: str) -> bool:
        """Whether this stack is known to work with `version`."""
        return parse_version(self.minimum) <= parse_version(version) < parse_version(self.below)

    def version_in(self, output: str) -> str | None:
        """The version that an executable prints about itself, or None when it does not say."""
        match = re.search(self.version_pattern, output, re.MULTILINE)
        return match.group(1) if match else None

    def release(self) -> Release | None:
        """The official release for this machine, or None where there is none for its platform.

        `SIGNALBOX_RELEASE_BASE_<NAME>` replaces the folder that holds the files; `SIGNALBOX_RELEASE_BASE` is a mirror
        that holds such a folder as `<name>/<version>/` for every backend.
        """
        system, machine = platform.system().lower(), _ARCHITECTURES.get(platform.machine().lower())
        if self.archive is None or machine is None or system not in ("linux", "darwin"):
            return None
        values = {
            "version": self.version,
            "os": self.archive.os_names.get(system, system),
            "arch": machine,
        }
        values["file"] = file = self.archive.file.format_map(values)
        base = self.archive.base.format_map(values)
        if mirror := os.environ.get("SIGNALBOX_RELEASE_BASE"):
            base = f"{mirror.rstrip('/')}/{self.name}/{self.version}"
        base = os.environ.get(f"SIGNALBOX_RELEASE_BASE_{self.name.upper()}", base).rstrip("/")
        return Release(
            archive_url=f"{base}/{file}",
            checksums_url=f"{base}/{self.archive.checksums.format_map(values)}",
            file=file,
            members={name: path.format_map(values) for name, path in self.archive.members.items()},
        )


def parse_version(text: str) -> tuple[int, ...]:
    """`v3.14.0-rc.1` → (3, 14, 0). Raises ValueError where there is no number to start with."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", text)
    if match is None:
        raise ValueError(f"no version number in {text!r}")
    return tuple(int(part) for part in match.group(1).split("."))


def load_pins(path: Path = PINS, recipes: Path = RECIPES) -> dict[str, Pin]:
    """All pins by name, in the file's order."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _parse_pin(name, table, recipes) for name, table in tables.items()}


def _parse_pin(name: str, table: dict[str, Any], recipes: Path) -> Pin:
    archive, build = table.pop("archive", None), table.pop("build", None)
    for key in ("executables", "optional", "version_arguments"):
        table[key] = tuple(table.get(key, ()))
    table["image"] = table["image"].format(version=table["version"])
    if build is not None:
        build["tags"] = tuple(build.get("tags", ()))
    return Pin(
        name=name,
        archive=Archive(**archive) if archive is not None else None,
        build=Build(recipe=recipes / name, **build) if build is not None else None,
        **table,
    )
