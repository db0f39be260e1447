"""The login phase as tables: PDUs in, PDUs out, no socket."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.target.iscsi.login import MAXIMUM_REQUESTS, Accepted, Login, NotALogin, Reply, Step
from scsi2nvme.target.iscsi.pdu import LoginStatus
from tests.iscsi_pdu import pairs_bytes
from tests.target.iscsi.login_phase import (
    CLOSED,
    INITIATOR,
    ISID,
    NAMES,
    OPEN,
    SECRET,
    TARGETS,
    WINDOW,
    accepted,
    login,
    pdu_of,
    refused,
    replied,
    request,
)


def test_straight_to_full_feature_phase() -> None:
    machine = login()
    result = accepted(machine.feed(request(), pairs_bytes(NAMES))).result
    assert result.initiator == INITIATOR
    assert result.node is TARGETS[OPEN]
    assert (result.isid, result.tsih, result.cid, result.cmd_sn) == (ISID, 0, 5, 100)
    assert result.maximum_recv == 262144
    pdu = pdu_of(machine.accept(tsih=9, exp_cmd_sn=100))
    assert pdu.opcode == 0x23
    assert pdu.flags == 0x87
    assert pdu.bhs[8:14] == ISID
    assert pdu.word16(14) == 9
    assert pdu.itt == 0x1234
    assert (pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn) == (0x55, 100, 100 + WINDOW - 1)
    assert pdu.login_status == 0
    assert dict(pdu.pairs) == {
        "TargetPortalGroupTag": "7",
        "TargetAlias": "disk",
        "MaxRecvDataSegmentLength": "262144",
    }
    assert machine.stat_sn == 0x56


def test_through_all_stages() -> None:
    machine = login()
    pdu = replied(machine.feed(request(0, 1), pairs_bytes(NAMES | {"AuthMethod": "CHAP,None"})))
    assert pdu.flags == 0x81
    assert dict(pdu.pairs) == {
        "TargetPortalGroupTag": "7",
        "TargetAlias": "disk",
        "AuthMethod": "None",
    }
    pdu = replied(machine.feed(request(1, transit=False), pairs_bytes({"InitialR2T": "No"})))
    assert pdu.flags == 0x04
    assert dict(pdu.pairs) == {"InitialR2T": "No", "MaxRecvDataSegmentLength": "262144"}
    result = accepted(machine.feed(request(), pairs_bytes({"ImmediateData": "No"}))).result
    assert result.values["InitialR2T"] is False
    assert result.values["ImmediateData"] is False
    pdu = pdu_of(machine.accept(1, 100))
    assert pdu.stat_sn == 0x57
    assert dict(pdu.pairs) == {"ImmediateData": "No"}


def test_security_stage_alone() -> None:
    """Without an operational stage we declare nothing, so the default holds."""
    machine = login()
    result = accepted(machine.feed(request(0, 3), pairs_bytes(NAMES))).result
    assert result.maximum_recv == 8192


@pytest.mark.parametrize(
    ("csg", "nsg", "transit", "more"),
    list(itertools.product(range(4), range(4), [False, True], [False, True])),
)
def test_first_request(csg: int, nsg: int, transit: bool, more: bool) -> None:
    """Every combination of CSG, NSG, T and C. Spec: RFC 7143 11.12.3."""
    machine = login()
    step = machine.feed(request(csg, nsg, transit=transit, more=more), pairs_bytes(NAMES))
    legal_next = {0: (1, 3), 1: (3,)}.get(csg, ())
    if csg > 1 or (transit and (more or nsg not in legal_next)):
        refused(step, LoginStatus.INITIATOR_ERROR)
    elif transit and nsg == 3:
        accepted(step)
    else:
        pdu = replied(step)
        assert pdu.flags == (0x80 | csg << 2 | nsg if transit else csg << 2)
        assert (pdu.data == b"") is more


@pytest.mark.parametrize("csg", range(4))
@pytest.mark.parametrize("stage", [0, 1])
def test_later_requests_stay_in_their_stage(stage: int, csg: int) -> None:
    machine = login()
    replied(machine.feed(request(stage, transit=False), pairs_bytes(NAMES)))
    step = machine.feed(request(csg, transit=False), b"")
    if csg == stage:
        replied(step)
    else:
        refused(step, LoginStatus.INITIATOR_ERROR)


@pytest.mark.parametrize(
    "change", [{"isid": bytes(6)}, {"tsih": 1}, {"cid": 6}], ids=["ISID", "TSIH", "CID"]
)
def test_a_login_keeps_its_identifiers(change: dict[str, int | bytes]) -> None:
    machine = login()
    replied(machine.feed(request(transit=False), pairs_bytes(NAMES)))
    refused(machine.feed(request(**change), b""), LoginStatus.INITIATOR_ERROR)  # type: ignore[arg-type]


def test_the_task_tag_is_copied_from_each_request() -> None:
    machine = login()
    assert replied(machine.feed(request(transit=False, itt=1), pairs_bytes(NAMES))).itt == 1
    assert replied(machine.feed(request(transit=False, itt=2), b"")).itt == 2


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"version_min": 1}, LoginStatus.UNSUPPORTED_VERSION),
        ({"opcode": 0x03}, LoginStatus.INITIATOR_ERROR),
        ({"ahs": 1}, LoginStatus.INITIATOR_ERROR),
        ({"length": 8193}, LoginStatus.INITIATOR_ERROR),
        ({"length": 0xFFFFFF}, LoginStatus.INITIATOR_ERROR),
    ],
)
def test_refused_by_the_header(fields: dict[str, int], status: LoginStatus) -> None:
    refused(login().feed(request(**fields), b""), status)  # type: ignore[arg-type]


def test_first_pdu_is_no_login() -> None:
    assert isinstance(login().feed(b"\x40" + bytes(47), b""), NotALogin)


def test_a_later_pdu_is_no_login() -> None:
    machine = login()
    replied(machine.feed(request(transit=False), pairs_bytes(NAMES)))
    refused(machine.feed(b"\x40" + bytes(47), b""), LoginStatus.INVALID_DURING_LOGIN)


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({}, LoginStatus.MISSING_PARAMETER),
        ({"TargetName": OPEN}, LoginStatus.MISSING_PARAMETER),
        ({"InitiatorName": "", "TargetName": OPEN}, LoginStatus.MISSING_PARAMETER),
        ({"InitiatorName": INITIATOR}, LoginStatus.MISSING_PARAMETER),
        ({"InitiatorName": INITIATOR, "TargetName": "iqn.no"}, LoginStatus.NOT_FOUND),
        ({"InitiatorName": INITIATOR, "TargetName": CLOSED}, LoginStatus.AUTHORIZATION_FAILURE),
        ({"InitiatorName": INITIATOR, "TargetName": SECRET}, LoginStatus.AUTHENTICATION_FAILURE),
        (NAMES | {"SessionType": "Boot"}, LoginStatus.SESSION_TYPE_NOT_SUPPORTED),
        ({"InitiatorName": "a\nb", "TargetName": OPEN}, LoginStatus.INITIATOR_ERROR),
    ],
)
def test_refused_by_the_names(keys: dict[str, str], status: LoginStatus) -> None:
    refused(login().feed(request(), pairs_bytes(keys)), status)


def test_session_type_may_be_left_out_or_given() -> None:
    for keys in (NAMES, NAMES | {"SessionType": "Normal"}):
        assert accepted(login().feed(request(), pairs_bytes(keys))).result.node is not None


def test_names_are_equal_but_for_case() -> None:
    keys = {"InitiatorName": INITIATOR.upper(), "TargetName": OPEN.upper()}
    result = accepted(login().feed(request(), pairs_bytes(keys))).result
    assert result.initiator == INITIATOR
    assert result.node is TARGETS[OPEN]


def test_discovery() -> None:
    keys = {"InitiatorName": INITIATOR, "SessionType": "Discovery", "MaxBurstLength": "65536"}
    machine = login()
    result = accepted(machine.feed(request(), pairs_bytes(keys))).result
    assert result.node is None
    assert dict(pdu_of(machine.accept(1, 100)).pairs) == {
        "MaxRecvDataSegmentLength": "262144",
        "MaxBurstLength": "Irrelevant",
    }


def test_names_may_be_declared_again_in_the_next_stage() -> None:
    """As libiscsi before 1.20 does."""
    machine = login()
    names = NAMES | {"SessionType": "Normal", "InitiatorAlias": "host"}
    replied(machine.feed(request(0, 1), pairs_bytes(names | {"AuthMethod": "None"})))
    accepted(machine.feed(request(), pairs_bytes(names)))


@pytest.mark.parametrize(
    "later",
    [
        {"TargetName": SECRET},
        {"InitiatorName": "iqn.2026-11.test:other"},
        {"SessionType": "Discovery"},
    ],
)
@pytest.mark.parametrize("csg", [0, 1])
def test_what_a_login_is_may_not_change(later: dict[str, str], csg: int) -> None:
    machine = login()
    replied(machine.feed(request(csg, csg + 1, transit=csg == 0), pairs_bytes(NAMES)))
    refused(machine.feed(request(), pairs_bytes(later)), LoginStatus.INITIATOR_ERROR)


@pytest.mark.parametrize("later", [{"TargetName": OPEN}, {"SessionType": "Normal"}])
def test_a_discovery_session_remains_one(later: dict[str, str]) -> None:
    machine = login()
    names = {"InitiatorName": INITIATOR, "SessionType": "Discovery"}
    replied(machine.feed(request(0, 1), pairs_bytes(names)))
    refused(machine.feed(request(), pairs_bytes(later)), LoginStatus.INITIATOR_ERROR)


COMMON_KEYS = {
    "HeaderDigest": "None",
    "DataDigest": "None",
    "DefaultTime2Wait": "2",
    "DefaultTime2Retain": "0",
    "ErrorRecoveryLevel": "0",
    "MaxConnections": "1",
    "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes",
    "MaxOutstandingR2T": "1",
}


@pytest.mark.parametrize(
    "keys",
    [
        {
            "InitialR2T": "Yes",
            "ImmediateData": "No",
            "MaxRecvDataSegmentLength": "8192",
            "MaxBurstLength": "262144",
            "FirstBurstLength": "65536",
        },
        {
            "HeaderDigest": "None,CRC32C",
            "DataDigest": "None,CRC32C",
            "InitialR2T": "No",
            "ImmediateData": "Yes",
            "MaxRecvDataSegmentLength": "262144",
            "MaxBurstLength": "16776192",
            "FirstBurstLength": "262144",
            "TaskReporting": "FastAbort,ResponseFence,RFC3720",
            "iSCSIProtocolLevel": "1",
            "IFMarker": "No",
            "OFMarker": "No",
        },
    ],
    ids=["iPXE", "Linux"],
)
def test_no_initiator_meets_a_reject(keys: dict[str, str]) -> None:
    """A Reject, or an answer that they do not know, ends these initiators' logins."""
    machine = login()
    accepted(machine.feed(request(), pairs_bytes(NAMES | COMMON_KEYS | keys)))
    answers = dict(pdu_of(machine.accept(1, 100)).pairs)
    assert not {"Reject", "NotUnderstood"} & set(answers.values())


