"""The official release archive: fetched, checked against the checksum file of the same release, unpacked.

Owns the conversation with a release server and the refusal of anything that is not what the release promised. Holds no
hash of its own: what counts is the checksum file that the release publishes; the hash seen goes into the origin record.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import re
import shutil
import socket
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from stack.backends import machine
from stack.backends.job import Job, Product, Unavailable
from stack.backends.pins import Pin, Release, parse_version

# Name resolution and connection together. A machine without a network must not notice that this step exists.
CONNECT_LIMIT_S = 3.0
# A connected server that sends nothing for this long has stalled.
STALL_LIMIT_S = 20.0
_CHUNK = 1 << 20
_CHECKSUMS_LIMIT = 1 << 20
_ALGORITHMS = {64: "sha256", 128: "sha512"}


def fetch(pin: Pin, workshop: Path, made: Path, job: Job) -> Product:
    """Put the pinned release's files into `made`; `workshop` holds the archive meanwhile. Raises Unavailable."""
    release = pin.release()
    if release is None:
        raise Unavailable("no release archive for this platform")
    _connect(release.checksums_url, job)
    algorithm, expected = _expected_digest(release, job)
    archive = workshop / "archive"
    digest = _download(release, archive, algorithm, job)
    if digest != expected:
        raise Unavailable(
            f"{release.archive_url} refused: its {algorithm} is not the one that the release publishes",
            "try again later; if it stays so, report it to the publisher",
        )
    job.report("unpack", f"unpacking {release.file}")
    unpack(archive, made, job)
    archive.unlink()
    for member in release.members.values():
        if not (made / member).is_file():
            raise Unavailable(f"{release.file} refused: it has no {member}")
        (made / member).chmod(0o755)
    version = machine.version_of(pin, made / release.members[pin.main])
    if parse_version(version) != parse_version(pin.version):
        raise Unavailable(f"{release.file} refused: it says that it is {version}, wanted {pin.version}")
    return Product(
        version=pin.version,
        executables={name: Path(member) for name, member in release.members.items()},
        origin={"url": release.archive_url, algorithm: digest},
    )


def unpack(archive: Path, into: Path, job: Job) -> None:
    """Unpack a tar or zip file. Raises Unavailable for one that holds anything but plain files, folders and symbolic
    links that stay inside; nothing is ever written outside `into`."""
    into.mkdir(exist_ok=True)
    inside = into.resolve()
    try:
        with _members(archive) as members:
            for name, mode, link, content in members:
                job.check()
                _unpack_member(inside, name, mode, link, content)
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as why:
        raise Unavailable(f"the archive is damaged ({why})") from None


def _unpack_member(inside: Path, name: str, mode: int, link: str | None, content: IO[bytes] | None) -> None:
    parts = PurePosixPath(name)
    place = inside / parts
    if parts.is_absolute() or ".." in parts.parts or not place.parent.resolve().is_relative_to(inside):
        raise Unavailable(f"the archive is hostile: {name!r} leads out of its folder")
    if link is not None:
        if not (place.parent / link).resolve().is_relative_to(inside):
            raise Unavailable(f"the archive is hostile: {name!r} links out of its folder")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(link)
    elif content is None:
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with place.open("xb") as file:  # x: never through a link, never over another member
                shutil.copyfileobj(content, file, _CHUNK)
        except FileExistsError:
            raise Unavailable(f"the archive is hostile: {name!r} is in it twice") from None
        place.chmod(0o755 if mode & stat.S_IXUSR else 0o644)


Members = Iterator[tuple[str, int, str | None, IO[bytes] | None]]


