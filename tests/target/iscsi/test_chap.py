"""CHAP against digests computed here, straight from hashlib."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.target.iscsi.chap import (
    AuthenticationError,
    Chap,
    ChapAuthentication,
    Credentials,
    decode_binary,
    encode_binary,
)
from scsi2nvme.target.iscsi.pdu import LoginStatus

USER = Credentials("user", b"initiator-secret")
SERVER = Credentials("server", b"the-target-secret")
HASHES: dict[str, Callable[[bytes], bytes]] = {
    "5": lambda data: hashlib.md5(data).digest(),
    "6": lambda data: hashlib.sha1(data).digest(),
    "7": lambda data: hashlib.sha256(data).digest(),
    "8": lambda data: hashlib.sha3_256(data).digest(),
}


def begin(target: Credentials | None = None, offer: str = "5") -> tuple[Chap, dict[str, str]]:
    chap = Chap(ChapAuthentication(USER, target))
    return chap, dict(chap.step({"CHAP_A": offer}))


def proof(challenge: dict[str, str], secret: bytes = USER.secret) -> bytes:
    digest = HASHES[challenge["CHAP_A"]]
    identifier = bytes([int(challenge["CHAP_I"])])
    return digest(identifier + secret + bytes.fromhex(challenge["CHAP_C"][2:]))


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [
        ("5", "5"),
        ("6", "6"),
        ("7", "7"),
        ("8", "8"),
        ("5,6,7,8", "5"),
        ("8,7,6,5", "8"),
        ("9,7", "7"),
    ],
)
@pytest.mark.parametrize("base64_form", [False, True])
def test_one_way(offer: str, chosen: str, base64_form: bool) -> None:
    chap, challenge = begin(offer=offer)
    assert challenge["CHAP_A"] == chosen
    assert not chap.done
    response = proof(challenge)
    text = "0b" + base64.b64encode(response).decode() if base64_form else "0x" + response.hex()
    assert chap.step({"CHAP_N": "user", "CHAP_R": text}) == []
    assert chap.done


@pytest.mark.parametrize("offer", ["56", "", "4", "MD5", "5 ,6x", "05"])
def test_no_common_algorithm(offer: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        begin(offer=offer)
    assert caught.value.status is LoginStatus.AUTHENTICATION_FAILURE


def test_challenges_are_fresh_and_long_enough() -> None:
    challenges = {begin()[1]["CHAP_C"] for _ in range(20)}
    assert len(challenges) == 20
    assert all(len(text) == 2 + 2 * 32 for text in challenges)
    assert all(text == text.lower() for text in challenges)


@pytest.mark.parametrize("name", ["user2", "use", "USER", ""])
def test_whole_names_are_compared(name: str) -> None:
    chap, challenge = begin()
    with pytest.raises(AuthenticationError):
        chap.step({"CHAP_N": name, "CHAP_R": "0x" + proof(challenge).hex()})
    assert not chap.done


def test_wrong_secret() -> None:
    chap, challenge = begin()
    with pytest.raises(AuthenticationError):
        chap.step({"CHAP_N": "user", "CHAP_R": "0x" + proof(challenge, b"guess").hex()})


@pytest.mark.parametrize("cut", [1, 15, 17, 32])
def test_a_response_of_another_length(cut: int) -> None:
    chap, challenge = begin()
    response = (proof(challenge) * 2)[:cut]
    with pytest.raises(AuthenticationError):
        chap.step({"CHAP_N": "user", "CHAP_R": "0x" + response.hex()})


@pytest.mark.parametrize("missing", ["CHAP_N", "CHAP_R"])
def test_missing_key(missing: str) -> None:
    chap, challenge = begin()
    keys = {"CHAP_N": "user", "CHAP_R": "0x" + proof(challenge).hex()}
    del keys[missing]
    with pytest.raises(AuthenticationError) as caught:
        chap.step(keys)
    assert caught.value.status is LoginStatus.MISSING_PARAMETER


@pytest.mark.parametrize("algorithm", sorted(HASHES))
@pytest.mark.parametrize("identifier", ["0", "255", "0x2a", "0x002a"])
def test_mutual(algorithm: str, identifier: str) -> None:
    chap, challenge = begin(SERVER, algorithm)
    theirs = bytes(range(1, 17))
    answer = dict(
        chap.step(
            {
                "CHAP_N": "user",
                "CHAP_R": "0x" + proof(challenge).hex(),
                "CHAP_I": identifier,
                "CHAP_C": "0x" + theirs.hex(),
            }
        )
    )
    expected = HASHES[algorithm](bytes([int(identifier, 0)]) + SERVER.secret + theirs)
    assert answer == {"CHAP_N": "server", "CHAP_R": "0x" + expected.hex()}
    assert chap.done


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"CHAP_I": "1"}, LoginStatus.MISSING_PARAMETER),
        ({"CHAP_C": "0x01"}, LoginStatus.MISSING_PARAMETER),
        ({"CHAP_I": "256", "CHAP_C": "0x01"}, LoginStatus.AUTHENTICATION_FAILURE),
        ({"CHAP_I": "-1", "CHAP_C": "0x01"}, LoginStatus.AUTHENTICATION_FAILURE),
        ({"CHAP_I": "1", "CHAP_C": "01"}, LoginStatus.AUTHENTICATION_FAILURE),
    ],
)
def test_malformed_demand_for_proof(keys: dict[str, str], status: LoginStatus) -> None:
    chap, challenge = begin(SERVER)
    with pytest.raises(AuthenticationError) as caught:
        chap.step({"CHAP_N": "user", "CHAP_R": "0x" + proof(challenge).hex()} | keys)
    assert caught.value.status is status
    assert not chap.done


def test_mutual_without_our_secret() -> None:
    chap, challenge = begin()
    keys = {"CHAP_N": "user", "CHAP_R": "0x" + proof(challenge).hex()}
    with pytest.raises(AuthenticationError) as caught:
        chap.step(keys | {"CHAP_I": "1", "CHAP_C": "0x01"})
    assert caught.value.status is LoginStatus.AUTHENTICATION_FAILURE


def test_reflection_is_refused() -> None:
    chap, challenge = begin(SERVER)
    keys = {"CHAP_N": "user", "CHAP_R": "0x" + proof(challenge).hex()}
    with pytest.raises(AuthenticationError):
        chap.step(keys | {"CHAP_I": challenge["CHAP_I"], "CHAP_C": challenge["CHAP_C"]})


def test_one_secret_does_not_serve_both_directions() -> None:
    with pytest.raises(ValueError, match="different secret"):
        ChapAuthentication(USER, Credentials("server", USER.secret))


def test_secrets_are_not_printed() -> None:
    assert "secret" not in repr(ChapAuthentication(USER, SERVER))


@given(st.binary(min_size=1, max_size=1024))
def test_binary_values(value: bytes) -> None:
    assert decode_binary(encode_binary(value)) == value
    assert decode_binary("0B" + base64.b64encode(value).decode()) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("0x0", b"\0"), ("0xabc", b"\x0a\xbc"), ("0X00abc", b"\0\x0a\xbc"), ("0x0abc", b"\x0a\xbc")],
)
def test_a_number_of_digits_may_be_odd(text: str, value: bytes) -> None:
    assert decode_binary(text) == value


def test_a_response_of_an_odd_number_of_digits() -> None:
    """As whoever takes it for a number writes one that begins with a zero."""
    for _ in range(1000):
        chap, challenge = begin()
        response = proof(challenge).hex()
        if response[0] == "0":
            break
    chap.step({"CHAP_N": "user", "CHAP_R": "0x" + response[1:]})
    assert chap.done


@pytest.mark.parametrize(
    "text",
    ["", "0x", "0b", "0x ", "0xgg", "1234", "0b=", "0bA", "0x" + "00" * 1025, "0b" + "A" * 1372],
)
def test_what_is_no_binary_value(text: str) -> None:
    with pytest.raises(AuthenticationError):
        decode_binary(text)


@given(
    st.dictionaries(st.sampled_from(["CHAP_A", "CHAP_N", "CHAP_R", "CHAP_I", "CHAP_C"]), st.text())
)
def test_arbitrary_keys_authenticate_nobody(keys: dict[str, str]) -> None:
    chap, _ = begin(SERVER)
    with pytest.raises(AuthenticationError):
        chap.step(keys)
    assert not chap.done
