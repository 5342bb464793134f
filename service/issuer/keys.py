"""The development issuer's signing keys, in memory: made at start, rotated when asked.

A key that no longer signs is still published until the tokens that it signed have expired.
"""

from __future__ import annotations

import secrets
from time import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from jwt.algorithms import ECAlgorithm

ALGORITHM = "ES256"


class SigningKeys:
    """The first key signs; the others are published."""

    def __init__(self, kept: int = 3) -> None:
        self._kept = kept
        self._keys: list[tuple[str, EllipticCurvePrivateKey]] = []
        self.rotate()

    def rotate(self) -> str:
        """Sign with a new key from now on; its id."""
        key_id = secrets.token_hex(8)
        self._keys = [(key_id, generate_private_key(SECP256R1())), *self._keys][: self._kept]
        return key_id

    def sign(self, claims: dict[str, Any], ttl_s: int) -> str:
        """A token with ``claims`` that is valid for ``ttl_s`` seconds from now."""
        now = int(time())
        key_id, key = self._keys[0]
        return jwt.encode({**claims, "iat": now, "exp": now + ttl_s}, key, ALGORITHM, headers={"kid": key_id})

    def published(self) -> dict[str, Any]:
        """The public halves as a JSON Web Key Set."""
        return {
            "keys": [
                {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig", "alg": ALGORITHM}
                for key_id, key in self._keys
            ]
        }
