"""Authentication in the login phase: who must prove what, and when."""

from __future__ import annotations

import hashlib

import pytest

from scsi2nvme.target.iscsi.login import Login, LoginSettings, Step
from scsi2nvme.target.iscsi.pdu import LoginStatus
from tests.iscsi_pdu import Pdu, pairs_bytes
from tests.target.iscsi.login_phase import (
    CHAP,
    INITIATOR,
    NAMES,
    SECRET,
    accepted,
    login,
    pdu_of,
    refused,
    replied,
    request,
)


def security(machine: Login, keys: dict[str, str], *, transit: bool = False) -> Step:
    return machine.feed(request(0, 1, transit=transit), pairs_bytes(keys))


def chap_answer(pdu: Pdu) -> dict[str, str]:
    keys = dict(pdu.pairs)
    assert keys["CHAP_A"] == "7"
    challenge = bytes.fromhex(keys["CHAP_C"][2:])
    secret = CHAP.initiator.secret
    proof = hashlib.sha256(bytes([int(keys["CHAP_I"])]) + secret + challenge).hexdigest()
    return {"CHAP_N": "user", "CHAP_R": "0x" + proof}


SECRET_NAMES = {"InitiatorName": INITIATOR, "TargetName": SECRET}


@pytest.mark.parametrize("eager", [False, True], ids=["T at the end", "T always"])
def test_chap(eager: bool) -> None:
    """iPXE sets T in every request; it is withheld until the initiator has proved itself."""
    machine = login()
    pdu = replied(security(machine, SECRET_NAMES | {"AuthMethod": "CHAP,None"}, transit=eager))
    assert pdu.flags == 0
    assert dict(pdu.pairs) == {"TargetPortalGroupTag": "1", "AuthMethod": "CHAP"}
    pdu = replied(security(machine, {"CHAP_A": "7,5"}, transit=eager))
    assert pdu.flags == 0
    pdu = replied(security(machine, chap_answer(pdu), transit=True))
    assert pdu.flags == 0x81
    assert dict(pdu.pairs) == {"TargetAlias": "vault"}, "told to nobody before"
    accepted(machine.feed(request(), b""))


def test_mutual_chap() -> None:
    machine = login()
    replied(security(machine, SECRET_NAMES | {"AuthMethod": "CHAP"}))
    answer = chap_answer(replied(security(machine, {"CHAP_A": "7"})))
    challenge = bytes(range(32))
    pdu = replied(security(machine, answer | {"CHAP_I": "9", "CHAP_C": "0x" + challenge.hex()}))
    proof = hashlib.sha256(b"\x09" + b"the-target-secret" + challenge).hexdigest()
    told = {"TargetAlias": "vault", "CHAP_N": "server", "CHAP_R": "0x" + proof}
    assert dict(pdu.pairs) == told
    pdu = replied(security(machine, {}, transit=True))
    assert (pdu.flags, pdu.pairs) == (0x81, [])


def test_authentication_is_not_left_out() -> None:
    ways: list[tuple[dict[str, str], bool]] = [
        (SECRET_NAMES, True),
        (SECRET_NAMES | {"AuthMethod": "None"}, True),
        (SECRET_NAMES | {"AuthMethod": "None"}, False),
        (SECRET_NAMES | {"AuthMethod": "SRP,KRB5"}, False),
    ]
    for keys, transit in ways:
        step = security(login(), keys, transit=transit)
        refused(step, LoginStatus.AUTHENTICATION_FAILURE)


def test_authentication_waits_for_the_method() -> None:
    machine = login()
    replied(security(machine, SECRET_NAMES))
    refused(security(machine, {}, transit=True), LoginStatus.AUTHENTICATION_FAILURE)


def test_chap_must_go_on() -> None:
    machine = login()
    replied(security(machine, SECRET_NAMES | {"AuthMethod": "CHAP"}))
    refused(security(machine, {}, transit=True), LoginStatus.MISSING_PARAMETER)


def test_wrong_chap_response() -> None:
    machine = login()
    replied(security(machine, SECRET_NAMES | {"AuthMethod": "CHAP"}))
    replied(security(machine, {"CHAP_A": "7"}))
    step = security(machine, {"CHAP_N": "user", "CHAP_R": "0x" + "00" * 32}, transit=True)
    refused(step, LoginStatus.AUTHENTICATION_FAILURE)


def test_an_initiator_that_insists_on_chap_where_there_is_none() -> None:
    step = security(login(), NAMES | {"AuthMethod": "CHAP"})
    refused(step, LoginStatus.AUTHENTICATION_FAILURE)


def test_chap_keys_do_not_count_in_the_operational_stage() -> None:
    machine = login()
    accepted(machine.feed(request(), pairs_bytes(NAMES | {"CHAP_A": "5"})))
    assert dict(pdu_of(machine.accept(1, 100)).pairs)["CHAP_A"] == "Irrelevant"


def test_discovery_has_its_own_authentication() -> None:
    names = {"InitiatorName": INITIATOR, "SessionType": "Discovery"}
    settings = LoginSettings(discovery_chap=CHAP)
    step = login(settings).feed(request(), pairs_bytes(names))
    refused(step, LoginStatus.AUTHENTICATION_FAILURE)
    machine = login(settings)
    replied(security(machine, names | {"AuthMethod": "CHAP"}))
    answer = chap_answer(replied(security(machine, {"CHAP_A": "7"})))
    assert replied(security(machine, answer, transit=True)).flags == 0x81
    accepted(machine.feed(request(), b""))
