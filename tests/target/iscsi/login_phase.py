"""Targets to log in to, and the PDUs of a login, made and checked by hand."""

from __future__ import annotations

import struct

from scsi2nvme.target.iscsi.chap import ChapAuthentication, Credentials
from scsi2nvme.target.iscsi.login import Accepted, Login, LoginSettings, Refused, Reply, Step
from scsi2nvme.target.iscsi.node import AclEntry, TargetNode
from scsi2nvme.target.iscsi.pdu import LoginStatus
from tests.iscsi_pdu import Pdu

INITIATOR = "iqn.2026-11.test:initiator"
OPEN = "iqn.2026-11.test:open"
CLOSED = "iqn.2026-11.test:closed"
SECRET = "iqn.2026-11.test:secret"
ISID = bytes.fromhex("80000000abcd")
CHAP = ChapAuthentication(Credentials("user", b"initiator-secret"))
MUTUAL = ChapAuthentication(CHAP.initiator, Credentials("server", b"the-target-secret"))
TARGETS = {
    node.iqn: node
    for node in (
        TargetNode(OPEN, alias="disk", portal_group_tag=7),
        TargetNode(CLOSED, acl={"iqn.2026-11.test:other": AclEntry()}),
        TargetNode(SECRET, alias="vault", acl={INITIATOR: AclEntry(chap=MUTUAL)}),
    )
}
NAMES = {"InitiatorName": INITIATOR, "TargetName": OPEN}
WINDOW = 32


def login(settings: LoginSettings | None = None) -> Login:
    return Login(TARGETS, settings or LoginSettings(), WINDOW)


def request(
    csg: int = 1,
    nsg: int = 3,
    *,
    transit: bool = True,
    more: bool = False,
    opcode: int = 0x43,
    version_min: int = 0,
    isid: bytes = ISID,
    tsih: int = 0,
    cid: int = 5,
    itt: int = 0x1234,
    length: int = 0,
    ahs: int = 0,
) -> bytes:
    flags = transit << 7 | more << 6 | csg << 2 | nsg
    bhs = struct.pack(
        ">BBBBB3s6sHIHxxII16x",
        opcode,
        flags,
        0,
        version_min,
        ahs,
        length.to_bytes(3, "big"),
        isid,
        tsih,
        itt,
        cid,
        100,
        0x55,
    )
    assert len(bhs) == 48
    return bhs


def pdu_of(wire: bytes) -> Pdu:
    length = int.from_bytes(wire[5:8], "big")
    assert len(wire) == 48 + length + -length % 4
    return Pdu(wire[:48], wire[48 : 48 + length])


def replied(step: Step) -> Pdu:
    assert isinstance(step, Reply), step
    pdu = pdu_of(step.pdu)
    assert pdu.login_status == 0
    return pdu


def refused(step: Step, status: LoginStatus) -> Pdu:
    assert isinstance(step, Refused), step
    assert step.status == status, step.reason
    pdu = pdu_of(step.pdu)
    assert pdu.login_status == status
    assert not pdu.flags & 0xC0
    assert pdu.data == b""
    return pdu


def accepted(step: Step) -> Accepted:
    assert isinstance(step, Accepted), step
    return step
