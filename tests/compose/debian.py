"""What comes from Debian's trixie suite: a root for stand-ins, and Compose where the machine has none.

Packages are fetched by apt and unpacked, not installed. Needs apt and the network once; what it makes is kept. Nothing
of this machine's own packages is touched.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SUITE = "trixie"
MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "gzip", "passwd", "sed", "tar"),
    *("busybox-static", "haproxy", "libcap2-bin", "python3", "valkey-tools"),
)
LEFT_OUT = ("usr/share/doc", "usr/share/locale", "usr/share/man")
COMPOSE = "usr/libexec/docker/cli-plugins/docker-compose"
"""The plugin's path in Debian's package `docker-compose`; it is static, so it runs anywhere."""


def make_root(folder: Path) -> Path:
    """The root's folder below `folder`, made when it is not there. Raises CalledProcessError when apt fails."""
    root, unfinished, fetched = folder / SUITE, folder / f"{SUITE}.unfinished", folder / "apt"
    if root.exists():
        return root
    for remains in (unfinished, fetched):
        shutil.rmtree(remains, ignore_errors=True)
    unfinished.mkdir(parents=True)
    packages = fetch(fetched, *PACKAGES)
    for package in sorted(packages, key=lambda path: not path.name.startswith("base-files_")):  # it has the links
        subprocess.run(["dpkg-deb", "--extract", str(package), str(unfinished)], check=True)
    for name in ("passwd", "group"):
        shutil.copy(unfinished / "usr" / "share" / "base-passwd" / f"{name}.master", unfinished / "etc" / name)
    for name in LEFT_OUT:
        shutil.rmtree(unfinished / name)
    shutil.rmtree(fetched)
    unfinished.rename(root)
    return root


def obtain_compose(folder: Path) -> Path:
    """A folder for DOCKER_CONFIG with the plugin in it, made when it is not there. Raises CalledProcessError when apt
    fails, and OSError when there is none."""
    config, fetched = folder / "docker", folder / "apt"
    plugin = config / "cli-plugins" / Path(COMPOSE).name
    if plugin.exists():
        return config
    shutil.rmtree(fetched, ignore_errors=True)
    [package] = (path for path in fetch(fetched, "docker-compose") if path.name.startswith("docker-compose_"))
    subprocess.run(["dpkg-deb", "--extract", str(package), str(fetched / "root")], check=True)
    plugin.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(fetched / "root" / COMPOSE, plugin)
    shutil.rmtree(fetched)
    return config


def fetch(folder: Path, *packages: str) -> list[Path]:
    """The packages and whatever they depend on, as files: apt with a state of its own."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Status": folder / "status",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder,
        "Dir::Cache::Archives": folder / "archives",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
    }
    apt = ["apt-get", "--quiet=2", "--yes", *(f"--option={name}={value}" for name, value in settings.items())]
    for command in (["update"], ["install", "--download-only", *packages]):
        subprocess.run([*apt, *command], stdout=subprocess.DEVNULL, check=True)
    return list((folder / "archives").glob("*.deb"))
