"""PostgreSQL's data folders: how the primary's is made, how the replica's is copied from it, who runs them.

A folder is made under another name and renamed when it is whole, so a finished one is never half-made; a finished
primary is never deleted, a replica that cannot follow its primary is made anew. Watches no process.
"""

import hashlib
import os
import pwd
import re
import shutil
import struct
import subprocess
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import psutil

from stack.errors import StackError
from stack.layout import LOOPBACK, Layout
from stack.native.credentials import Credentials, write_private
from stack.native.launch import Ground
from stack.native.processes import User, last_lines, run_to_end, user_of

PRIMARY, REPLICA = "postgres", "postgres-replica"
DATABASE = "signalbox"
SLOT = "replica"
ROLES = {"postgres": "postgres_password", "signalbox": "database_password", "replicator": "replication_password"}

# Small, because everything shares one machine; durable, because orders are.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_wal_senders": "5",
    "max_replication_slots": "5",
    "max_slot_wal_keep_size": "1GB",  # a replica that stays away must not fill the disk
    "hot_standby": "on",
    "hot_standby_feedback": "on",
    "autovacuum_naptime": "10s",  # each job leaves dead rows in a small table; every look at the queue goes over them
    "shared_preload_libraries": "pg_stat_statements",
    "io_method": "sync",  # no I/O worker processes for a data set that fits into memory
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "1s",
    "log_lock_waits": "on",
}
ACCESS = f"""\
host  all          all         {LOOPBACK}/32  scram-sha-256
host  replication  replicator  {LOOPBACK}/32  scram-sha-256
"""

# What a replica says that will never catch up with its primary (xlogrecovery.c, walreceiver.c, slot.c of 18).
BEYOND_MENDING = re.compile(
    "|".join(
        (
            r"requested WAL segment \S+ has already been removed",
            r"can no longer (get changes from|access) replication slot",
            r"requested starting point .* is (ahead of|not in this server's history)",
            r"highest timeline .* is behind recovery timeline",
            r"database system identifier differs",
            r"could not locate (a valid|required) checkpoint record",
            r"invalid (primary )?checkpoint record",
            r"invalid page in block",
            r"PANIC:",
        )
    )
)
MADE_ANEW = "signalbox: this replica is made anew from its primary"


@dataclass(frozen=True)
class Workshop:
    """What is needed to make a data folder."""

    layout: Layout
    executables: Mapping[str, Path]
    credentials: Credentials
    ports: Mapping[str, int]
    log: Path


