"""Security protocols, and what may be forbidden. Spec: NVMe Base 2.0c 5.18, 5.25, 5.26."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, succeed
from scsi2nvme.cli.passing.data import whole_file
from scsi2nvme.cli.passing.row import (
    FORCE,
    RAW_BINARY,
    Option,
    Row,
    always,
    namespace_id,
    number,
)
from scsi2nvme.cli.passing.shown import hex_dump
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand

_MOST_BYTES = 1 << 20


def _protocol(given: argparse.Namespace) -> int:
    return int(given.secp << 24 | given.spsp << 8 | given.nssf)


def _send(given: argparse.Namespace) -> Conversation[Shown]:
    data = whole_file(given.file, _MOST_BYTES)
    length = given.tl or len(data)
    if length > len(data):
        raise UsageError(f"security-send: --tl {length}: {given.file} has {len(data)} bytes")
    command = NvmeCommand(
        AdminOpcode.SECURITY_SEND,
        given.namespace_id,
        cdw10=_protocol(given),
        cdw11=length,
        data_out=data[:length],
        admin=True,
    )
    done = yield from succeed(command, "security-send")
    line = f"NVME Security Send Command Success:{done.dw0}"
    return Shown((line,), {"result": done.dw0})


def _receive(given: argparse.Namespace) -> Conversation[Shown]:
    length = given.al or given.size
    if not 0 < length <= _MOST_BYTES or given.size > _MOST_BYTES:
        raise UsageError(f"security-recv: give --size, 1 to {_MOST_BYTES} bytes")
    command = NvmeCommand(
        AdminOpcode.SECURITY_RECEIVE,
        given.namespace_id,
        cdw10=_protocol(given),
        cdw11=length,
        data_in=max(length, given.size),
        admin=True,
    )
    done = yield from succeed(command, "security-recv")
    head = f"NVME Security Receive Command Success:{done.dw0}"
    return Shown((head, *hex_dump(done.data)), {"data": done.data.hex()}, done.data)


def _lockdown(given: argparse.Namespace) -> Conversation[Shown]:
    command = NvmeCommand(
        AdminOpcode.LOCKDOWN,
        cdw10=given.scp | given.prhbt << 4 | given.ifc << 5 | given.ofi << 8,
        cdw14=given.uuid,
        admin=True,
    )
    yield from succeed(command, "lockdown")
    return Shown(("Lockdown Command is Successful",))


_PROTOCOL = (
    namespace_id(0, "namespace, for protocols that heed it"),
    Option("nssf", "N", "NVMe security specific field: RPMB target of protocol 0xEA", number(8)),
    Option("secp", "p", "security protocol: 0 which there are, 1 to 6 TCG, 0xEA NVMe", number(8)),
    Option("spsp", "s", "protocol specific: of TCG a ComID", number(16)),
)

ROWS = (
    Row(
        "security-send",
        "send a security protocol's data",
        "Send data of a security protocol (TCG, RPMB), which may lock or erase a disk. While a "
        "daemon serves it, it wants --force.",
        (
            *_PROTOCOL,
            Option("file", "f", "file of the data", str, None, "FILE", required=True),
            Option("tl", "t", "transfer length (default: the file's)"),
            FORCE,
        ),
        _send,
        always,
    ),
    Row(
        "security-recv",
        "receive a security protocol's data",
        "Receive data of a security protocol (TCG, RPMB): protocol 0 lists those that there are. "
        "While a daemon serves the disk it may want --force, as an answer is taken only once.",
        (
            *_PROTOCOL,
            Option("size", "x", "bytes of room", default=None, required=True),
            Option("al", "t", "allocation length (default: --size)"),
            RAW_BINARY,
            FORCE,
        ),
        _receive,
        always,
    ),
    Row(
        "lockdown",
        "forbid commands, or features, or allow them again",
        "Forbid a command, or a feature, to everyone who comes by an interface, or allow it "
        "again. While a daemon serves the controller it wants --force: initiators may miss it.",
        (
            Option("ofi", "o", "opcode or feature", number(8)),
            Option("ifc", "f", "0 admin queue, 1 that and out-of-band, 2 out-of-band", number(2)),
            Option("prhbt", "p", "1 forbid, 0 allow", number(1)),
            Option(
                "scp", "s", "0 admin opcode, 2 feature, 3 NVMe-MI opcode, 4 PCIe opcode", number(4)
            ),
            Option("uuid", "U", "UUID index", number(7)),
            FORCE,
        ),
        _lockdown,
        always,
    ),
)