# C: continuation, both ways


@pytest.mark.parametrize("cut", [1, 7, 13, 14, 40])
def test_keys_may_be_split_anywhere(cut: int) -> None:
    data = pairs_bytes(NAMES | {"InitialR2T": "No"})
    machine = login()
    for start in range(0, len(data) - cut, cut):
        pdu = replied(machine.feed(request(transit=False, more=True), data[start : start + cut]))
        assert pdu.flags == 0x04
        assert pdu.data == b""
        last = start + cut
    result = accepted(machine.feed(request(), data[last:])).result
    assert result.values["InitialR2T"] is False


def test_an_unfinished_key_does_not_end_a_sequence() -> None:
    refused(login().feed(request(), pairs_bytes(NAMES)[:-1]), LoginStatus.INITIATOR_ERROR)


def test_a_sequence_is_limited() -> None:
    machine = login()
    replied(machine.feed(request(transit=False, more=True), b"A=" + b"x" * 8190))
    step = machine.feed(request(transit=False, more=True), b"x")
    refused(step, LoginStatus.INITIATOR_ERROR)


def test_a_login_does_not_go_on_for_ever() -> None:
    machine = login()
    for _ in range(MAXIMUM_REQUESTS):
        replied(machine.feed(request(transit=False, more=True), b""))
    refused(machine.feed(request(transit=False, more=True), b""), LoginStatus.INITIATOR_ERROR)