@contextlib.contextmanager
def _members(archive: Path) -> Iterator[Members]:
    """Name, mode, link target and content of each member; a folder has neither of the last two."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield _zip_members(zipped)
    else:
        with tarfile.open(archive) as tar:
            yield _tar_members(tar)


def _tar_members(tar: tarfile.TarFile) -> Members:
    for member in tar:
        if member.isdir():
            yield member.name, member.mode, None, None
        elif member.issym():
            yield member.name, member.mode, member.linkname, None
        elif member.isreg():
            yield member.name, member.mode, None, tar.extractfile(member)
        else:
            raise Unavailable(f"the archive is hostile: {member.name!r} is neither file, folder nor symbolic link")


def _zip_members(zipped: zipfile.ZipFile) -> Members:
    for member in zipped.infolist():
        mode = member.external_attr >> 16
        if stat.S_ISLNK(mode):
            yield member.filename, mode, zipped.read(member).decode(errors="replace"), None
        elif member.is_dir():
            yield member.filename, mode, None, None
        else:
            with zipped.open(member) as content:
                yield member.filename, mode, None, content


def _expected_digest(release: Release, job: Job) -> tuple[str, str]:
    """The algorithm and digest that the release publishes for the archive. The digest's length tells the algorithm."""
    text = b"".join(_read(release.checksums_url, job, limit=_CHECKSUMS_LIMIT)).decode(errors="replace")
    for line in text.splitlines():
        digest, _, name = line.partition(" ")
        name = name.strip().removeprefix("*").removeprefix("./")
        # A file that holds one bare digest is about the archive whose name it carries.
        if name == release.file or (not name and release.checksums_url.startswith(release.archive_url)):
            digest = digest.lower()
            if (algorithm := _ALGORITHMS.get(len(digest))) and re.fullmatch("[0-9a-f]+", digest):
                return algorithm, digest
    raise Unavailable(f"{release.archive_url} refused: {release.checksums_url} has no checksum for it")


def _download(release: Release, target: Path, algorithm: str, job: Job) -> str:
    digest = hashlib.new(algorithm)
    with target.open("wb") as file:
        for chunk in _read(release.archive_url, job, label=release.file):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _read(url: str, job: Job, *, limit: int | None = None, label: str | None = None) -> Iterator[bytes]:
    """The body of one GET, whole or not at all; progress is reported under `label`."""
    request = urllib.request.Request(url, headers={"User-Agent": "signalbox"})
    done = 0
    try:
        # Not in a `with`: after a cancellation a read is still under way, and closing would wait for it.
        response = job.wait_for(lambda: urllib.request.urlopen(request, timeout=STALL_LIMIT_S))
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        while chunk := job.wait_for(lambda: response.read(_CHUNK)):
            done += len(chunk)
            if limit is not None and done > limit:
                response.close()
                raise Unavailable(f"{url} is too long for what it should be")
            if label is not None:
                job.report("download", f"downloading {label}", done, total)
            yield chunk
        response.close()
    except urllib.error.HTTPError as why:
        raise Unavailable(f"{url} answers {why.code} {why.reason}") from None
    except urllib.error.URLError as why:
        raise Unavailable(f"archive not reachable: {url}: {why.reason}") from None
    except (OSError, http.client.HTTPException) as why:
        raise Unavailable(f"{url} broke off after {done} bytes ({why or type(why).__name__})") from None
    if total is not None and done != total:
        raise Unavailable(f"{url} broke off after {done} of {total} bytes")


def _connect(url: str, job: Job) -> None:
    """Raises Unavailable unless the server, or the proxy before it, takes a connection within CONNECT_LIMIT_S."""
    try:
        target = urlsplit(url)
        proxy = urllib.request.getproxies().get(target.scheme)
        if proxy and not urllib.request.proxy_bypass(target.hostname or ""):
            target = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = target.hostname, target.port or (443 if target.scheme == "https" else 80)
    except ValueError:
        host = port = None
    if host is None or not url.startswith(("http://", "https://")):
        raise Unavailable(f"archive not reachable: {url} is not an http address")
    job.report("connect", f"asking {host} for the release archive")
    address = (host, port)
    try:
        # The outer limit is for name resolution, which cannot be given one.
        job.wait_for(lambda: socket.create_connection(address, CONNECT_LIMIT_S), CONNECT_LIMIT_S).close()
    except OSError as why:
        raise Unavailable(f"archive not reachable: {host}: {why.strerror or why}") from None