async def prepare_primary(workshop: Workshop) -> Ground:
    """The primary's data folder, made on first use, with its roles and database."""
    ground = _ground(workshop, PRIMARY)
    new_passwords = not all(workshop.credentials.has(secret) for secret in ROLES.values())
    _clear_away(ground.data)
    if not ground.data.exists():
        making = _begin(ground)
        password_file = making.with_name(making.name + ".password")
        _write(password_file, workshop.credentials[ROLES["postgres"]], ground.user)
        await _run(
            workshop,
            ground,
            "initdb",
            *("-D", str(making), "-U", "postgres", "--pwfile", str(password_file), "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            "--no-instructions",
        )
        password_file.unlink()
        _configure(making, ground.user, {**SETTINGS, "port": str(workshop.ports[PRIMARY])})
        await _run_sql(workshop, replace(ground, data=making), "postgres", [*_roles(workshop, "CREATE"), *FOUNDATION])
        await _run_sql(workshop, replace(ground, data=making), DATABASE, ["CREATE EXTENSION pg_stat_statements"])
        making.rename(ground.data)
    else:
        _configure(ground.data, ground.user, {**SETTINGS, "port": str(workshop.ports[PRIMARY])})
        if new_passwords:
            await _run_sql(workshop, ground, "postgres", _roles(workshop, "ALTER"))
    return ground


FOUNDATION = (
    f"CREATE DATABASE {DATABASE} OWNER signalbox",
    "GRANT pg_monitor TO signalbox",
)


async def prepare_replica(workshop: Workshop) -> Ground:
    """The replica's data folder, copied from the running primary when there is none or when it can never follow."""
    ground = _ground(workshop, REPLICA)
    _clear_away(ground.data)
    if ground.data.exists() and (reason := _cannot_follow(workshop, ground)):
        with workshop.log.open("a") as file:
            file.write(f"{MADE_ANEW}: {reason}\n")
        ground.data.rename(_unfinished(ground.data))
        _clear_away(ground.data)
    if not ground.data.exists():
        await _renew_slot(workshop)
        making = _begin(ground)
        await _run(
            workshop,
            ground,
            "pg_basebackup",
            *(
                "-D",
                str(making),
                "-h",
                LOOPBACK,
                "-p",
                str(workshop.ports[PRIMARY]),
                "-U",
                "replicator",
                "--no-password",
            ),
            *("--wal-method=stream", "--slot", SLOT, "--checkpoint=fast"),
            PGPASSWORD=workshop.credentials[ROLES["replicator"]],
        )
        (making / "postgresql.auto.conf").write_text("")
        _write(making / "standby.signal", "", ground.user)
        making.rename(ground.data)
    primary = (
        f"host={LOOPBACK} port={workshop.ports[PRIMARY]} user=replicator application_name={REPLICA} "
        f"password={workshop.credentials[ROLES['replicator']]}"
    )
    settings = {"port": str(workshop.ports[REPLICA]), "primary_conninfo": primary, "primary_slot_name": SLOT}
    _configure(ground.data, ground.user, {**SETTINGS, **settings})
    return ground


PREPARATIONS: Mapping[str, Callable[[Workshop], Awaitable[Ground]]] = {
    "postgres-primary": prepare_primary,
    "postgres-replica": prepare_replica,
}


# the ground


def _ground(workshop: Workshop, name: str) -> Ground:
    """Where the data lies and who runs the server: ourselves, or another user when we are root."""
    here, elsewhere = workshop.layout.data / name, workshop.layout.elsewhere / name
    if os.geteuid() != 0:
        return Ground(here, workshop.executables)
    user = server_user(here, elsewhere)
    executables = {name: _reachable(path, user, workshop.layout) for name, path in workshop.executables.items()}
    if elsewhere.exists() or not _may_run(user, workshop.layout.data):
        if here.exists():
            raise StackError(
                f"user {user.name} cannot reach PostgreSQL's data in {here}", f"chmod o+x the folders above {here}"
            )
        elsewhere.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        return Ground(elsewhere, executables, user, f"as user {user.name}, data in {elsewhere}")
    return Ground(here, executables, user, f"as user {user.name}")


def server_user(*folders: Path) -> User:
    """Who owns the data already, else `postgres`, else `nobody`: PostgreSQL refuses to run as root."""
    for folder in folders:
        if folder.exists() and folder.stat().st_uid != 0:
            return user_of(folder.stat().st_uid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return user_of(pwd.getpwnam(name).pw_uid)
    raise StackError(
        "PostgreSQL refuses to run as root and there is no other user", "Run `signalbox up` as another user"
    )


def _may_run(user: User, path: Path) -> bool:
    """Whether the user may execute the program, or pass through the folder."""
    look = subprocess.run(["test", "-x", path], user=user.uid, group=user.gid, extra_groups=[], check=False)
    return look.returncode == 0


def _reachable(program: Path, user: User, layout: Layout) -> Path:
    """The program itself, or a copy of its installation where the user reaches it."""
    if _may_run(user, program):
        return program
    in_wheel = program.parents[1].name == "pginstall"  # its libraries then lie beside the package, in `<package>.libs`
    top = program.parents[2] if in_wheel else program.parents[1]
    stamp = hashlib.sha256(f"{top} {top.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    copy = layout.elsewhere / f"programs-{stamp}"
    if not copy.exists():
        _clear_away(copy)
        making = _unfinished(copy)
        for folder in (top, top.with_name(top.name + ".libs")):
            if folder.is_dir():
                shutil.copytree(folder, making / folder.name, symlinks=True)
        for folder in (copy.parent, making):
            folder.chmod(0o755)
        making.rename(copy)
    return copy / top.name / program.relative_to(top)


# making folders


def _unfinished(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.unfinished")


def _clear_away(folder: Path) -> None:
    """Delete what an interrupted making left, and a lock file whose pid is another program's by now."""
    unfinished = _unfinished(folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.with_name(unfinished.name + ".password").unlink(missing_ok=True)
    lock = folder / "postmaster.pid"
    with suppress(OSError, ValueError, IndexError):
        holder = int(lock.read_text().splitlines()[0])
        with suppress(psutil.Error):
            if "postgres" in psutil.Process(holder).name():
                return
        lock.unlink()


def _begin(ground: Ground) -> Path:
    """An empty folder in which the data is made."""
    making = _unfinished(ground.data)
    making.mkdir(mode=0o700)
    _give(making, ground.user)
    return making


def _configure(folder: Path, user: User | None, settings: Mapping[str, str]) -> None:
    text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    _write(folder / "postgresql.conf", f"# Written by `signalbox up` at every start.\n{text}", user)
    _write(folder / "pg_hba.conf", ACCESS, user)


def _write(path: Path, text: str, user: User | None) -> None:
    write_private(path, text)
    _give(path, user)


def _give(path: Path, user: User | None) -> None:
    if user is not None:
        os.chown(path, user.uid, user.gid)


async def _run(workshop: Workshop, ground: Ground, program: str, *arguments: str, given: str = "", **env: str) -> None:
    command = [str(ground.executables[program]), *arguments]
    base = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": str(ground.data.parent)}
    await run_to_end(
        command, env={**base, **env}, cwd=ground.data.parent, log=workshop.log, user=ground.user, given=given
    )


async def _run_sql(workshop: Workshop, ground: Ground, database: str, statements: Iterable[str]) -> None:
    """Execute statements on a stopped server, in its single-user mode: nothing listens while there are no passwords."""
    given = "".join(f"{statement};\n\n" for statement in statements)
    arguments = ("--single", "-j", "-D", str(ground.data), "-c", "exit_on_error=on", database)
    await _run(workshop, ground, "postgres", *arguments, given=given)


def _roles(workshop: Workshop, verb: str) -> list[str]:
    passwords = {role: workshop.credentials[secret] for role, secret in ROLES.items()}
    return [
        f"ALTER ROLE postgres PASSWORD '{passwords['postgres']}'",
        f"{verb} ROLE signalbox LOGIN PASSWORD '{passwords['signalbox']}'",
        f"{verb} ROLE replicator LOGIN REPLICATION PASSWORD '{passwords['replicator']}'",
    ]


# the replica


def _cannot_follow(workshop: Workshop, ground: Ground) -> str:
    """Why this replica can never follow the primary again; empty when it can."""
    if not (ground.data / "standby.signal").exists():
        return "it was promoted"
    if _system_identifier(ground.data) != _system_identifier(_ground(workshop, PRIMARY).data):
        return "it belongs to another primary"
    said = last_lines(workshop.log, 200, most_bytes=64_000)
    since = max((number for number, line in enumerate(said) if line.startswith(MADE_ANEW)), default=-1)
    return next((line for line in reversed(said[since + 1 :]) if BEYOND_MENDING.search(line)), "")


def _system_identifier(folder: Path) -> int | None:
    """The number that initdb gave the cluster: the first field of its control file (pg_control.h)."""
    try:
        with (folder / "global" / "pg_control").open("rb") as file:
            return int(struct.unpack("=Q", file.read(8))[0])
    except (OSError, struct.error):
        return None


async def _renew_slot(workshop: Workshop) -> None:
    """A fresh replication slot: an old one may have lost the log that a new copy needs."""
    try:
        connection = await asyncpg.connect(
            host=LOOPBACK,
            port=workshop.ports[PRIMARY],
            user="postgres",
            password=workshop.credentials[ROLES["postgres"]],
            database="postgres",
            timeout=10,
        )
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise StackError(f"the primary does not answer: {error}") from error
    try:
        await connection.execute(
            f"select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{SLOT}'"
        )
        await connection.execute(f"select pg_create_physical_replication_slot('{SLOT}', true)")
    except asyncpg.PostgresError as error:
        raise StackError(f"the replication slot cannot be renewed: {error}") from error
    finally:
        await connection.close()
