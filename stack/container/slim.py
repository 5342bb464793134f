"""Cuts from compiled extension modules what only a debugger reads: `python -m stack.container.slim FOLDER`.

Many wheels are published with their debugging sections, a quarter of our image. What a process maps is in the
segments that the program headers name; everything behind the last of them goes, and the table of sections with it, as
the image has no tool that would read one. Files of other kinds stay as they are.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian: all platforms of the image
_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")  # from e_type on
_SECTIONS = struct.Struct("<HHH")  # e_shentsize, e_shnum, e_shstrndx
_SECTIONS_AT, _SECTION_TABLE_AT = 0x3A, 0x28
_SEGMENT = struct.Struct("<IIQQQQQQ")


def slim(data: bytes) -> bytes:
    """An ELF shared object without what lies behind its segments; anything else as it is."""
    if not data.startswith(_MAGIC) or len(data) < _HEADER.size:
        return data
    _, _, _, _, table, _, _, header_size, entry_size, count, *_ = _HEADER.unpack_from(data)
    if entry_size != _SEGMENT.size or not count or table + count * entry_size > len(data):
        return data
    end = max(header_size, table + count * entry_size)
    for number in range(count):
        _, _, offset, _, _, in_file, _, _ = _SEGMENT.unpack_from(data, table + number * entry_size)
        end = max(end, offset + in_file)
    if end >= len(data):
        return data
    kept = bytearray(data[:end])
    struct.pack_into("<Q", kept, _SECTION_TABLE_AT, 0)
    _SECTIONS.pack_into(kept, _SECTIONS_AT, 0, 0, 0)
    return bytes(kept)


def slim_folder(folder: Path) -> int:
    """Slim every `.so` file below a folder; how many bytes less it holds."""
    saved = 0
    for path in sorted(folder.rglob("*.so")):
        if path.is_symlink():
            continue
        data = path.read_bytes()
        less = slim(data)
        if less is not data:
            path.write_bytes(less)
            saved += len(data) - len(less)
    return saved


if __name__ == "__main__":
    print(f"{slim_folder(Path(sys.argv[1])) / 1e6:.1f} MB of debugging sections cut")  # noqa: T201
