"""Release archives, the cache and the machine's own executables: a release server on loopback drives the real code."""

import dataclasses
import hashlib
import io
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stack.backends import Absent, Cancelled, archive, load_pins, probe, resolve

pytestmark = pytest.mark.processes

PINS = load_pins()
STATEMENTS = {
    "prometheus": "prometheus, version {} (branch: HEAD, revision: 1)",
    "alertmanager": "alertmanager, version {} (branch: HEAD, revision: 1)",
    "jaeger": '{{"gitVersion":"v{}"}}',
    "loki": "loki, version {} (branch: release, revision: 1)",
    "collector": "otelcol-contrib version {}",
    "grafana": "grafana version {}",
    "caddy": "v{} h1:abc=",
}


def script(statement: str) -> bytes:
    return f"#!/bin/sh\necho '{statement}'\n".encode()


def program(name: str, version: str | None = None) -> bytes:
    return script(STATEMENTS[name].format(version or PINS[name].version))


def tar_of(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def tar_with(*members: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return packed.getvalue()


def zip_of(members: dict[str, bytes], link: str | None = None) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFLNK | 0o777 if name == link else stat.S_IFREG | 0o755) << 16
            zipped.writestr(member, content)
    return packed.getvalue()


class ReleaseServer:
    """Serves `files` by path. A path in `held` answers its first half and waits; one in `cut` ends there."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.held: set[str] = set()
        self.asked: list[str] = []
        self.holding, self.release = threading.Event(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                body = outer.files.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                half = len(body) // 2
                self.wfile.write(body[:half])
                self.wfile.flush()
                if self.path in outer.cut:
                    return
                if self.path in outer.held:
                    outer.holding.set()
                    outer.release.wait(30)
                self.wfile.write(body[half:])

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def publish(self, name: str, packed: bytes | None = None, *, algorithm: str = "sha256") -> str:
        """Put up the pinned release of `name`, of shell scripts unless given; returns the archive's path."""
        release = PINS[name].release()
        assert release is not None, f"no release of {name} for this platform"
        if packed is None:
            members = {path: program(name) for path in release.members.values()}
            packed = zip_of(members) if release.file.endswith(".zip") else tar_of(members)
        path = release.archive_url.removeprefix(self.base)
        self.files[path] = packed
        digest = hashlib.new(algorithm, packed).hexdigest()
        bare = release.checksums_url.startswith(release.archive_url)
        listing = digest if bare else f"{'0' * 64}  other.tar.gz\n{digest} *{release.file}\n"
        self.files[release.checksums_url.removeprefix(self.base)] = listing.encode()
        return path

    def downloads(self, path: str) -> int:
        return self.asked.count(path)


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A release server that is the mirror of everything, an empty cache, and a PATH with nothing on it."""
    for variable in [name for name in os.environ if name.startswith("SIGNALBOX_")]:
        monkeypatch.delenv(variable)
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("SIGNALBOX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ReleaseServer()
    monkeypatch.setenv("SIGNALBOX_RELEASE_BASE", server.base)
    yield server
    server.close()


@pytest.fixture
def bin_folder(tmp_path):
    return tmp_path / "cache" / "bin"


def put_on_path(name: str, content: bytes) -> Path:
    path = Path(os.environ["PATH"]) / name
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def leftovers(bin_folder: Path) -> list[str]:
    return [path.name for path in bin_folder.glob("*/.partial-*")]


def run_by_hand(*arguments: str, **options: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "stack.backends", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


# --- archives ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_release_is_fetched_checked_recorded_and_then_taken_from_the_cache(server, bin_folder, name):
    pins = {name: dataclasses.replace(PINS[name], wheel=None)}
    path = server.publish(name, algorithm="sha512" if name == "caddy" else "sha256")

    first = resolve(name, pins=pins)
    assert (first.version, first.source, first.note) == (PINS[name].version, "archive", "")
    assert list(first.executables) == list(PINS[name].executables)
    assert subprocess.run([first.main], capture_output=True, check=True).stdout
    manifest = json.loads((bin_folder / name / PINS[name].version / "manifest.json").read_text())
    algorithm = "sha512" if name == "caddy" else "sha256"
    assert manifest["origin"][algorithm] == hashlib.new(algorithm, server.files[path]).hexdigest()
    assert leftovers(bin_folder) == []

    server.close()
    again = resolve(name, pins=pins)
    assert (again.source, again.executables) == ("cache:archive", first.executables)
    assert probe(name, pins=pins) == again


def test_progress_of_a_download_counts_the_bytes(server):
    path = server.publish("alertmanager")
    seen = []
    resolve("alertmanager", progress=seen.append)
    downloads = [progress for progress in seen if progress.stage == "download"]
    size = len(server.files[path])
    assert (downloads[-1].done, downloads[-1].total) == (size, size)
    assert all(progress.name == "alertmanager" and progress.elapsed_s >= 0 for progress in seen)


def test_an_archive_with_another_checksum_is_refused(server, bin_folder):
    server.files[server.publish("alertmanager")] += b"changed on the way"
    with pytest.raises(Absent, match="refused: its sha256 is not the one that the release publishes"):
        resolve("alertmanager")
    assert probe("alertmanager") is None
    assert leftovers(bin_folder) == []


def test_a_release_without_its_checksum_file_is_not_downloaded(server):
    path = server.publish("alertmanager")
    del server.files[PINS["alertmanager"].release().checksums_url.removeprefix(server.base)]
    with pytest.raises(Absent, match=r"sha256sums\.txt answers 404"):
        resolve("alertmanager")
    assert server.downloads(path) == 0


@pytest.mark.parametrize("listing", ["", "0" * 64 + "  other.tar.gz\n", "xyz  {file}\n", "{bare}\n"])
def test_a_checksum_file_that_does_not_name_the_archive_is_not_enough(server, listing):
    path = server.publish("alertmanager")
    release = PINS["alertmanager"].release()
    bare = hashlib.sha256(server.files[path]).hexdigest()
    text = listing.format(file=release.file, bare=bare)
    server.files[release.checksums_url.removeprefix(server.base)] = text.encode()
    with pytest.raises(Absent, match="has no checksum for it"):
        resolve("alertmanager")
    assert server.downloads(path) == 0


def test_a_download_that_breaks_off_is_not_used(server, bin_folder):
    server.cut.add(server.publish("alertmanager"))
    with pytest.raises(Absent, match="broke off after"):
        resolve("alertmanager")
    assert leftovers(bin_folder) == []


def test_an_archive_of_another_version_is_refused(server):
    release = PINS["alertmanager"].release()
    server.publish("alertmanager", tar_of({p: program("alertmanager", "0.29.0") for p in release.members.values()}))
    with pytest.raises(Absent, match=r"says that it is 0\.29\.0, wanted 0\.31\.1"):
        resolve("alertmanager")


def test_an_archive_without_a_pinned_executable_is_refused(server):
    release = PINS["alertmanager"].release()
    server.publish("alertmanager", tar_of({release.members["alertmanager"]: program("alertmanager")}))
    with pytest.raises(Absent, match=r"refused: it has no .*amtool"):
        resolve("alertmanager")


def test_what_is_no_archive_at_all_is_refused(server):
    server.publish("alertmanager", b"<html>please log in</html>")
    with pytest.raises(Absent, match="the archive is damaged"):
        resolve("alertmanager")


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def plain(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = 4
    return member


def device(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.CHRTYPE
    return member


HOSTILE = {
    "climbs out": tar_with(plain("../outside")),
    "climbs out from below": tar_with(plain("a/../../outside")),
    "absolute": tar_with(plain("/tmp/signalbox-outside")),
    "link to an absolute place": tar_with(link("a", "/etc/passwd")),
    "link that climbs out": tar_with(link("a/b", "../../outside")),
    "writes through a link": tar_with(link("a", "/tmp"), plain("a/signalbox-outside")),
    "link over a link": tar_with(link("a", "."), link("a/b", "..")),
    "links that only together lead out": tar_with(link("a", "b/.."), link("b", "."), plain("a/outside")),
    "hard link": tar_with(plain("a"), link("b", "a", tarfile.LNKTYPE)),
    "device": tar_with(device("null")),
    "one name twice": tar_with(plain("a"), plain("a")),
    "zip that climbs out": zip_of({"../outside": b"x"}),
    "zip with a link out": zip_of({"a": b"/etc/passwd"}, link="a"),
}


@pytest.mark.parametrize("packed", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_and_writes_nothing_outside(server, tmp_path, bin_folder, packed):
    before = {path for path in tmp_path.rglob("*outside*")}
    server.publish("alertmanager", packed)
    with pytest.raises(Absent, match="the archive is hostile"):
        resolve("alertmanager")
    assert {path for path in tmp_path.rglob("*outside*")} == before
    assert not Path("/tmp/signalbox-outside").exists()
    assert leftovers(bin_folder) == []


def test_a_link_inside_an_archive_is_kept(server):
    pins = {"grafana": PINS["grafana"]}
    main = PINS["grafana"].release().members["grafana"]
    body = program("grafana")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo(main)
        member.size, member.mode = len(body), 0o755
        tar.addfile(member, io.BytesIO(body))
        tar.addfile(link(f"{main}-server", "grafana"))
    server.publish("grafana", packed.getvalue())
    found = resolve("grafana", pins=pins)
    assert found.main.with_name("grafana-server").resolve() == found.main


# --- the network ------------------------------------------------------------------------------------------------------


def test_a_closed_port_is_passed_over_at_once_and_named(server, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("SIGNALBOX_RELEASE_BASE_GRAFANA", f"http://127.0.0.1:{unused.getsockname()[1]}")
    started = time.monotonic()
    with pytest.raises(Absent) as absent:
        resolve("grafana")
    assert time.monotonic() - started < 2
    assert absent.value.missing == "archive not reachable: 127.0.0.1: Connection refused"
    assert "SIGNALBOX_RELEASE_BASE_GRAFANA" in absent.value.remedy
    assert absent.value.cost == PINS["grafana"].cost
    assert "\n" not in str(absent.value)


def test_a_host_that_never_answers_costs_no_more_than_the_connect_limit(server, monkeypatch):
    monkeypatch.setattr(archive, "CONNECT_LIMIT_S", 0.4)
    with socket.socket() as deaf, socket.socket() as filler:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        filler.setblocking(False)
        filler.connect_ex(deaf.getsockname())  # the queue of one is full: a further connection gets no answer
        fillers = [socket.socket() for _ in range(4)]
        for further in fillers:
            further.setblocking(False)
            further.connect_ex(deaf.getsockname())
        monkeypatch.setenv("SIGNALBOX_RELEASE_BASE_GRAFANA", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(Absent, match=r"archive not reachable: 127\.0\.0\.1: "):
            resolve("grafana")
        assert time.monotonic() - started < 2
        for further in fillers:
            further.close()


@pytest.mark.parametrize("base", ["file:///etc", "ftp://127.0.0.1", "nonsense", "http://127.0.0.1:port"])
def test_an_address_that_is_not_http_is_passed_over(server, monkeypatch, base):
    monkeypatch.setenv("SIGNALBOX_RELEASE_BASE_GRAFANA", base)
    with pytest.raises(Absent, match="is not an http address"):
        resolve("grafana")


def test_nobody_is_asked_when_the_network_is_not_to_be_used(server):
    server.publish("grafana")
    with pytest.raises(Absent, match="the network is not to be used"):
        resolve("grafana", allow_network=False)
    assert server.asked == []


def test_without_network_and_without_go_all_of_it_is_said_in_one_line(server):
    with pytest.raises(Absent) as absent:
        resolve("alertmanager")
    text = str(absent.value)
    assert "\n" not in text
    assert "answers 404" in text
    assert "go is not on PATH" in text
    assert "no alert reaches the pager" in text
    assert "install Go 1." in absent.value.remedy
    assert "SIGNALBOX_ALERTMANAGER_BIN" in absent.value.remedy


# --- the machine ------------------------------------------------------------------------------------------------------


def test_an_accepted_version_on_path_is_taken_without_asking_anybody(server):
    put_on_path("alertmanager", program("alertmanager", "0.30.0"))
    put_on_path("amtool", program("alertmanager", "0.30.0"))
    found = resolve("alertmanager")
    assert (found.version, found.source, found.note) == ("0.30.0", "path", "")
    assert list(found.executables) == ["alertmanager", "amtool"]
    assert probe("alertmanager") == found
    assert server.asked == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (program("alertmanager", "0.20.0"), "is 0.20.0; 0.28 or later, before 1, is accepted"),
        (program("alertmanager", "0.30.0"), "comes without amtool"),
        (script("alertmanager, version  (branch: )"), "does not state its version"),
        (b"#!/nowhere/interpreter\n", "does not run (No such file or directory)"),
        (b"\x7fELF nonsense", "does not run (Exec format error)"),
    ],
)
def test_what_does_not_fit_on_path_is_passed_over_and_said(server, content, said):
    put_on_path("alertmanager", content)
    server.publish("alertmanager")
    found = resolve("alertmanager")
    assert found.source == "archive"
    assert said in found.note


def test_an_executable_named_by_hand_goes_before_path(server, monkeypatch, tmp_path):
    put_on_path("alertmanager", program("alertmanager", "0.30.0"))
    put_on_path("amtool", program("alertmanager", "0.30.0"))
    for name in ("alertmanager", "amtool"):
        (tmp_path / name).write_bytes(program("alertmanager", "0.29.0"))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("SIGNALBOX_ALERTMANAGER_BIN", str(tmp_path / "alertmanager"))
    found = resolve("alertmanager")
    assert (found.version, found.source) == ("0.29.0", "path")
    assert found.executables["amtool"] == tmp_path / "amtool"


def test_an_executable_named_by_hand_that_does_not_fit_is_an_error_and_not_replaced(server, monkeypatch, tmp_path):
    monkeypatch.setenv("SIGNALBOX_ALERTMANAGER_BIN", str(tmp_path / "gone"))
    server.publish("alertmanager")
    with pytest.raises(Absent, match=r"SIGNALBOX_ALERTMANAGER_BIN is set, but .*/gone does not run") as absent:
        resolve("alertmanager")
    assert absent.value.remedy.startswith("unset SIGNALBOX_ALERTMANAGER_BIN or correct it")
    assert probe("alertmanager") is None
    assert server.asked == []


@pytest.mark.parametrize("name", ["caddy", "valkey", "postgres"])
def test_the_server_inside_a_wheel_is_found_wherever_the_installer_put_it(server, name):
    found = resolve(name)
    assert found.source == "wheel"
    assert set(PINS[name].executables) <= set(found.executables)
    for path in found.executables.values():
        assert os.access(path, os.X_OK)
    assert server.asked == []


def test_a_wheel_that_is_not_installed_is_named_in_the_remedy(server):
    pins = {"valkey": dataclasses.replace(PINS["valkey"], wheel="not-installed-anywhere")}
    with pytest.raises(Absent, match="install the Python package not-installed-anywhere"):
        resolve("valkey", pins=pins)


# --- the cache --------------------------------------------------------------------------------------------------------


def damage_content(entry: Path) -> None:
    executable = next(entry.glob("*/alertmanager"))
    executable.write_bytes(executable.read_bytes()[::-1])


def damage_length(entry: Path) -> None:
    os.truncate(next(entry.glob("*/alertmanager")), 5)


def damage_mode(entry: Path) -> None:
    next(entry.glob("*/amtool")).chmod(0o644)


def remove_executable(entry: Path) -> None:
    next(entry.glob("*/amtool")).unlink()


def remove_manifest(entry: Path) -> None:
    (entry / "manifest.json").unlink()


def cut_manifest(entry: Path) -> None:
    os.truncate(entry / "manifest.json", 40)


def empty_manifest(entry: Path) -> None:
    (entry / "manifest.json").write_text("[]")


@pytest.mark.parametrize(
    "damage",
    [
        damage_content,
        damage_length,
        damage_mode,
        remove_executable,
        remove_manifest,
        cut_manifest,
        empty_manifest,
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_corrupted_entry_is_seen_thrown_away_and_made_anew(server, bin_folder, damage):
    path = server.publish("alertmanager")
    resolve("alertmanager")
    damage(bin_folder / "alertmanager" / "0.31.1")

    assert probe("alertmanager") is None
    anew = resolve("alertmanager")
    assert anew.source == "archive"
    assert "the cache entry of 0.31.1 is corrupted" in anew.note
    assert server.downloads(path) == 2
    assert resolve("alertmanager").note == ""


def test_a_change_that_keeps_size_and_time_is_seen_by_a_thorough_look(server, bin_folder):
    server.publish("alertmanager")
    executable = resolve("alertmanager").main
    before = executable.stat()
    executable.write_bytes(executable.read_bytes()[::-1])
    os.utime(executable, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert probe("alertmanager").source == "cache:archive"
    assert probe("alertmanager", thorough=True) is None
    assert resolve("alertmanager", thorough=True).source == "archive"


def test_an_entry_that_was_merely_touched_is_still_good(server):
    server.publish("alertmanager")
    executable = resolve("alertmanager").main
    before = executable.stat().st_mtime_ns
    os.utime(executable)
    assert resolve("alertmanager").source == "cache:archive"
    assert executable.stat().st_mtime_ns == before


def test_what_a_killed_process_left_behind_is_swept_up(server, bin_folder):
    path = server.publish("alertmanager")
    server.held.add(path)
    victim = run_by_hand("alertmanager")
    assert server.holding.wait(20)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert leftovers(bin_folder) != []
    assert probe("alertmanager") is None

    server.release.set()
    assert resolve("alertmanager").source == "archive"
    assert leftovers(bin_folder) == []


def test_two_processes_at_once_fetch_once_and_the_second_says_that_it_waits(server):
    path = server.publish("alertmanager")
    server.held.add(path)
    first = run_by_hand("--json", "alertmanager")
    assert server.holding.wait(20)
    second = run_by_hand("--json", "alertmanager")
    said = second.stderr.readline()
    server.release.set()
    answers = [json.loads(process.communicate(timeout=30)[0])["backends"][0] for process in (first, second)]
    assert "another process is getting alertmanager; waiting for it" in said
    assert [answer["source"] for answer in answers] == ["archive", "cache:archive"]
    assert answers[0]["executables"] == answers[1]["executables"]
    assert server.downloads(path) == 1


def test_cancellation_is_prompt_even_when_the_server_has_stalled(server, bin_folder):
    server.held.add(server.publish("alertmanager"))
    cancel = threading.Event()
    cancelled_at = []

    def cancel_when_stalled() -> None:
        server.holding.wait(20)
        cancelled_at.append(time.monotonic())
        cancel.set()

    threading.Thread(target=cancel_when_stalled, daemon=True).start()
    with pytest.raises(Cancelled):
        resolve("alertmanager", cancel=cancel)
    assert time.monotonic() - cancelled_at[0] < 1
    assert leftovers(bin_folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_by_hand_in_one_line_with_nothing_left_behind(server, bin_folder, number):
    server.held.add(server.publish("alertmanager"))
    process = run_by_hand("--json", "alertmanager")
    assert server.holding.wait(20)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=10)
    assert (process.returncode, stdout) == (1, "")
    assert stderr.splitlines()[-1].startswith("signalbox: cancelled while getting alertmanager")
    assert leftovers(bin_folder) == []


def test_a_full_disk_is_one_line_that_names_the_remedy(server, bin_folder):
    release = PINS["alertmanager"].release()
    server.publish("alertmanager", tar_of({p: os.urandom(1 << 18) for p in release.members.values()}))

    def allow_small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

    process = run_by_hand("alertmanager", preexec_fn=allow_small_files_only)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert len(stdout.splitlines()) == 1
    assert f"no space left for it in {bin_folder / 'alertmanager'}" in stdout
    assert "free some space there" in stdout
    assert leftovers(bin_folder) == []


def test_a_cache_that_cannot_be_written_is_one_line_that_names_the_remedy(server, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SIGNALBOX_CACHE", str(tmp_path / "file"))
    server.publish("alertmanager")
    with pytest.raises(Absent, match="cannot be used") as absent:
        resolve("alertmanager")
    assert "set SIGNALBOX_CACHE" in absent.value.remedy


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_a_run_by_hand_answers_for_each_name_and_fails_when_one_is_absent(server):
    server.publish("loki")
    process = run_by_hand("--json", "loki", "grafana")
    stdout, _ = process.communicate(timeout=30)
    loki, grafana = json.loads(stdout)["backends"]
    assert process.returncode == 1
    assert (loki["name"], loki["version"], loki["source"]) == ("loki", PINS["loki"].version, "archive")
    assert grafana["name"] == "grafana"
    assert set(grafana) == {"name", "missing", "cost", "remedy"}


def test_an_unknown_name_is_wrong_use(server):
    process = run_by_hand("tempo")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "no such backend: tempo" in stderr
