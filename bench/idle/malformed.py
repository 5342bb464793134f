"""Requests that are none, by what is wrong with them; and one that is just about one."""

from __future__ import annotations

MALFORMED = {
    "no HTTP": b"hello\r\n\r\n",
    "binary": bytes(range(256)) + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "no host": b"GET /v2/products HTTP/1.1\r\n\r\n",
    "two lengths": b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative length": b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "length and chunks": b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a broken chunk": b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a header with NUL": b"GET /v2/products HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n",
    "another version": b"GET /v2/products HTTP/9.9\r\nHost: x\r\n\r\n",
    "a long line": b"GET /v2/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": b"GET /v2/products HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n",
    "a trailer without an end": b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\nX-A: " + b"a" * 300_000,
    "requests in one breath": b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 500,
    "a large body": b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b" " * 1_000_000,
}

LARGEST_HEAD = b"GET /v2/products/1 HTTP/1.1\r\nHost: x\r\n" + b"A:\r\n" * 5_000 + b"\r\n"
"""Lawful, and as many fields as the gateway takes."""
