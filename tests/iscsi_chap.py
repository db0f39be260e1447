"""CHAP as an initiator needs it, by hashlib alone. Spec: RFC 1994, RFC 7143 12.1."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class Chap:
    """The initiator's side, one way or mutual."""

    name: str
    secret: bytes
    algorithm: str = "5"
    target_name: str = ""
    target_secret: bytes = b""
    challenge: bytes = bytes(range(16))
    identifier: int = 0x42

    def digest(self, identifier: int, secret: bytes, challenge: bytes) -> bytes:
        name = {"5": "md5", "6": "sha1", "7": "sha256", "8": "sha3_256"}[self.algorithm]
        return hashlib.new(name, bytes([identifier]) + secret + challenge).digest()

    def answer(self, keys: Mapping[str, str]) -> dict[str, str]:
        """Return the keys that answer CHAP_I and CHAP_C."""
        challenge = bytes.fromhex(keys["CHAP_C"].removeprefix("0x"))
        proof = self.digest(int(keys["CHAP_I"]), self.secret, challenge)
        answer = {"CHAP_N": self.name, "CHAP_R": "0x" + proof.hex()}
        if self.target_secret:
            answer |= {"CHAP_I": str(self.identifier), "CHAP_C": "0x" + self.challenge.hex()}
        return answer

    def check(self, keys: Mapping[str, str]) -> None:
        """Assert that the target proved itself."""
        proof = self.digest(self.identifier, self.target_secret, self.challenge)
        assert keys["CHAP_N"] == self.target_name
        assert bytes.fromhex(keys["CHAP_R"].removeprefix("0x")) == proof
