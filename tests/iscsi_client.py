"""A small iSCSI initiator over a blocking socket, for tests of the portal.

It shares no code with the target. It sends well-formed PDUs by its
methods and anything at all by `send` and `send_raw`. Spec: RFC 7143.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.iscsi_chap import Chap
from tests.iscsi_pdu import (
    ASYNC,
    DATA_IN,
    DATA_OUT,
    FINAL,
    IMMEDIATE,
    LOGIN,
    LOGIN_RESPONSE,
    LOGOUT,
    NOP_IN,
    NOP_OUT,
    R2T,
    RESERVED_TAG,
    SCSI_COMMAND,
    SCSI_RESPONSE,
    SIMPLE,
    TASK_MANAGEMENT,
    TEXT,
    TEXT_RESPONSE,
    Pdu,
    ScsiResult,
    crc32c,
    lun_bytes,
    pairs_bytes,
    parse_pairs,
)


class LoginError(Exception):
    """A login ended with a status other than success."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:#06x}")
        self.status = status


class DisconnectedError(Exception):
    """The target closed the connection."""


CHECK_CONDITION, UNIT_ATTENTION = 2, 6  # status, sense key
_MOST_ATTENTIONS = 64

OPERATIONAL_KEYS = {
    "HeaderDigest": "None",
    "DataDigest": "None",
    "InitialR2T": "Yes",
    "ImmediateData": "Yes",
    "MaxRecvDataSegmentLength": "262144",
    "MaxBurstLength": "1048576",
    "FirstBurstLength": "262144",
    "MaxOutstandingR2T": "1",
    "ErrorRecoveryLevel": "0",
}


