"""Processes of this machine: started in a group of their own, told apart from strangers, ended for certain.

A process is provably ours when its recorded pid still has the recorded start time, or when it carries the mark that
every child of a supervisor has in its environment. Knows nothing of components.
"""

import asyncio
import ctypes
import errno
import json
import os
import pwd
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from stack.errors import StackError

MARK = "SIGNALBOX_SUPERVISED"  # environment variable whose value is the state folder
SAME_START_S = 1.0  # start times are read in clock ticks of 10 ms; a pid does not come round within a second
SENT_BY_OTHERS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
LOGFMT_MESSAGE = re.compile(r'^\w+=\S+ .*?\bmsg="((?:[^"\\]|\\.)*)"')
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Identity:
    """A process, by pid and the time it was started (seconds since the epoch)."""

    pid: int
    created: float

    def process(self) -> psutil.Process | None:
        """The process if it still runs; None when it is gone, a zombie, or its pid is another process's by now."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.created) < SAME_START_S and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except (psutil.Error, ValueError):
            pass
        return None


def identify(pid: int) -> Identity | None:
    """The identity of a running process."""
    try:
        return Identity(pid, psutil.Process(pid).create_time())
    except (psutil.Error, ValueError):
        return None


def own_identity() -> Identity:
    """The identity of this very process."""
    return Identity(os.getpid(), psutil.Process().create_time())


@dataclass(frozen=True)
class User:
    """Another user that a child runs as."""

    name: str
    uid: int
    gid: int


def user_of(uid: int) -> User:
    entry = pwd.getpwuid(uid)
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def dies_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child runs before its program so that the kernel ends it when the supervisor is killed (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before the arrangement stood
            os._exit(1)

    return arrange


@dataclass
class Child:
    """A process of ours, leader of its own session and group."""

    process: asyncio.subprocess.Process
    identity: Identity

    @property
    def pid(self) -> int:
        return self.identity.pid

    async def wait(self) -> int:
        """Its exit code; negative for the signal that ended it."""
        return await self.process.wait()

    async def stop(self, how: signal.Signals, grace_s: float) -> None:
        """Ask it to end, wait, then kill its whole group. Returns when it is gone."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(how)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.process.wait()
        self.kill()
        await self.process.wait()

    def kill(self) -> None:
        """Kill it and whatever it started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


async def start_child(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    user: User | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
) -> Child:
    """Start a program with exactly this environment, its output appended to the log. Raises StackError if it cannot."""
    identity: dict[str, Any] = {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}
    try:
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=stdin,
                stdout=output,
                stderr=output,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=dies_with_parent(death_signal),
                **identity,
            )
    except OSError as error:
        raise cannot_start(command[0], error) from error
    return Child(process, identify(process.pid) or Identity(process.pid, time.time()))


async def run_to_end(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    user: User | None = None,
    given: str = "",
) -> None:
    """Run a program to its end, `given` on its standard input. Raises StackError with its last words when it fails.

    When the caller is cancelled the program is killed, so it must be one that does no harm half-way.
    """
    with tempfile.TemporaryFile() as stdin:
        stdin.write(given.encode())
        stdin.seek(0)
        child = await start_child(command, env=env, cwd=cwd, log=log, user=user, stdin=stdin)
        try:
            code = await child.wait()
        finally:
            child.kill()
    if code != 0:
        raise StackError(f"{Path(command[0]).name} {obituary(code, log)}", f"See {log}")


def obituary(code: int, log: Path) -> str:
    """How a program ended, and what it said last unless somebody else ended it."""
    if code >= 0:
        return f"exited with {code}: {last_words(log)}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        return f"was ended by {name}" if name in SENT_BY_OTHERS else f"crashed by {name}: {last_words(log)}"
    return f"was ended by signal {-code}"


def last_words(log: Path, *, most_characters: int = 240) -> str:
    """What a program said last; of a JSON or logfmt line only its message."""
    line = (last_lines(log) or ["nothing was said"])[0].strip()
    if message := LOGFMT_MESSAGE.search(line):
        line = message.group(1)
    with suppress(ValueError):
        record = json.loads(line)
        if isinstance(record, dict):
            line = next((str(record[key]) for key in ("message", "msg", "error") if record.get(key)), line)
    return line if len(line) <= most_characters else line[: most_characters - 1] + "…"


def cannot_start(program: str, error: OSError) -> StackError:
    """The reason why a program could not be started, as a person can act upon it."""
    if error.errno == errno.ENOSPC:
        return StackError(f"the disk is full ({error.filename or program})", "Free some space")
    if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE):
        return StackError(f"{program} cannot start: {error.strerror}", "Close some programs")
    return StackError(f"{program} cannot start: {error.strerror or error}", "Run `signalbox doctor`")


def end_all(identities: Iterable[Identity], grace_s: float = 5.0) -> list[int]:
    """End processes that are still the recorded ones: SIGTERM, then SIGKILL. Returns the pids that it had to end."""
    processes = [process for identity in identities if (process := identity.process()) is not None]
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=grace_s)
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=grace_s)
    return [process.pid for process in processes]


def marked(state: Path) -> list[Identity]:
    """Every process that carries the mark of this state folder, except ourselves and whoever started us."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(state) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(Identity(process.pid, process.create_time()))
    return found


def last_lines(path: Path, count: int = 1, *, most_bytes: int = 16_384) -> list[str]:
    """The last lines of a log that say something; empty when there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most_bytes))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


def rotate(log: Path, *, most_bytes: int = 50 * 1024 * 1024) -> bool:
    """Copy a log that has grown too large to `<log>.1` and empty it in place; writers go on appending."""
    try:
        if log.stat().st_size <= most_bytes:
            return False
        older = log.with_name(log.name + ".1")
        older.unlink(missing_ok=True)
        with log.open("rb") as source, older.open("wb") as copy:
            while chunk := source.read(1024 * 1024):
                copy.write(chunk)
        os.truncate(log, 0)
    except OSError:
        with suppress(OSError):
            os.truncate(log, 0)  # a full disk: this log is what fills it
    return True
