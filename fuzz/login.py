"""A login or a text exchange of any bytes: it ends, is bounded, and lets nobody in unproved."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.target.iscsi.chap import ChapAuthentication, Credentials
from scsi2nvme.target.iscsi.keys import KEYS, Form, Key
from scsi2nvme.target.iscsi.login import Accepted, Login, LoginSettings, Refused, Reply
from scsi2nvme.target.iscsi.negotiation import FULL_FEATURE, Negotiation, NegotiationError, Pairs
from scsi2nvme.target.iscsi.node import AclEntry, TargetNode
from scsi2nvme.target.iscsi.pdu import (
    BHS_BYTES,
    DEFAULT_DATA_SEGMENT_LENGTH,
    LOGIN_REQUEST,
    TEXT_REQUEST,
    Opcode,
)
from scsi2nvme.target.iscsi.sendtargets import send_targets
from scsi2nvme.target.iscsi.text import TextExchange

_INITIATOR, _OPEN, _SECRET = (f"iqn.2026-11.fuzz:{name}" for name in ("initiator", "open", "vault"))
_CHAP = ChapAuthentication(
    Credentials("user", b"initiator-secret"), Credentials("server", b"the-target-secret")
)
_TARGETS = {
    node.iqn: node
    for node in (
        TargetNode(_OPEN, alias="disk"),
        TargetNode(_SECRET, acl={_INITIATOR: AclEntry(chap=_CHAP)}),
    )
}
_MOST_REQUESTS = 12


@dataclass(frozen=True, slots=True)
class Phase:
    """Where an initiator sends keys."""

    name: str


LOGIN, TEXT = Phase("Login phase"), Phase("Text negotiation")


# ---- keys ----

_NUMBERS = st.one_of(
    st.sampled_from(
        ("", "-1", "0", "1", "512", "0x", "0x200", "0XFFFFFFFFFFFFFFFFF", "9" * 20, "9" * 250)
    ),
    st.integers(0, 1 << 70).map(str),
    st.integers(0, 1 << 70).map(hex),
)
_VALUES: dict[Form, st.SearchStrategy[str]] = {
    Form.BOOLEAN: st.sampled_from(("Yes", "No", "yes", "1", "")),
    Form.NUMBER: _NUMBERS,
    Form.LIST: st.sampled_from(
        ("None", "CHAP", "CHAP,None", "None,CHAP", "CRC32C,None", ",", "KRB5")
    ),
}
_HARMLESS = tuple(key for key in KEYS if key.form in _VALUES)
_TEXT = st.one_of(
    st.sampled_from((_INITIATOR, _OPEN, _SECRET, "Normal", "Discovery", "5", "7,5", "user", "All")),
    st.text(max_size=8),
    st.binary(max_size=40).map(lambda raw: "0x" + raw.hex()),
    st.integers(0, 3000).map(lambda count: "x" * count),
)


@st.composite
def _pairs(draw: st.DrawFn) -> Pairs:
    wild = draw(st.integers(0, 3)) == 3
    keys: list[Key] = draw(
        st.lists(st.sampled_from(KEYS if wild else _HARMLESS), max_size=8, unique=not wild)
    )
    pairs = [(key.name, draw(_TEXT if wild else _VALUES[key.form])) for key in keys]
    if draw(st.integers(0, 7)) < 7:
        target = draw(st.sampled_from((_OPEN, _SECRET)))
        named = {"InitiatorName": _INITIATOR, "TargetName": target}
        if draw(st.booleans()):
            named["AuthMethod"] = draw(_VALUES[Form.LIST])
        pairs = [*named.items(), *(pair for pair in pairs if pair[0] not in named)]
    return pairs


@st.composite
def _keys(draw: st.DrawFn) -> bytes:
    whole = b"".join(f"{key}={value}\0".encode(errors="replace") for key, value in draw(_pairs()))
    kind = draw(st.integers(0, 31))
    if kind == 0:
        whole = draw(st.binary(max_size=200))
    elif kind == 1:
        whole = whole[: draw(st.integers(0, len(whole)))]
    return whole[:DEFAULT_DATA_SEGMENT_LENGTH]


# ---- login ----


@st.composite
def _request(draw: st.DrawFn, stage: int) -> tuple[bytes, bytes]:
    data = draw(_keys())
    rarely = st.integers(0, 99).map(lambda drawn: drawn == 99)
    bhs = LOGIN_REQUEST.build(
        opcode=Opcode.LOGIN_REQUEST,
        immediate=not draw(rarely),
        transit=draw(st.booleans()),
        continued=draw(rarely),
        csg=draw(st.sampled_from((stage,) * 30 + (0, 1, 2, 3))),
        nsg=draw(st.sampled_from((3, 3, 3, 1, 3, 1, 3, 0))),
        version_min=draw(rarely),
        total_ahs_length=draw(rarely),
        data_segment_length=len(data),
        tsih=draw(rarely),
        cid=draw(rarely),
        itt=draw(st.integers(0, 0xFFFFFFFF)),
    )
    if draw(rarely):
        bhs = draw(st.binary(min_size=BHS_BYTES, max_size=BHS_BYTES))
    return bhs, data


def login_is_safe(phase: Phase, data: st.DataObject) -> None:
    """Nothing escapes a login, each answer is one PDU, and no proof means no session."""
    chap = _CHAP if data.draw(st.booleans()) else None
    login = Login(_TARGETS, LoginSettings(discovery_chap=chap), 32)
    stage = data.draw(st.integers(0, 1))
    for _ in range(_MOST_REQUESTS):
        step = login.feed(*data.draw(_request(stage)))
        if isinstance(step, Accepted):
            _check_accepted(phase, login, step, chap)
            return
        if not isinstance(step, Reply | Refused):
            return
        _check_pdu(phase, step.pdu)
        if isinstance(step, Refused):
            return
        if step.pdu[1] & 0x80:
            stage = step.pdu[1] & 3


def _check_pdu(phase: Phase, pdu: bytes) -> None:
    length = int.from_bytes(pdu[5:8], "big")
    if length > DEFAULT_DATA_SEGMENT_LENGTH or len(pdu) != BHS_BYTES + length + -length % 4:
        raise Finding(phase, "data_segment_length", f"{length} of {len(pdu)} bytes")


def _check_accepted(
    phase: Phase, login: Login, step: Accepted, discovery: ChapAuthentication | None
) -> None:
    result = step.result
    # Nobody guesses a response to a challenge.
    node = result.node
    secret = discovery if node is None else node.authentication(result.initiator)
    if secret is not None:
        raise Finding(phase, "CHAP_R", f"{result.initiator} is let in without a proof")
    if (node is None) != (result.values["SessionType"] == "Discovery"):
        raise Finding(phase, "SessionType", f"{result.values['SessionType']} session with {node}")
    for key in KEYS:
        value = result.values[key.name]
        if key.form is Form.NUMBER and not key.low <= int(value) <= key.high:
            raise Finding(phase, key.name, f"comes to {value}")
    _check_pdu(phase, login.accept(1, result.cmd_sn))


# ---- text ----


def text_is_safe(phase: Phase, data: st.DataObject) -> None:
    """A text exchange takes any bytes: an answer of at most what may be sent, or a refusal."""
    node = data.draw(st.sampled_from((None, _TARGETS[_OPEN])))
    exchange = TextExchange(lambda pairs: _answer(pairs, node))
    ttt = 0xFFFFFFFF
    for _ in range(_MOST_REQUESTS):
        sent = data.draw(_keys())
        most = data.draw(st.sampled_from((512, 8192, 1 << 24)))
        bhs = TEXT_REQUEST.build(
            opcode=Opcode.TEXT_REQUEST,
            final=data.draw(st.booleans()),
            continued=data.draw(st.booleans()),
            data_segment_length=len(sent),
            ttt=data.draw(st.sampled_from((ttt, ttt, 0xFFFFFFFF, 7))),
        )
        try:
            response = exchange.feed(bhs, sent, most)
        except NegotiationError:
            ttt = 0xFFFFFFFF
            continue
        if len(response.data) > min(most, DEFAULT_DATA_SEGMENT_LENGTH):
            raise Finding(phase, "data_segment_length", f"{len(response.data)} bytes")
        ttt = int.from_bytes(response.bhs[20:24], "big")


def _answer(pairs: Pairs, own: TargetNode | None) -> Pairs:
    replies = Negotiation({}).answer(pairs, FULL_FEATURE)
    asked = dict(pairs).get("SendTargets")
    if asked is not None:
        replies += send_targets(asked, _TARGETS.values(), _INITIATOR, [], own)
    return replies
