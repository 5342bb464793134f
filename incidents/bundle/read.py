"""Reading a bundle that may be broken or hostile.

Owns every refusal: nothing of a bundle is used before all of it was found whole, bounded and sensible. Nothing is
unpacked to disk, so names in it lead nowhere; they are refused all the same. Refuses to know backends.
"""

from __future__ import annotations

import hashlib
import json
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from incidents.bundle import form
from incidents.bundle.form import Exemplars, Line, Manifest, Part, Series, Trace

_FUTURE_S = 86_400
_SYMLINK_SYSTEM = 3  # Unix: the upper half of the attributes is a file mode
_ENCRYPTED = 0x1

R = TypeVar("R", bound=BaseModel)


class BundleError(Exception):
    """A bundle that is not used; the text says why, in one line."""


class Bundle:
    """An open bundle. Use as a context; `check` it before its records are used."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Bundle:
        try:
            status = self.path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{self.path} is no file")
            if status.st_size > form.MAX_FILE_BYTES:
                raise BundleError(f"{self.path} is larger than {form.MAX_FILE_BYTES // 1024**2} MiB")
            self._zip = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            raise BundleError(f"{self.path} is truncated, or no bundle") from None
        except OSError as error:
            raise BundleError(f"{self.path} cannot be read: {error.strerror}") from None
        try:
            self._members = self._parse_members()
            self.manifest = self._parse_manifest()
        except BaseException:
            self._zip.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._zip.close()

    def check(self, on_bytes: Callable[[int], None] = lambda count: None) -> None:
        """Read every byte and every record once. Raises BundleError. `on_bytes` is told of progress."""
        for name in self.manifest.parts:
            for line in self._lines(name, on_bytes):
                self._parse(name, line)

    def series(self) -> Iterator[Series]:
        """The samples, in the order of the file."""
        return self._records(form.METRICS, Series)

    def exemplars(self) -> Iterator[Exemplars]:
        """The exemplars."""
        return self._records(form.EXEMPLARS, Exemplars)

    def lines(self) -> Iterator[Line]:
        """The log lines, the oldest first."""
        return self._records(form.LOGS, Line)

    def traces(self) -> Iterator[Trace]:
        """The traces."""
        return self._records(form.TRACES, Trace)

    def _records(self, name: str, kind: type[R]) -> Iterator[R]:
        if name in self.manifest.parts:
            for line in self._lines(name):
                record = self._parse(name, line)
                assert isinstance(record, kind)
                yield record

    def _parse_members(self) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for member in self._zip.infolist():
            shown = repr(member.filename[:80])
            if member.filename.startswith(("/", "\\")) or ".." in member.filename or ":" in member.filename:
                raise BundleError(f"{self.path} is refused: the name {shown} in it leads out of it")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise BundleError(f"{self.path} is refused: {shown} in it is a symbolic link")
            if member.filename in members or member.filename not in (*form.PARTS, form.MANIFEST):
                raise BundleError(f"{self.path} is refused: {shown} does not belong into a bundle, or is there twice")
            if member.flag_bits & _ENCRYPTED or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BundleError(f"{self.path} is refused: {shown} is packed in a way that bundles are not")
            limit = form.MAX_MANIFEST_BYTES if member.filename == form.MANIFEST else form.MAX_PART_BYTES
            if member.file_size > limit:
                raise BundleError(f"{self.path} is refused: {shown} unpacks to more than {limit // 1024**2} MiB")
            members[member.filename] = member
        return members

    def _parse_manifest(self) -> Manifest:
        if form.MANIFEST not in self._members:
            raise BundleError(f"{self.path} is no bundle: it has no manifest")
        try:
            with self._zip.open(self._members[form.MANIFEST]) as file:
                text = file.read(form.MAX_MANIFEST_BYTES)
            document = json.loads(text)
            version = document["version"] if document["format"] == form.FORMAT else None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError):
            raise BundleError(f"{self.path} is damaged: its manifest cannot be unpacked") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BundleError(f"{self.path} is no bundle: its manifest is not one") from None
        if version != form.VERSION:
            raise BundleError(
                f"{self.path} is of format version {str(version)[:20]}, and this program reads {form.VERSION}. "
                "Use the program that made it"
            )
        try:
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            raise BundleError(f"{self.path} is refused: its manifest: {_first(error)}") from None
        if manifest.end_ms > (time.time() + _FUTURE_S) * 1000:
            raise BundleError(f"{self.path} is refused: it says that it is from the future")
        if set(manifest.parts) != set(self._members) - {form.MANIFEST}:
            raise BundleError(f"{self.path} is refused: its manifest and its parts do not agree")
        if manifest.id != form.identify(manifest.parts, manifest.start_ms, manifest.end_ms):
            raise BundleError(f"{self.path} is refused: its id does not follow from its parts")
        return manifest

    def _lines(self, name: str, on_bytes: Callable[[int], None] = lambda count: None) -> Iterator[bytes]:
        """The lines of a part; at its end, what the manifest says of it must have been true."""
        promised: Part = self.manifest.parts[name]
        found = hashlib.sha256()
        size = records = 0
        try:
            with self._zip.open(self._members[name]) as file:
                while line := file.readline(form.MAX_RECORD_BYTES + 1):
                    size += len(line)
                    records += 1
                    if len(line) > form.MAX_RECORD_BYTES:
                        raise BundleError(f"{self.path} is refused: line {records} of {name} is too long")
                    if size > promised.bytes:
                        raise BundleError(f"{self.path} is refused: {name} unpacks to more than its manifest says")
                    found.update(line)
                    on_bytes(len(line))
                    yield line
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError):
            raise BundleError(f"{self.path} is damaged: {name} cannot be unpacked") from None
        if (size, records, found.hexdigest()) != (promised.bytes, promised.records, promised.sha256):
            raise BundleError(f"{self.path} is damaged: {name} is not what its hash says")

    def _parse(self, name: str, line: bytes) -> Series | Exemplars | Line | Trace:
        try:
            record = _KINDS[name].model_validate_json(line)
        except ValidationError as error:
            raise BundleError(f"{self.path} is refused: {name}: {_first(error)}") from None
        low, high = self.manifest.start_ms / 1000, self.manifest.end_ms / 1000
        if isinstance(record, Trace):
            low, high = low - form.MARGIN_S, high + form.MARGIN_S
        first, last = _span_of_time(record)
        if not (low <= first and last <= high):
            raise BundleError(f"{self.path} is refused: {name} has times outside the slice that it is of")
        return record


_KINDS: dict[str, type[Series] | type[Exemplars] | type[Line] | type[Trace]] = {
    form.METRICS: Series,
    form.EXEMPLARS: Exemplars,
    form.LOGS: Line,
    form.TRACES: Trace,
}


def _span_of_time(record: Series | Exemplars | Line | Trace) -> tuple[float, float]:
    """The earliest and the latest time in a record, seconds since the epoch."""
    match record:
        case Series():
            times = [at / 1e3 for at in (*record.times_ms, *([record.ended_ms] if record.ended_ms is not None else ()))]
        case Exemplars():
            times = [one.at_ms / 1e3 for one in record.exemplars]
        case Line():
            times = [record.at_ns // 1_000_000 / 1e3]
        case Trace():
            times = [
                int(at) / 1e9
                for span in record.spans()
                for at in (
                    span.startTimeUnixNano,
                    span.endTimeUnixNano,
                    *(event.timeUnixNano for event in span.events),
                )
            ]
    return (min(times), max(times)) if times else (float("inf"), float("-inf"))


def _first(error: ValidationError) -> str:
    """The first complaint, on one line."""
    told = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(step) for step in told["loc"])
    return " ".join(f"{where}: {told['msg']}".removeprefix(": ").split())[:200]