UNKNOWN = {f"K{number}": "" for number in range(1000)}
NOT_UNDERSTOOD = pairs_bytes(dict.fromkeys(UNKNOWN, "NotUnderstood"))


def collect_long_answer(machine: Login, step: Step) -> bytes:
    data = b""
    while isinstance(step, Reply):
        pdu = replied(step)
        assert pdu.flags == 0x44
        assert len(pdu.data) == 8192
        data += pdu.data
        step = machine.feed(request(), b"")
    accepted(step)
    return data + pdu_of(machine.accept(1, 100)).data


def test_a_long_answer_is_continued() -> None:
    machine = login()
    replied(machine.feed(request(transit=False), pairs_bytes(NAMES)))
    assert collect_long_answer(machine, machine.feed(request(), pairs_bytes(UNKNOWN))) == (
        NOT_UNDERSTOOD
    )


def test_no_keys_before_a_long_answer_has_ended() -> None:
    machine = login()
    replied(machine.feed(request(transit=False), pairs_bytes(NAMES)))
    replied(machine.feed(request(), pairs_bytes(UNKNOWN)))
    step = machine.feed(request(), pairs_bytes({"InitialR2T": "No"}))
    refused(step, LoginStatus.INITIATOR_ERROR)


# Joining a session


def test_joining_a_session() -> None:
    machine = login()
    keys = NAMES | {"MaxBurstLength": "65536", "HeaderDigest": "CRC32C"}
    result = accepted(machine.feed(request(tsih=3), pairs_bytes(keys))).result
    assert result.tsih == 3
    pdu = pdu_of(machine.accept(3, 500))
    answers = dict(pdu.pairs)
    assert answers["MaxBurstLength"] == "Irrelevant"
    assert answers["HeaderDigest"] == "CRC32C"
    assert (pdu.exp_cmd_sn, pdu.max_cmd_sn) == (500, 499)


