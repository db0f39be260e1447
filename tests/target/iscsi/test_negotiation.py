"""Text negotiation, row by row of the key table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.target.iscsi.keys import BY_NAME, KEYS, Form, Value
from scsi2nvme.target.iscsi.negotiation import (
    FULL_FEATURE,
    OPERATIONAL,
    SECURITY,
    Negotiation,
    NegotiationError,
    Pairs,
    format_pairs,
    parse_pairs,
)


def answers(pairs: Pairs, ours: dict[str, Value] | None = None) -> dict[str, str]:
    return dict(Negotiation(ours or {}).answer(pairs, OPERATIONAL))


@pytest.mark.parametrize(
    ("name", "offer", "answer"),
    [
        ("HeaderDigest", "None", "None"),
        ("HeaderDigest", "CRC32C,None", "CRC32C"),
        ("HeaderDigest", "None,CRC32C", "None"),
        ("DataDigest", "X-mine,CRC32C", "CRC32C"),
        ("DataDigest", "X-mine," * 100 + "CRC32C", "CRC32C"),
        ("DataDigest", "X-mine", "Reject"),
        ("DataDigest", "crc32c", "Reject"),
        ("MaxConnections", "1", "1"),
        ("MaxConnections", "65535", "8"),
        ("MaxConnections", "0", "Reject"),
        ("MaxConnections", "65536", "Reject"),
        ("InitialR2T", "Yes", "Yes"),
        ("InitialR2T", "No", "No"),
        ("InitialR2T", "yes", "Reject"),
        ("ImmediateData", "Yes", "Yes"),
        ("ImmediateData", "No", "No"),
        ("MaxBurstLength", "512", "512"),
        ("MaxBurstLength", "16776192", "1048576"),
        ("MaxBurstLength", "0x10000", "65536"),
        ("MaxBurstLength", "0x00000000000010000", "65536"),
        ("MaxBurstLength", "511", "Reject"),
        ("MaxBurstLength", "16777216", "Reject"),
        ("MaxBurstLength", "1_000", "Reject"),
        ("MaxBurstLength", "٥١٢٠", "Reject"),
        ("MaxBurstLength", "-1", "Reject"),
        ("MaxBurstLength", "", "Reject"),
        ("FirstBurstLength", "65536", "65536"),
        ("FirstBurstLength", "16777215", "262144"),
        ("DefaultTime2Wait", "2", "2"),
        ("DefaultTime2Wait", "3600", "3600"),
        ("DefaultTime2Wait", "3601", "Reject"),
        ("DefaultTime2Retain", "20", "0"),
        ("MaxOutstandingR2T", "1", "1"),
        ("MaxOutstandingR2T", "65535", "8"),
        ("DataPDUInOrder", "No", "Yes"),
        ("DataSequenceInOrder", "No", "Yes"),
        ("ErrorRecoveryLevel", "2", "0"),
        ("ErrorRecoveryLevel", "3", "Reject"),
        ("iSCSIProtocolLevel", "1", "1"),
        ("iSCSIProtocolLevel", "31", "2"),
        ("TaskReporting", "FastAbort,RFC3720", "RFC3720"),
        ("IFMarker", "Yes", "No"),
        ("OFMarker", "No", "No"),
        ("IFMarkInt", "2048~65535", "Reject"),
        ("OFMarkInt", "2048", "Reject"),
        ("SendTargets", "All", "Irrelevant"),
        ("AuthMethod", "None", "Irrelevant"),
        ("headerdigest", "None", "NotUnderstood"),
        ("X-com.example.key", "1", "NotUnderstood"),
    ],
)
def test_answer(name: str, offer: str, answer: str) -> None:
    # ImmediateData is agreed on first, so that FirstBurstLength is relevant.
    pairs = [(name, offer)]
    if name == "FirstBurstLength":
        pairs += [("ImmediateData", "Yes"), ("MaxBurstLength", "1048576")]
    assert answers(pairs)[name] == answer


def test_declarations_are_not_answered() -> None:
    declared = [("MaxRecvDataSegmentLength", "65536"), ("InitiatorAlias", "host")]
    negotiation = Negotiation({})
    assert negotiation.answer(declared, OPERATIONAL) == []
    assert negotiation.values["MaxRecvDataSegmentLength"] == 65536


@pytest.mark.parametrize("value", ["511", "16777216", "many"])
def test_an_impossible_declaration_is_rejected(value: str) -> None:
    assert answers([("MaxRecvDataSegmentLength", value)]) == {"MaxRecvDataSegmentLength": "Reject"}


def test_first_burst_does_not_exceed_max_burst() -> None:
    pairs = [("FirstBurstLength", "262144"), ("MaxBurstLength", "65536")]
    assert answers(pairs)["FirstBurstLength"] == "65536"


@pytest.mark.parametrize(
    ("initial_r2t", "immediate", "relevant"),
    [("Yes", "No", False), ("Yes", "Yes", True), ("No", "No", True), ("No", "Yes", True)],
)
def test_first_burst_needs_unsolicited_data(
    initial_r2t: str, immediate: str, relevant: bool
) -> None:
    offer = [
        ("FirstBurstLength", "8192"),
        ("InitialR2T", initial_r2t),
        ("ImmediateData", immediate),
    ]
    assert (answers(offer)["FirstBurstLength"] != "Irrelevant") is relevant


IRRELEVANT_IN_DISCOVERY = {
    "MaxConnections": "1",
    "InitialR2T": "Yes",
    "ImmediateData": "Yes",
    "MaxBurstLength": "65536",
    "FirstBurstLength": "65536",
    "MaxOutstandingR2T": "1",
    "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes",
    "iSCSIProtocolLevel": "1",
    "TaskReporting": "RFC3720",
}


def test_what_is_irrelevant_in_discovery() -> None:
    offer = [("SessionType", "Discovery"), *IRRELEVANT_IN_DISCOVERY.items()]
    assert answers(offer) == dict.fromkeys(IRRELEVANT_IN_DISCOVERY, "Irrelevant")


def test_what_matters_in_discovery_too() -> None:
    offer = [
        ("SessionType", "Discovery"),
        ("HeaderDigest", "CRC32C"),
        ("ErrorRecoveryLevel", "0"),
        ("DefaultTime2Wait", "2"),
    ]
    assert answers(offer) == {
        "HeaderDigest": "CRC32C",
        "ErrorRecoveryLevel": "0",
        "DefaultTime2Wait": "2",
    }


def test_a_joining_connection_negotiates_its_own_keys_only() -> None:
    negotiation = Negotiation({}, joining=True)
    offer = [("MaxBurstLength", "65536"), ("DataDigest", "CRC32C")]
    assert dict(negotiation.answer(offer, OPERATIONAL)) == {
        "MaxBurstLength": "Irrelevant",
        "DataDigest": "CRC32C",
    }
    assert negotiation.values["MaxBurstLength"] == 262144


def test_ours_overrides_the_table() -> None:
    assert answers([("DataDigest", "None,CRC32C")], {"DataDigest": "CRC32C"}) == {
        "DataDigest": "CRC32C"
    }


@pytest.mark.parametrize("key", [key.name for key in KEYS if key.negotiated])
def test_no_key_is_negotiated_twice(key: str) -> None:
    stage = SECURITY if BY_NAME[key].when.name == "SECURITY" else OPERATIONAL
    negotiation = Negotiation({})
    offer = [(key, "None" if BY_NAME[key].form is Form.LIST else "1")]
    negotiation.answer(offer, stage)
    with pytest.raises(NegotiationError):
        negotiation.answer(offer, stage)


def test_a_key_stands_once_in_a_sequence() -> None:
    with pytest.raises(NegotiationError):
        answers([("InitialR2T", "No"), ("InitialR2T", "No")])


def test_declarations_may_be_repeated_but_not_changed() -> None:
    negotiation = Negotiation({})
    negotiation.answer([("InitiatorName", "iqn.a")], SECURITY)
    assert negotiation.answer([("InitiatorName", "iqn.a")], OPERATIONAL) == []
    with pytest.raises(NegotiationError):
        negotiation.answer([("InitiatorName", "iqn.b")], OPERATIONAL)


def test_max_recv_data_segment_length_may_be_declared_again() -> None:
    negotiation = Negotiation({})
    for value in ("8192", "65536"):
        negotiation.answer([("MaxRecvDataSegmentLength", value)], FULL_FEATURE)
    assert negotiation.values["MaxRecvDataSegmentLength"] == 65536


@pytest.mark.parametrize("answer", ["NotUnderstood", "Irrelevant", "Reject"])
def test_answers_are_not_answered(answer: str) -> None:
    assert answers([("TargetAlias", answer), ("MaxBurstLength", answer)]) == {}


@pytest.mark.parametrize(
    "data",
    [
        b"InitialR2T=Yes",  # not terminated
        b"InitialR2T\0",  # no value
        b"=Yes\0",
        b"1Key=Yes\0",
        b"K" * 64 + b"=1\0",
        b"Unknown=" + b"x" * 256 + b"\0",
        b"Unknown=a," + b"x" * 256 + b"\0",
        b"HeaderDigest=" + b"x" * 256 + b",None\0",
        b"InitiatorAlias=" + b"x," * 128 + b"\0",
        b"InitiatorName=" + b"x" * 224 + b"\0",
        b"CHAP_R=0x" + b"0" * 2049 + b"\0",
        b"InitiatorAlias=\xff\0",
    ],
)
def test_malformed_pairs(data: bytes) -> None:
    with pytest.raises(NegotiationError):
        parse_pairs(data)


@pytest.mark.parametrize(
    "data",
    [
        b"K" * 63 + b"=1\0",
        b"Unknown=" + b"x" * 255 + b"\0",
        b"Unknown=" + b",".join([b"x" * 255] * 3) + b"\0",
        b"CHAP_A=" + b"5," * 200 + b"7\0",
        b"InitiatorName=" + b"x" * 223 + b"\0",
        b"CHAP_R=0x" + b"0" * 2048 + b"\0",
        b"InitiatorAlias=\0\0\0",
        b"A=b=c\0",
        b"",
    ],
)
def test_longest_pairs(data: bytes) -> None:
    assert format_pairs(parse_pairs(data)) == data.rstrip(b"\0") + b"\0" * bool(data)


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=63)


@given(st.lists(st.tuples(st.from_regex(r"\A[A-Za-z][A-Za-z0-9.]{0,40}\Z"), _TEXT)))
def test_pairs_survive_the_wire(pairs: Pairs) -> None:
    assert parse_pairs(format_pairs(pairs)) == pairs


_OFFERS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(sorted(BY_NAME)), _TEXT),
        st.one_of(_TEXT, st.integers().map(str), st.sampled_from(["Yes", "No", "None", "Reject"])),
    ),
    max_size=8,
).map(format_pairs)


@given(st.one_of(st.binary(max_size=600), _OFFERS), st.booleans())
def test_nothing_but_the_documented_failure(data: bytes, joining: bool) -> None:
    negotiation = Negotiation({}, joining=joining)
    try:
        replies = negotiation.answer(parse_pairs(data), OPERATIONAL)
    except NegotiationError:
        return
    assert len({name for name, _ in replies}) == len(replies)
    for key in KEYS:
        value = negotiation.values[key.name]
        if key.form is Form.NUMBER:
            assert min(key.low, int(key.default)) <= int(value) <= key.high
    assert int(negotiation.values["FirstBurstLength"]) <= max(
        65536, int(negotiation.values["MaxBurstLength"])
    )
