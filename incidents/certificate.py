"""When the certificate of a TLS endpoint ends, as a client of it sees.

Owns one look. Trusts nothing: an expired or unknown certificate is looked at all the same.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

TIMEOUT_S = 5.0


async def observe_expiry(endpoint: str) -> float | None:
    """Seconds since the epoch at which the certificate of `host:port` ends; None when there was no handshake."""
    from cryptography import x509  # 5 MiB that a prober without an endpoint does without

    host, _, port = endpoint.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    except (OSError, ValueError, TimeoutError):
        return None
    try:
        connection = cast(ssl.SSLObject, writer.get_extra_info("ssl_object"))
        der = connection.getpeercert(binary_form=True)
    finally:
        writer.close()
    return x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp() if der else None
