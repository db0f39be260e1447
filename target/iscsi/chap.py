"""CHAP, one way and mutual, from the target's side. Spec: RFC 7143 12.1.3, RFC 1994."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from enum import Enum, auto
from functools import partial

from scsi2nvme.records import dataclass
from scsi2nvme.target.iscsi.negotiation import NegotiationError, Pairs
from scsi2nvme.target.iscsi.pdu import LoginStatus

MAXIMUM_BINARY_BYTES = 1024

# CHAP_A: the hash. Spec: RFC 7143 12.1.3 and IANA's "CHAP algorithm" registry.
ALGORITHMS: Mapping[str, Callable[[bytes], hashlib._Hash]] = {
    "5": partial(hashlib.md5, usedforsecurity=False),
    "6": partial(hashlib.sha1, usedforsecurity=False),
    "7": hashlib.sha256,
    "8": hashlib.sha3_256,
}
_CHALLENGE_BYTES = 32  # the longest hash's length

_HEX = r"0[xX]([0-9A-Fa-f]+)"
_BASE64 = r"0[bB]([A-Za-z0-9+/]+={0,2})"
_IDENTIFIER = r"0[xX]0*[0-9A-Fa-f]{1,2}|0|[1-9][0-9]{0,2}"


class AuthenticationError(NegotiationError):
    """The peer did not prove who it is, or asked for what cannot be given."""

    def __init__(
        self, reason: str, status: LoginStatus = LoginStatus.AUTHENTICATION_FAILURE
    ) -> None:
        super().__init__(reason, status)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A CHAP name with its secret."""

    name: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChapAuthentication:
    """What an initiator must prove and, for mutual CHAP, what we prove to it.

    Raises ValueError if both directions share a secret: reflection would then
    break them. Spec: RFC 7143 9.2.1.
    """

    initiator: Credentials
    target: Credentials | None = None

    def __post_init__(self) -> None:
        if self.target is not None and self.target.secret == self.initiator.secret:
            raise ValueError("mutual CHAP needs a different secret for each direction")


def decode_binary(text: str) -> bytes:
    """Decode a large binary value, hexadecimal or base64; AuthenticationError if it is none."""
    value = b""
    if match := re.fullmatch(_HEX, text):
        # n digits are (n + 1) / 2 bytes, the most significant first. Spec: RFC 7143 6.1.
        value = bytes.fromhex(match[1].rjust(len(match[1]) + len(match[1]) % 2, "0"))
    elif match := re.fullmatch(_BASE64, text):
        try:
            value = base64.b64decode(match[1], validate=True)
        except binascii.Error:
            value = b""
    if not 1 <= len(value) <= MAXIMUM_BINARY_BYTES:
        raise AuthenticationError("not a binary value of 1 to 1024 bytes")
    return value


def encode_binary(value: bytes) -> str:
    """Write a binary value in hexadecimal, the one form that every initiator reads."""
    return "0x" + value.hex()


def _identifier(text: str) -> int:
    if not re.fullmatch(_IDENTIFIER, text) or int(text, 0) > 255:
        raise AuthenticationError("CHAP_I is not a number from 0 to 255")
    return int(text, 0)


class _State(Enum):
    ALGORITHM = auto()  # we expect CHAP_A
    RESPONSE = auto()  # we expect CHAP_N and CHAP_R
    DONE = auto()


class Chap:
    """One CHAP exchange; `step` takes the initiator's keys and returns ours.

    `token_bytes` is the source of challenges, cryptographically strong.
    """

    def __init__(
        self,
        authentication: ChapAuthentication,
        token_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._authentication = authentication
        self._token_bytes = token_bytes
        self._state = _State.ALGORITHM
        self._hash = ALGORITHMS["5"]
        self._our_identifier = b""
        self._challenge = b""

    @property
    def done(self) -> bool:
        """Whether the initiator has proved itself."""
        return self._state is _State.DONE

    @property
    def awaits_response(self) -> bool:
        """Whether the initiator's next keys are to be its proof."""
        return self._state is _State.RESPONSE

    def step(self, keys: Mapping[str, str]) -> Pairs:
        """Take the next keys of the exchange; AuthenticationError ends it."""
        match self._state:
            case _State.ALGORITHM:
                return self._offer(keys)
            case _State.RESPONSE:
                return self._verify(keys)
            case _State.DONE:
                return []

    def _offer(self, keys: Mapping[str, str]) -> Pairs:
        offered = self._required(keys, "CHAP_A").split(",")
        algorithm = next((name for name in offered if name in ALGORITHMS), None)
        if algorithm is None:
            raise AuthenticationError("no common CHAP algorithm")
        self._hash = ALGORITHMS[algorithm]
        self._our_identifier = self._token_bytes(1)
        self._challenge = self._token_bytes(_CHALLENGE_BYTES)
        self._state = _State.RESPONSE
        return [
            ("CHAP_A", algorithm),
            ("CHAP_I", str(self._our_identifier[0])),
            ("CHAP_C", encode_binary(self._challenge)),
        ]

    def _verify(self, keys: Mapping[str, str]) -> Pairs:
        initiator = self._authentication.initiator
        name = self._required(keys, "CHAP_N")
        response = decode_binary(self._required(keys, "CHAP_R"))
        expected = self._digest(self._our_identifier, initiator.secret, self._challenge)
        right_name = hmac.compare_digest(name.encode(), initiator.name.encode())
        right_response = hmac.compare_digest(response, expected)
        if not (right_name and right_response):
            raise AuthenticationError("CHAP name or response is wrong")
        replies = self._prove(keys) if "CHAP_I" in keys or "CHAP_C" in keys else []
        self._state = _State.DONE
        return replies

    def _prove(self, keys: Mapping[str, str]) -> Pairs:
        """Answer the initiator's own challenge."""
        identifier = _identifier(self._required(keys, "CHAP_I"))
        challenge = decode_binary(self._required(keys, "CHAP_C"))
        target = self._authentication.target
        if target is None:
            raise AuthenticationError("the initiator asks for mutual CHAP, which is not set up")
        if challenge == self._challenge:
            raise AuthenticationError("the initiator reflects our challenge")
        proof = self._digest(bytes([identifier]), target.secret, challenge)
        return [("CHAP_N", target.name), ("CHAP_R", encode_binary(proof))]

    def _digest(self, identifier: bytes, secret: bytes, challenge: bytes) -> bytes:
        return self._hash(identifier + secret + challenge).digest()

    @staticmethod
    def _required(keys: Mapping[str, str], name: str) -> str:
        if name not in keys:
            raise AuthenticationError(f"{name} is missing", LoginStatus.MISSING_PARAMETER)
        return keys[name]
