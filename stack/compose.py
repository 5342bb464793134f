"""The container form of the components: their environment there, and what must exist before they start.

`python -m stack.compose` runs once as a container of its own (`prepare` in docker-compose.yml) and writes passwords
and settings into volumes. Owns how a component's templates read where each has a host name of its own. Refuses to
know YAML and engines.

Volumes are shared by group: whoever may read them has the image's group 10001.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stack.components import Component, components
from stack.layout import LOOPBACK
from stack.native.credentials import Credentials, write_private
from stack.native.launch import DEADMAN_TIMEOUT_S
from stack.native.postgres import DATABASE, FOUNDATION, ROLES, SETTINGS, SLOT

SECRETS = Path("/run/secrets")
PUBLIC_SETTINGS = Path("/run/settings")
TARGETS = Path("/run/targets")

SHARED = 0o640  # owner and group
EVERYWHERE = "0.0.0.0"  # inside networks that publish nothing
PASSWORDS = (*ROLES.values(), "valkey_password", "grafana_password")

# The socket is for the image's own first start, which makes the roles.
POSTGRES_SETTINGS = {**SETTINGS, "listen_addresses": "*", "unix_socket_directories": "/var/run/postgresql"}
POSTGRES_ACCESS = """\
local  all          all                  scram-sha-256
host   all          all         samenet  scram-sha-256
host   replication  replicator  samenet  scram-sha-256
"""

_PORT_AT_LOOPBACK = re.compile(rf"(?P<scheme>(?://)?){re.escape(LOOPBACK)}:\{{ports\[(?P<port>[\w-]+)\]\}}")


def contained() -> tuple[Component, ...]:
    """The components that have a container form."""
    return tuple(part for part in components() if not part.native_only)


def adapt(template: str, owner: str = "") -> str:
    """A template of the component `owner` with host names in the place of loopback addresses. What it listens on itself
    is open to its networks. An address for a reader's browser (`{host}`) becomes empty: only the gateway is published.
    """
    if "{host}" in template:
        return ""
    hosts = {port: part.name for part in contained() for port in part.ports}

    def name(found: re.Match[str]) -> str:
        listens = hosts[found["port"]] == owner and not found["scheme"]
        return f"{found['scheme']}{EVERYWHERE if listens else hosts[found['port']]}:{{ports[{found['port']}]}}"

    return _PORT_AT_LOOPBACK.sub(name, template).replace(LOOPBACK, EVERYWHERE).replace("{gateway_host}", EVERYWHERE)


def values(secret: Mapping[str, str] | Credentials) -> dict[str, Any]:
    """What adapted templates are filled in with, but for paths: those are docker-compose.yml's own choice."""
    parts = contained()
    return {
        "ports": {name: port for part in parts for name, port in part.ports.items()},
        "secret": secret,
        "python": "python",
        "upstreams": " ".join(f"{part.name}:{part.ports[part.name]}" for part in parts if part.job == "api"),
        "deadman_timeout_s": f"{DEADMAN_TIMEOUT_S:g}",
    }


def secret_environment(secret: Mapping[str, str] | Credentials) -> dict[str, str]:
    """The variables of our own processes that hold a password: never in docker-compose.yml, always in a file."""
    templates: dict[str, str] = {}
    for part in contained():
        if part.backend is None:
            templates |= {name: text for name, text in part.env.items() if "{secret[" in text}
    return {name: adapt(text).format_map(values(secret)) for name, text in sorted(templates.items())}


def scrape_targets() -> dict[str, list[dict[str, Any]]]:
    """Job → what Prometheus' file discovery reads: one target an instance."""
    targets: dict[str, list[dict[str, Any]]] = {}
    for part in [part for part in contained() if part.metrics]:
        address = f"{part.name}:{part.ports[part.metrics]}"
        labels = {"job": part.job, "instance": part.name}
        targets.setdefault(part.job, []).append({"targets": [address], "labels": labels})
    return targets


def prepare(secrets: Path = SECRETS, settings: Path = PUBLIC_SETTINGS, targets: Path = TARGETS) -> None:
    """Writes what the containers read. Passwords are made once and kept; everything else is written anew."""
    secret = Credentials(secrets)
    for name in PASSWORDS:
        _share(secrets / name, secret[name])
    _share(secrets / "service.env", "".join(f"{name}='{text}'\n" for name, text in secret_environment(secret).items()))
    _share(secrets / "valkey.conf", f"requirepass {secret['valkey_password']}\n")
    _share(secrets / "roles.sql", _roles(secret))
    pager = adapt(f"http://{LOOPBACK}:{{ports[pager]}}").format_map(values(secret))
    _share(settings / "pager_url", f"{pager}/api/v1/alerts\n")
    _share(settings / "pager_deadman_url", f"{pager}/api/v1/deadman\n")
    _share(settings / "postgresql.conf", "".join(f"{name} = '{text}'\n" for name, text in POSTGRES_SETTINGS.items()))
    _share(settings / "pg_hba.conf", POSTGRES_ACCESS)
    for job, found in scrape_targets().items():
        _share(targets / f"{job}.json", json.dumps(found, indent=1))
    for password in secrets.iterdir():  # those too that were made when a template asked for them
        password.chmod(SHARED)


def _roles(secret: Credentials) -> str:
    """What the primary executes when its data folder is made."""
    roles = {role: secret[name] for role, name in ROLES.items() if role != "postgres"}
    statements = [
        f"CREATE ROLE signalbox LOGIN PASSWORD '{roles['signalbox']}'",
        f"CREATE ROLE replicator LOGIN REPLICATION PASSWORD '{roles['replicator']}'",
        *FOUNDATION,
        f"SELECT pg_create_physical_replication_slot('{SLOT}', true)",
    ]
    return "".join(f"{one};\n" for one in statements) + f"\\connect {DATABASE}\nCREATE EXTENSION pg_stat_statements;\n"


def _share(path: Path, text: str) -> None:
    write_private(path, text)
    path.chmod(SHARED)


if __name__ == "__main__":
    prepare()