@dataclass
class Initiator:
    """One connection to a portal, from the address `source`; a context manager that closes it."""

    address: tuple[str, int]
    name: str = "iqn.2026-11.test:initiator"
    isid: bytes = b"\x80\x00\x00\x00\x00\x01"
    cid: int = 0
    tsih: int = 0
    cmd_sn: int = 1
    exp_stat_sn: int = 0
    timeout: float = 10.0
    source: str = ""
    header_digest: bool = False
    data_digest: bool = False
    keys: dict[str, str] = field(default_factory=dict)  # as the target answered
    max_cmd_sn: int = 0
    sock: socket.socket = field(init=False, repr=False)
    _itt: int = 0

    def __post_init__(self) -> None:
        source = (self.source, 0) if self.source else None
        self.sock = socket.create_connection(self.address, self.timeout, source)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Initiator:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket without a logout."""
        self.sock.close()

    def reset(self) -> None:
        """Close the socket with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # PDUs

    def next_itt(self) -> int:
        """Return an initiator task tag that was not used before."""
        self._itt += 1
        return self._itt

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def wire(self, bhs: bytes, data: bytes = b"", ahs: bytes = b"") -> bytes:
        """Return a PDU's bytes: lengths, padding and digests are added."""
        assert len(bhs) == 48
        assert len(ahs) % 4 == 0
        head = bytearray(bhs + ahs)
        head[4] = len(ahs) // 4
        head[5:8] = len(data).to_bytes(3, "big")
        padded = data + bytes(-len(data) % 4)
        wire = bytes(head)
        if self.header_digest:
            wire += struct.pack("<I", crc32c(bytes(head)))
        wire += padded
        if self.data_digest and data:
            wire += struct.pack("<I", crc32c(padded))
        return wire

    def send(self, bhs: bytes, data: bytes = b"", ahs: bytes = b"") -> None:
        """Send one PDU; see `wire`."""
        self.send_raw(self.wire(bhs, data, ahs))

    def _exactly(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            try:
                part = self.sock.recv(length - len(received))
            except ConnectionResetError:
                raise DisconnectedError from None
            if not part:
                raise DisconnectedError
            received += part
        return received

    def receive(self) -> Pdu:
        """Return the next PDU; DisconnectedError at the end, TimeoutError if none comes."""
        bhs = self._exactly(48)
        ahs = self._exactly(bhs[4] * 4)
        if self.header_digest:
            assert struct.unpack("<I", self._exactly(4))[0] == crc32c(bhs + ahs)
        length = int.from_bytes(bhs[5:8], "big")
        padded = self._exactly(length + -length % 4)
        assert not any(padded[length:]), "padding is zero"
        if self.data_digest and length:
            assert struct.unpack("<I", self._exactly(4))[0] == crc32c(padded)
        pdu = Pdu(bhs, padded[:length])
        self.max_cmd_sn = pdu.max_cmd_sn
        consumes = pdu.opcode != R2T and not (pdu.opcode == DATA_IN and not pdu.flags & 1)
        if consumes and not (pdu.opcode == NOP_IN and pdu.itt == RESERVED_TAG):
            self.exp_stat_sn = (pdu.stat_sn + 1) & 0xFFFFFFFF
        return pdu

    def receive_answer(self) -> Pdu:
        """Return the next PDU that answers something: no ping of the target's, after a silence."""
        while (pdu := self.receive()).opcode == NOP_IN and pdu.itt == RESERVED_TAG:
            pass
        return pdu

    def closed_by_target(self) -> bool:
        """Whether the target closes the connection, without another PDU."""
        try:
            self.receive()
        except DisconnectedError:
            return True
        return False

    def asked_to_log_out(self) -> bool:
        """Whether the target asks for a logout."""
        pdu = self.receive_answer()
        return pdu.opcode == ASYNC and pdu.bhs[36] == 1  # AsyncEvent. Spec: RFC 7143 11.9.1

    def sent_away(self) -> bool:
        """Whether the target asks for a logout, and then closes the connection."""
        return self.asked_to_log_out() and self.closed_by_target()

    def leaves(self) -> bool:
        """Whether the target asks for a logout, and is content with it."""
        return (
            self.asked_to_log_out() and self.logout().flags & FINAL != 0 and self.closed_by_target()
        )

    def take_cmd_sn(self) -> int:
        """Return CmdSN and advance it."""
        self.cmd_sn = (self.cmd_sn + 1) & 0xFFFFFFFF
        return (self.cmd_sn - 1) & 0xFFFFFFFF

    # Login

    def login_bhs(
        self, csg: int, nsg: int = 0, *, transit: bool = False, more: bool = False
    ) -> bytes:
        """Return a Login Request's header."""
        flags = transit << 7 | more << 6 | csg << 2 | nsg
        return struct.pack(
            ">BBBB4x6sHIHxxII16x",
            LOGIN | IMMEDIATE,
            flags,
            0,
            0,
            self.isid,
            self.tsih,
            self._itt,
            self.cid,
            self.cmd_sn,
            self.exp_stat_sn,
        )

    def login_step(
        self,
        pairs: Mapping[str, str] | bytes,
        csg: int,
        nsg: int = 0,
        *,
        transit: bool = False,
        more: bool = False,
    ) -> Pdu:
        """Send one Login Request and return the response; LoginError by its status."""
        data = pairs if isinstance(pairs, bytes) else pairs_bytes(pairs)
        self.send(self.login_bhs(csg, nsg, transit=transit, more=more), data)
        pdu = self.receive()
        assert pdu.opcode == LOGIN_RESPONSE
        if pdu.login_status:
            raise LoginError(pdu.login_status)
        self.keys |= dict(pdu.pairs)
        return pdu

    def login(
        self,
        target: str = "",
        keys: Mapping[str, str] | None = None,
        *,
        chap: Chap | None = None,
    ) -> Pdu:
        """Log in, to a target or for discovery, and return the last response."""
        names = {"InitiatorName": self.name}
        names |= {"TargetName": target} if target else {"SessionType": "Discovery"}
        operational = OPERATIONAL_KEYS | dict(keys or {})
        if self.tsih:
            connection = ("HeaderDigest", "DataDigest", "MaxRecvDataSegmentLength")
            operational = {key: operational[key] for key in connection}
        if chap is not None:
            self.login_step(names | {"AuthMethod": "CHAP,None"}, 0)
            pdu = self.login_step({"CHAP_A": chap.algorithm}, 0)
            answer = chap.answer(dict(pdu.pairs))
            pdu = self.login_step(answer, 0, 1, transit=True)
            assert pdu.flags & 0x80, "the security stage ends"
            if chap.target_secret:
                chap.check(dict(pdu.pairs))
        else:
            operational = names | operational
        pdu = self.login_step(operational, 1, 3, transit=True)
        assert pdu.flags == 0x87, "full feature phase"
        self.tsih = pdu.word16(14)
        self.max_cmd_sn = pdu.max_cmd_sn
        self.header_digest = self.keys.get("HeaderDigest") == "CRC32C"
        self.data_digest = self.keys.get("DataDigest") == "CRC32C"
        return pdu

    # Full feature phase

    def text_bhs(self, *, final: bool = True, more: bool = False, ttt: int = RESERVED_TAG) -> bytes:
        """Return an immediate Text Request's header."""
        return struct.pack(
            ">BBxx4x8xIIII16x",
            TEXT | IMMEDIATE,
            final << 7 | more << 6,
            self.next_itt(),
            ttt,
            self.cmd_sn,
            self.exp_stat_sn,
        )

    def text(self, pairs: Mapping[str, str]) -> list[tuple[str, str]]:
        """Send keys and return the whole answer, however many PDUs it takes."""
        self.send(self.text_bhs(), pairs_bytes(pairs))
        data = b""
        while True:
            pdu = self.receive_answer()
            assert pdu.opcode == TEXT_RESPONSE, f"opcode {pdu.opcode:#x}"
            data += pdu.data
            if pdu.flags & FINAL:
                assert pdu.ttt == RESERVED_TAG
                return parse_pairs(data)
            assert pdu.ttt != RESERVED_TAG
            self.send(self.text_bhs(ttt=pdu.ttt))

    def logout(self, reason: int = 0, cid: int | None = None) -> Pdu:
        """Log out and return the response."""
        bhs = struct.pack(
            ">BBxx4x8xIHxxII16x",
            LOGOUT | IMMEDIATE,
            FINAL | reason,
            self.next_itt(),
            self.cid if cid is None else cid,
            self.cmd_sn,
            self.exp_stat_sn,
        )
        self.send(bhs)
        return self.receive_answer()

    def task_management(
        self, function: int, lun: int = 0, referenced: int = RESERVED_TAG, ref_cmd_sn: int = 0
    ) -> Pdu:
        """Request a function and return the response."""
        self.request_task_management(function, lun, referenced, ref_cmd_sn)
        return self.receive_answer()

    def request_task_management(
        self, function: int, lun: int = 0, referenced: int = RESERVED_TAG, ref_cmd_sn: int = 0
    ) -> None:
        """Request a function."""
        bhs = struct.pack(
            ">BBxx4x8sIIIII12x",
            TASK_MANAGEMENT | IMMEDIATE,
            FINAL | function,
            lun_bytes(lun),
            self.next_itt(),
            referenced,
            self.cmd_sn,
            self.exp_stat_sn,
            ref_cmd_sn,
        )
        self.send(bhs)

    def ping(self, data: bytes = b"") -> Pdu:
        """Send an immediate NOP-Out and return the NOP-In."""
        bhs = struct.pack(
            ">BBxx4x8xIIII16x",
            NOP_OUT | IMMEDIATE,
            FINAL,
            self.next_itt(),
            RESERVED_TAG,
            self.cmd_sn,
            self.exp_stat_sn,
        )
        self.send(bhs, data)
        return self.receive_answer()

    def command_bhs(
        self,
        lun: int,
        cdb: bytes,
        *,
        itt: int,
        edtl: int = 0,
        read: bool = False,
        write: bool = False,
        final: bool = True,
        attribute: int = SIMPLE,
        cmd_sn: int | None = None,
    ) -> bytes:
        """Return a SCSI Command's header; a CmdSN is taken unless one is given."""
        return struct.pack(
            ">BBxx4x8sIIII16s",
            SCSI_COMMAND,
            final << 7 | read << 6 | write << 5 | attribute,
            lun_bytes(lun),
            itt,
            edtl,
            self.take_cmd_sn() if cmd_sn is None else cmd_sn,
            self.exp_stat_sn,
            cdb[:16].ljust(16, b"\0"),
        )

    def data_out_bhs(
        self, lun: int, itt: int, ttt: int, data_sn: int, offset: int, *, final: bool
    ) -> bytes:
        """Return a Data-Out's header."""
        return struct.pack(
            ">BBxx4x8sIIxxxxIxxxxIIxxxx",
            DATA_OUT,
            final << 7,
            lun_bytes(lun),
            itt,
            ttt,
            self.exp_stat_sn,
            data_sn,
            offset,
        )

    def hear(self, lun: int = 0) -> None:
        """Take the unit attentions that wait for this initiator; what else there is may stay."""
        for _ in range(_MOST_ATTENTIONS):
            result = self.command(lun, bytes(6))
            if result.status != CHECK_CONDITION or result.sense_triple[0] != UNIT_ATTENTION:
                return
        raise AssertionError(f"LUN {lun}: unit attentions without end, {result.sense_triple}")

    def command(
        self,
        lun: int,
        cdb: bytes,
        *,
        data_out: bytes = b"",
        data_in: int = 0,
        attribute: int = SIMPLE,
        immediate: int | None = None,
    ) -> ScsiResult:
        """Run one SCSI command to its end, alone on the connection; as `begin`."""
        itt = self.begin(
            lun, cdb, data_out=data_out, data_in=data_in, attribute=attribute, immediate=immediate
        )
        return self.finish(itt, lun, data_out)

    def begin(
        self,
        lun: int,
        cdb: bytes,
        *,
        data_out: bytes = b"",
        data_in: int = 0,
        attribute: int = SIMPLE,
        immediate: int | None = None,
    ) -> int:
        """Send one SCSI command and return its tag; `finish` is to follow.

        Of `data_out`, `immediate` bytes go with the command (default: as many
        as the keys allow, at most 8192), the rest as R2Ts ask for it.
        """
        itt = self.next_itt()
        ahs = b""
        if len(cdb) > 16:
            body = b"\0" + cdb[16:]
            ahs = struct.pack(">HB", len(cdb) - 15, 1) + body
            ahs += bytes(-len(ahs) % 4)
        if immediate is None:
            allowed = self.keys.get("ImmediateData", "Yes") == "Yes"
            burst = int(self.keys.get("FirstBurstLength", "65536").replace("Irrelevant", "0"))
            immediate = min(8192, burst) if allowed else 0
        first = data_out[:immediate]
        bhs = self.command_bhs(
            lun,
            cdb,
            itt=itt,
            edtl=len(data_out) or data_in,
            read=data_in > 0,
            write=len(data_out) > 0,
            attribute=attribute,
        )
        self.send(bhs, first, ahs)
        return itt

    def finish(self, itt: int, lun: int = 0, data_out: bytes = b"") -> ScsiResult:
        """Serve R2Ts and collect Data-In until the command `itt` has ended."""
        received = bytearray()
        data_sn = r2t_sn = 0
        while True:
            pdu = self.receive()
            if pdu.opcode == NOP_IN:
                continue
            assert pdu.itt == itt, f"opcode {pdu.opcode:#x} for {pdu.itt:#x}"
            match pdu.opcode:
                case 0x31:
                    assert pdu.word32(36) == r2t_sn
                    r2t_sn += 1
                    self._answer_r2t(pdu, lun, data_out)
                case 0x25:
                    assert pdu.word32(36) == data_sn
                    assert pdu.word32(40) == len(received)
                    data_sn += 1
                    received += pdu.data
                    if pdu.flags & 1:
                        return self.result(pdu, bytes(received))
                case 0x21:
                    return self.result(pdu, bytes(received))
                case other:
                    raise AssertionError(f"opcode {other:#x}")

    @staticmethod
    def result(pdu: Pdu, data: bytes) -> ScsiResult:
        """Return how a command ended: `pdu` is its response, or the Data-In with its status."""
        residual = pdu.word32(44)
        responds = pdu.opcode == SCSI_RESPONSE
        length = int.from_bytes(pdu.data[:2], "big") if responds else 0
        return ScsiResult(
            pdu.scsi_status,
            data,
            pdu.data[2 : 2 + length] if responds else b"",
            overflow=residual if pdu.flags & 4 else 0,
            underflow=residual if pdu.flags & 2 else 0,
            response=pdu.response if responds else 0,
        )

    def _answer_r2t(self, pdu: Pdu, lun: int, data_out: bytes) -> None:
        offset, length = pdu.word32(40), pdu.word32(44)
        assert offset + length <= len(data_out), "R2T beyond the data"
        limit = int(self.keys.get("MaxRecvDataSegmentLength", "8192"))
        for data_sn, start in enumerate(range(offset, offset + length, limit)):
            end = min(start + limit, offset + length)
            final = end == offset + length
            bhs = self.data_out_bhs(lun, pdu.itt, pdu.ttt, data_sn, start, final=final)
            self.send(bhs, data_out[start:end])
