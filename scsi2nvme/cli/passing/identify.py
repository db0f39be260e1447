"""What Identify tells, besides `id-ctrl` and `id-ns`. Spec: NVMe Base 2.0c 5.17."""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator
from typing import Any

from scsi2nvme.cli.passing.conversation import Conversation, Properties, Shown, succeed
from scsi2nvme.cli.passing.row import (
    HUMAN_READABLE,
    OUTPUT_FORMAT,
    RAW_BINARY,
    Option,
    Row,
    flag,
    namespace_id,
    number,
)
from scsi2nvme.cli.passing.shown import fields_of
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.nvme.registers import CAP, CC, CRTO, CSTS, VS, Register, decode

_CNS_ACTIVE_OF_COMMAND_SET = 0x07
_CNS_ALLOCATED, _CNS_ALLOCATED_OF_COMMAND_SET = 0x10, 0x1A
_CNS_ATTACHED_CONTROLLERS, _CNS_CONTROLLERS = 0x12, 0x13
_NIDT = {1: "eui64", 2: "nguid", 3: "uuid", 4: "csi"}
_UUID = 3


def _list_ns(given: argparse.Namespace) -> Conversation[Shown]:
    cns = _CNS_ALLOCATED if given.all else admin.CNS_ACTIVE_LIST
    if given.csi is not None:
        cns = _CNS_ALLOCATED_OF_COMMAND_SET if given.all else _CNS_ACTIVE_OF_COMMAND_SET
    first = max(given.namespace_id, 1)
    command = admin.identify(cns, first - 1, csi=given.csi or 0)
    raw = (yield from succeed(command, "list-ns")).data
    nsids = [nsid for nsid in struct.unpack(f"<{len(raw) // 4}I", raw) if nsid]
    lines = (f"[{place:4}]:{nsid:#x}" for place, nsid in enumerate(nsids))
    return Shown(tuple(lines), {"nsid_list": [{"nsid": nsid} for nsid in nsids]}, raw)


def _list_ctrl(given: argparse.Namespace) -> Conversation[Shown]:
    attached = given.namespace_id != 0
    cns = _CNS_ATTACHED_CONTROLLERS if attached else _CNS_CONTROLLERS
    command = admin.identify(cns, given.namespace_id, cntid=given.cntid)
    raw = (yield from succeed(command, "list-ctrl")).data
    count = min(int.from_bytes(raw[:2], "little"), len(raw) // 2 - 1)
    identifiers = struct.unpack_from(f"<{count}H", raw, 2)
    lines = [f"num of ctrls present: {count}"]
    lines += [f"[{place:4}]:{each:#x}" for place, each in enumerate(identifiers)]
    json = {"num_ctrl": count, "ctrl_list": [{"ctrl_id": each} for each in identifiers]}
    return Shown(tuple(lines), json, raw)


def _descriptors(raw: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield where a descriptor stands, its type, and the identifier."""
    at = 0
    while at + 4 <= len(raw) and raw[at + 1]:
        yield at, raw[at], raw[at + 4 : at + 4 + raw[at + 1]]
        at += 4 + raw[at + 1]


def _identifier(nidt: int, nid: bytes) -> str:
    if nidt == _UUID and len(nid) == 16:
        from uuid import UUID

        return str(UUID(bytes=nid))
    return nid.hex()


def _ns_descs(given: argparse.Namespace) -> Conversation[Shown]:
    command = admin.identify(admin.CNS_DESCRIPTORS, given.namespace_id)
    raw = (yield from succeed(command, "ns-descs")).data
    lines = [f"NVME Namespace Identification Descriptors NS {given.namespace_id}:"]
    rows: list[dict[str, Any]] = []
    for at, nidt, nid in _descriptors(raw):
        kind, told = _NIDT.get(nidt, f"type {nidt:#x}"), _identifier(nidt, nid)
        lines.append(f"{kind:<7} : {told}")
        row = {"loc": at, "nidt": nidt, "nidl": len(nid), "type": kind}
        rows.append({**row, kind: told})
    return Shown(tuple(lines), {"ns-descs": rows}, raw)


_DECODED = {
    Register.CAP: CAP,
    Register.VS: VS,
    Register.CC: CC,
    Register.CSTS: CSTS,
    Register.CRTO: CRTO,
}


def _show_regs(given: argparse.Namespace) -> Conversation[Shown]:
    found: dict[int, int] = yield Properties()
    lines: list[str] = []
    raw = bytearray(Register.DOORBELLS)
    for offset, value in sorted(found.items()):
        register = Register(offset)
        lines.append(f"{register.name.lower():<8}: {value:x}")
        structure = _DECODED.get(register)
        if given.human_readable and structure is not None:
            lines += fields_of(decode(structure, value))
        width = 8 if register in (Register.CAP, Register.ASQ, Register.ACQ, Register.CMBMSC) else 4
        raw[offset : offset + width] = value.to_bytes(width, "little")
    json = {Register(offset).name.lower(): value for offset, value in sorted(found.items())}
    return Shown(tuple(lines), json, bytes(raw))


ROWS = (
    Row(
        "list-ns",
        "list namespaces by their identifiers",
        "List the namespaces that a controller has, by their identifiers.",
        (
            namespace_id(1, "the least that is listed (default: 1)"),
            Option("csi", "y", "of this I/O command set only", number(8), None),
            flag("all", "a", "also those that are not attached"),
            OUTPUT_FORMAT,
        ),
        _list_ns,
    ),
    Row(
        "list-ctrl",
        "list controllers of the NVM subsystem",
        "List the controllers of a controller's NVM subsystem, or those that have a namespace.",
        (
            Option("cntid", "c", "the least that is listed (default: 0)", number(16)),
            namespace_id(0, "those that this namespace is attached to"),
            OUTPUT_FORMAT,
        ),
        _list_ctrl,
    ),
    Row(
        "ns-descs",
        "show a namespace's identification descriptors",
        "Show the Namespace Identification Descriptors of a namespace.",
        (namespace_id(), OUTPUT_FORMAT, RAW_BINARY),
        _ns_descs,
        alias="id-ns-descs",
    ),
    Row(
        "show-regs",
        "show a controller's properties (registers)",
        "Show the properties of a controller, which PCI has as registers.",
        (OUTPUT_FORMAT, HUMAN_READABLE),
        _show_regs,
    ),
)
