"""A TLS endpoint of our own, and a fault of its certificate: it is about to expire.

Owns the endpoint, which answers every connection alike, and its self-signed certificates. Nothing of the service is
reached through it: it stands for an edge whose certificate somebody forgot, for a prober to look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import Field

from stack.sabotage.fault import Parameters, Record

LIFETIME = timedelta(days=90)
_ANSWER = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


class CertificateParameters(Parameters):
    """How long the certificate is still valid; negative: it has expired."""

    hours_left: float = Field(default=1, ge=-24, le=24 * 90)


class ShortCertificate:
    """The endpoint's certificate is replaced by one that ends soon."""

    name: ClassVar[str] = "short-certificate"
    description: ClassVar[str] = "the certificate of the TLS endpoint ends in `hours_left`"
    parameters: ClassVar[type[Parameters]] = CertificateParameters

    def __init__(self, endpoint: TlsEndpoint) -> None:
        self._endpoint = endpoint

    async def plan(self, parameters: CertificateParameters) -> Record:
        return {}

    async def apply(self, parameters: CertificateParameters, record: Record) -> None:
        self._endpoint.certify(timedelta(hours=parameters.hours_left))

    async def undo(self, parameters: CertificateParameters, record: Record) -> None:
        self._endpoint.certify(LIFETIME)


class TlsEndpoint:
    """Listens on one address while `serving`; new connections see the newest certificate."""

    def __init__(self, host: str, port: int, folder: Path) -> None:
        self._host, self._port, self._folder = host, port, folder
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def certify(self, lifetime: timedelta) -> None:
        """Take a new self-signed certificate that ends after `lifetime`."""
        path = self._folder / "endpoint.pem"
        path.touch(mode=0o600)
        path.write_bytes(build_certificate(lifetime))
        self._context.load_cert_chain(path)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer for as long as the block lasts."""
        self.certify(LIFETIME)
        server = await asyncio.start_server(self._answer, self._host, self._port, ssl=self._context)
        async with server:
            yield

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            writer.write(_ANSWER)
            async with asyncio.timeout(5):
                await writer.drain()
        writer.close()


def build_certificate(lifetime: timedelta) -> bytes:
    """A self-signed certificate and its key as PEM, valid until `lifetime` from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    ends = datetime.now(UTC) + lifetime
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(datetime.now(UTC), ends) - timedelta(days=1))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private
