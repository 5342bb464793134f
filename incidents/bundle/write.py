"""Writing a bundle, part after part, without ever holding one whole.

Owns the file: it appears under its name only when it is complete, and only its owner may read it. Refuses to know where
records come from.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pydantic import BaseModel

from incidents.bundle.form import FORMAT, MANIFEST, MAX_RECORD_BYTES, VERSION, Manifest, Part, identify


class Full(Exception):
    """A part has reached a limit, which the text names: the record was not added."""


class PartWriter:
    """One part under construction. `counts` are told in the manifest; `most` limits some of them."""

    def __init__(self, file: IO[bytes], max_bytes: int, most: Mapping[str, int]) -> None:
        self.counts: Counter[str] = Counter()
        self.bytes = self.records = 0
        self._file = file
        self._max_bytes = max_bytes
        self._most = most
        self._hash = hashlib.sha256()

    def add(self, record: BaseModel, **counted: int) -> None:
        """Append a record that holds so much. Raises Full when it would not fit."""
        for name, count in counted.items():
            if name in self._most and self.counts[name] + count > self._most[name]:
                raise Full(f"{self._most[name]} {name}")
        line = record.model_dump_json(exclude_defaults=True).encode() + b"\n"
        if self.bytes + len(line) > self._max_bytes:
            raise Full(f"{self._max_bytes // 1024**2} MiB")
        if len(line) > MAX_RECORD_BYTES:
            raise Full(f"a record of {len(line) // 1024**2} MiB")
        self.counts.update(counted)
        self._file.write(line)
        self._hash.update(line)
        self.bytes += len(line)
        self.records += 1

    def finish(self) -> Part:
        """What the manifest says of this part."""
        counts = {name: count for name, count in self.counts.items() if count}
        return Part(bytes=self.bytes, sha256=self._hash.hexdigest(), records=self.records, counts=counts)


class BundleWriter:
    """A bundle under construction. Use as a context; without `finish` nothing is left behind."""

    def __init__(self, path: Path, max_part_bytes: int) -> None:
        self.path = path
        self.parts: dict[str, Part] = {}
        self._max_part_bytes = max_part_bytes
        self._unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> BundleWriter:
        descriptor = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError, ValueError):
            self._zip.close()
        self._file.close()
        self._unfinished.unlink(missing_ok=True)

    @contextmanager
    def part(self, name: str, **most: int) -> Iterator[PartWriter]:
        """Write one part; one at a time. `most` limits what is counted in it."""
        with self._zip.open(name, "w", force_zip64=True) as file:
            part = PartWriter(file, self._max_part_bytes, most)
            yield part
        self.parts[name] = part.finish()

    def finish(self, start_ms: int, end_ms: int, **told: Any) -> Manifest:
        """Write the manifest and give the file its name. `told`: the manifest's fields that the caller knows."""
        manifest = Manifest(
            format=FORMAT,
            version=VERSION,
            id=identify(self.parts, start_ms, end_ms),
            start_ms=start_ms,
            end_ms=end_ms,
            parts=self.parts,
            **told,
        )
        self._zip.writestr(MANIFEST, manifest.model_dump_json(indent=1))
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._unfinished, self.path)
        return manifest
