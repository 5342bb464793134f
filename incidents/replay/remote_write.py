"""Prometheus' remote-write protocol 1.0: samples and exemplars → the bytes of a request.

Owns the encoding: protobuf's WriteRequest inside a Snappy block. Refuses to know what is sent and where.

Source: prometheus.io/docs/specs/prw/remote_write_spec; the Snappy block is of literals only, which every decoder reads
and which needs no library.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
STALE = struct.pack("<Q", 0x7FF0000000000002)
"""The NaN by which Prometheus marks that a series has ended (model/value/value.go)."""
_LITERAL = 65_536


def encode_number(value: str) -> bytes:
    """A sample's value as Prometheus' JSON writes it."""
    return struct.pack("<d", float(value))


def encode_series(
    labels: Mapping[str, str],
    samples: Iterable[tuple[int, bytes]] = (),
    exemplars: Iterable[tuple[Mapping[str, str], int, bytes]] = (),
) -> bytes:
    """One TimeSeries as a field of a WriteRequest. Samples are (milliseconds, encoded value)."""
    body = bytearray(_encode_labels(labels))
    for at_ms, value in samples:
        stamp = _varint(at_ms)
        body += b"\x12" + _varint(10 + len(stamp)) + b"\x09" + value + b"\x10" + stamp
    for more, at_ms, value in exemplars:
        inner = _encode_labels(more) + b"\x11" + value + b"\x18" + _varint(at_ms)
        body += b"\x1a" + _varint(len(inner)) + inner
    return b"\x0a" + _varint(len(body)) + bytes(body)


def encode_block(series: Iterable[bytes]) -> bytes:
    """A WriteRequest of these fields as a Snappy block."""
    message = b"".join(series)
    parts = [_varint(len(message))]
    for at in range(0, len(message), _LITERAL):
        chunk = message[at : at + _LITERAL]
        parts += (b"\xf4", struct.pack("<H", len(chunk) - 1), chunk)  # 0xf4: a literal, its length in two bytes
    return b"".join(parts)


def _encode_labels(labels: Mapping[str, str]) -> bytes:
    fields = bytearray()
    for name, value in sorted(labels.items()):
        pair = _text(b"\x0a", name) + _text(b"\x12", value)
        fields += b"\x0a" + _varint(len(pair)) + pair
    return bytes(fields)


@lru_cache(65_536)
def _text(tag: bytes, text: str) -> bytes:
    encoded = text.encode()
    return tag + _varint(len(encoded)) + encoded


@lru_cache(65_536)
def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