@pytest.mark.parametrize("status", list(LoginStatus)[1:])
def test_the_caller_may_refuse(status: LoginStatus) -> None:
    machine = login()
    accepted(machine.feed(request(), pairs_bytes(NAMES)))
    assert pdu_of(machine.refuse(status)).login_status == status


# Anything at all


_FLAGS = st.integers(0, 255)
_KEYS = st.dictionaries(
    st.sampled_from(
        ["InitiatorName", "TargetName", "SessionType", "AuthMethod", "CHAP_A", "CHAP_N", "CHAP_R"]
    ),
    st.sampled_from([INITIATOR, OPEN, SECRET, "Discovery", "CHAP", "None", "5", "0x00", "user"]),
).map(pairs_bytes)


@given(
    st.lists(
        st.tuples(_FLAGS, st.one_of(st.binary(max_size=200), _KEYS, st.just(pairs_bytes(NAMES)))),
        max_size=6,
    )
)
def test_no_request_does_more_than_fail(requests: list[tuple[int, bytes]]) -> None:
    machine = login()
    for flags, data in requests:
        bhs = bytearray(request())
        bhs[1] = flags
        step = machine.feed(bytes(bhs), data)
        if isinstance(step, Accepted):
            assert step.result.node is None or step.result.node.iqn == OPEN, "nobody knew a secret"
        if not isinstance(step, Reply):
            return
        replied(step)


@given(st.binary(min_size=48, max_size=48), st.binary(max_size=100))
def test_no_header_does_more_than_fail(bhs: bytes, data: bytes) -> None:
    assert not isinstance(login().feed(bhs, data), Accepted)
