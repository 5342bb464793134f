"""What must exist before the containers start: passwords, settings, and the rules compiled for the clock.

`python -m stack.container.prepare` runs as a container of its own (`prepare` in docker-compose.yml) at every start and
writes into volumes. Passwords are made once and kept. Refuses to know YAML and engines.

Volumes are shared by group: whoever may read them has the image's group 10001.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from stack.components import components
from stack.container.addresses import adapt, published, scrape_targets, secret_environment, values, variable
from stack.errors import WrongUse
from stack.layout import LOOPBACK
from stack.native.credentials import Credentials, write_private
from stack.native.launch import WATCHED
from stack.native.postgres import DATABASE, FOUNDATION, ROLES, SETTINGS, SLOT
from stack.native.render import (
    SECRETS_IN_CONTAINERS,
    address_template,
    bring_up_to_date,
    compile_settings,
    read_settings,
)

ROOT = Path(__file__).resolve().parents[2]
SECRETS = Path("/run/secrets")
PUBLIC_SETTINGS = Path("/run/settings")

SHARED, SHARED_FOLDER = 0o640, 0o750  # owner and group
LOGS, LOGS_FOLDER = Path("/var/log/signalbox"), 0o770  # PostgreSQL writes there too, as its own user
PASSWORDS = (*ROLES.values(), "valkey_password", "grafana_password")
RENDERED = ("prometheus", "alertmanager", "grafana")  # components whose settings depend on the clock or on addresses

# The socket is for the image's own first start, which makes the roles.
POSTGRES_SETTINGS = {**SETTINGS, "listen_addresses": "*", "unix_socket_directories": "/var/run/postgresql"}
POSTGRES_ACCESS = """\
local  all          all                  scram-sha-256
host   all          all         samenet  scram-sha-256
host   replication  replicator  samenet  scram-sha-256
"""


def prepare(
    secrets: Path = SECRETS,
    settings: Path = PUBLIC_SETTINGS,
    *,
    root: Path = ROOT,
    clock: float = 1.0,
    pager_port: int | None = None,
) -> None:
    """Write what the containers read. `pager_port` is where the host has the pager, for the links of a notification."""
    secret = Credentials(secrets)
    for name in PASSWORDS:
        _share(secrets / name, secret[name])
    _share(secrets / "service.env", "".join(f"{name}='{text}'\n" for name, text in secret_environment(secret).items()))
    _share(secrets / "valkey.conf", f"requirepass {secret['valkey_password']}\n")
    _share(secrets / "roles.sql", _roles(secret))
    for password in secrets.iterdir():  # those too that were made when a template asked for them
        password.chmod(SHARED)
    pager = adapt(f"http://{LOOPBACK}:{{ports[pager]}}").format_map(values(secret))
    _share(settings / "pager_url", f"{pager}/api/v1/alerts\n")
    _share(settings / "pager_deadman_url", f"{pager}/api/v1/deadman\n")
    _share(settings / "postgresql.conf", "".join(f"{name} = '{text}'\n" for name, text in POSTGRES_SETTINGS.items()))
    _share(settings / "pg_hba.conf", POSTGRES_ACCESS)
    compiled = compile_settings(root, clock)
    for part in [part for part in components() if part.name in RENDERED]:
        files = read_settings(root, part, clock, compiled)
        folder = settings / part.name
        bring_up_to_date(folder, _adapted(part.name, files, settings, pager_port or published()["pager"]))
        for path in (folder, *folder.rglob("*")):
            path.chmod(SHARED if path.is_file() else SHARED_FOLDER)


def _adapted(name: str, files: dict[str, str], settings: Path, pager_port: int) -> dict[str, str]:
    if name == "prometheus":
        return files | {f"{WATCHED}/{job}.json": json.dumps(found, indent=1) for job, found in scrape_targets().items()}
    if name == "alertmanager":
        addresses = address_template(f"http://{LOOPBACK}:{pager_port}")
        files = {name: text.replace(SECRETS_IN_CONTAINERS, str(settings)) for name, text in files.items()}
        return files | {"templates/addresses.tmpl": addresses}
    return files


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


def read_clock(environ: Mapping[str, str]) -> float:
    """The clock factor. Raises WrongUse."""
    text = environ.get("SIGNALBOX_CLOCK") or "1"
    try:
        clock = float(text)
    except ValueError:
        clock = 0.0
    if not 1 <= clock <= 1000:
        raise WrongUse(f"SIGNALBOX_CLOCK is {text!r}", "Give a factor from 1 to 1000")
    return clock


if __name__ == "__main__":
    LOGS.chmod(LOGS_FOLDER)
    prepare(clock=read_clock(os.environ), pager_port=int(os.environ.get(variable("pager")) or 0) or None)
