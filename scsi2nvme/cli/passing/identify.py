"""What Identify tells, besides `id-ctrl` and `id-ns`. Spec: NVMe Base 2.0c 5.17."""

from __future__ import annotations

import argparse
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
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
from scsi2nvme.fields import Structure
from scsi2nvme.nvme.registers import LAYOUTS, Register, decode
from scsi2nvme.nvme.structures import (
    EXTENDED_LBA_FORMAT,
    IDENTIFY_NAMESPACE,
    IDENTIFY_NVM_NAMESPACE,
    NAMESPACE_GRANULARITY,
    NAMESPACE_GRANULARITY_LIST,
)

_CNS_ACTIVE_OF_COMMAND_SET = 0x07
_CNS_ALLOCATED, _CNS_ALLOCATED_OF_COMMAND_SET = 0x10, 0x1A
_CNS_NAMESPACE_OF_FORMAT, _CNS_NVM_NAMESPACE_OF_FORMAT = 0x09, 0x0A
_CNS_GRANULARITY, _CNS_UUIDS, _CNS_COMMAND_SETS = 0x16, 0x17, 0x1C
_UUID_ENTRY, _UUID_BYTES = 32, 16
_ASSOCIATIONS = ("", "of the PCI Vendor ID", "of the PCI Subsystem Vendor ID", "reserved")
_COMMAND_SETS = ("NVM", "Key Value", "Zoned Namespace")
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
    cns = admin.CNS_ATTACHED_CONTROLLERS if attached else admin.CNS_CONTROLLERS
    command = admin.identify(cns, given.namespace_id, cntid=given.cntid)
    raw = (yield from succeed(command, "list-ctrl")).data
    identifiers = admin.controller_list(raw)
    lines = [f"num of ctrls present: {len(identifiers)}"]
    lines += [f"[{place:4}]:{each:#x}" for place, each in enumerate(identifiers)]
    json = {"num_ctrl": len(identifiers), "ctrl_list": [{"ctrl_id": each} for each in identifiers]}
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


def _granularity(given: argparse.Namespace) -> Conversation[Shown]:
    raw = (yield from succeed(admin.identify(_CNS_GRANULARITY), "id-ns-granularity")).data
    head, size = NAMESPACE_GRANULARITY_LIST.parse(raw), NAMESPACE_GRANULARITY.size
    first = NAMESPACE_GRANULARITY_LIST.size
    places = range(first, len(raw) - size + 1, size)[: head["num-descriptors"] + 1]
    rows = [dict(NAMESPACE_GRANULARITY.parse(raw[at : at + size]).items()) for at in places]
    lines = [f"{name:<16}: {value:#x}" for name, value in head.items()]
    for place, row in enumerate(rows):
        lines.append(f"Entry[{place:2}]: " + ", ".join(f"{name} {v}" for name, v in row.items()))
    return Shown(tuple(lines), {**head, "namespace-granularity-list": rows}, raw)


def _uuids(given: argparse.Namespace) -> Conversation[Shown]:
    raw = (yield from succeed(admin.identify(_CNS_UUIDS), "id-uuid")).data
    found: list[tuple[int, str]] = []
    for at in range(_UUID_ENTRY, len(raw) - _UUID_ENTRY + 1, _UUID_ENTRY):
        one = raw[at + _UUID_ENTRY - _UUID_BYTES : at + _UUID_ENTRY]
        if not any(one):
            break
        found.append((raw[at] & 3, _identifier(_UUID, one)))
    lines = [
        f"Entry[{place:3}]: uuid {uuid}, association {whose:#x} {_ASSOCIATIONS[whose]}"
        for place, (whose, uuid) in enumerate(found, 1)
    ]
    rows = [{"association": whose, "uuid": uuid} for whose, uuid in found]
    return Shown(tuple(lines) or ("there are none",), {"UUID-list": rows}, raw)


def _command_sets(given: argparse.Namespace) -> Conversation[Shown]:
    """Show the combinations of command sets; the list ends with an empty one."""
    command = admin.identify(_CNS_COMMAND_SETS, cntid=given.controller_id)
    raw = (yield from succeed(command, "id-iocs")).data
    vectors = [vector for (vector,) in struct.iter_unpack("<Q", raw)]
    found = {place: vector for place, vector in enumerate(vectors) if vector}
    lines = [f"I/O Command Set Combination[{place}]: {each:#x}" for place, each in found.items()]
    for place, each in found.items():
        named = ", ".join(name for bit, name in enumerate(_COMMAND_SETS) if each >> bit & 1)
        lines.append(f"IOCS_{place} ({named})")
    return Shown(tuple(lines), {f"iocs_{place}": each for place, each in found.items()}, raw)


def _nvm_id_ns(given: argparse.Namespace) -> Conversation[Shown]:
    command = admin.identify(admin.CNS_COMMAND_SET_NAMESPACE, given.namespace_id)
    command = replace(command, cdw14=given.uuid_index)
    raw = (yield from succeed(command, "nvm-id-ns")).data
    values = IDENTIFY_NVM_NAMESPACE.parse(raw)
    every, size = values.bytes("elbafs"), EXTENDED_LBA_FORMAT.size
    formats = [
        EXTENDED_LBA_FORMAT.parse(every[at : at + size]) for at in range(0, len(every), size)
    ]
    json = {"lbstm": values.lbstm, "pic": values.pic}
    rows = [dict(one.items()) for one in formats]
    lines = [f"{name:<6}: {value:#x}" for name, value in json.items()]
    lines += [f"elbaf {n:2}: sts {row['sts']} pif {row['pif']}" for n, row in enumerate(rows)]
    return Shown(tuple(lines), {**json, "elbafs": rows}, raw)


def _of_format(cns: int, layout: Structure) -> Callable[[argparse.Namespace], Conversation[Shown]]:
    """Return the conversation of a verb that shows what a namespace of some format can do."""

    def converse(given: argparse.Namespace) -> Conversation[Shown]:
        command = admin.identify(cns)
        command = replace(command, cdw11=given.lba_format_index, cdw14=given.uuid_index)
        raw = (yield from succeed(command, given.subcommand)).data
        values = layout.parse(raw[: layout.size])
        lines = (
            fields_of(values)
            if given.verbose
            else tuple(f"{name:<8}: {value:#x}" for name, value in values.items())
        )
        return Shown(lines, dict(values.items()), raw)

    return converse


def _show_regs(given: argparse.Namespace) -> Conversation[Shown]:
    found: dict[int, int] = yield Properties()
    lines: list[str] = []
    raw = bytearray(Register.DOORBELLS)
    for offset, value in sorted(found.items()):
        register = Register(offset)
        lines.append(f"{register.name.lower():<8}: {value:x}")
        structure = LAYOUTS.get(register)
        if given.human_readable and structure is not None:
            lines += fields_of(decode(structure, value))
        width = 8 if register in (Register.CAP, Register.ASQ, Register.ACQ, Register.CMBMSC) else 4
        raw[offset : offset + width] = value.to_bytes(width, "little")
    json = {Register(offset).name.lower(): value for offset, value in sorted(found.items())}
    return Shown(tuple(lines), json, bytes(raw))


_OF_FORMAT = (
    Option("lba-format-index", "i", "LBA format (default: 0)", number(16)),
    Option("uuid-index", "U", "UUID index", number(7)),
    flag("verbose", "v", "say what the fields mean"),
    OUTPUT_FORMAT,
)

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
        "nvm-id-ns",
        "show what protection information a namespace may have",
        "Show Identify Namespace of the NVM Command Set.",
        (namespace_id(), Option("uuid-index", "U", "UUID index", number(7)), OUTPUT_FORMAT),
        _nvm_id_ns,
    ),
    Row(
        "id-ns-lba-format",
        "show what a namespace of some LBA format can do",
        "Show Identify Namespace of an LBA format, whether or not a namespace has it.",
        _OF_FORMAT,
        _of_format(_CNS_NAMESPACE_OF_FORMAT, IDENTIFY_NAMESPACE),
    ),
    Row(
        "nvm-id-ns-lba-format",
        "show what protection information some LBA format may have",
        "Show Identify Namespace of the NVM Command Set of an LBA format.",
        _OF_FORMAT,
        _of_format(_CNS_NVM_NAMESPACE_OF_FORMAT, IDENTIFY_NVM_NAMESPACE),
    ),
    Row(
        "id-ns-granularity",
        "show which sizes of namespaces waste nothing",
        "Show the Namespace Granularity List.",
        (OUTPUT_FORMAT,),
        _granularity,
    ),
    Row(
        "id-uuid",
        "list vendors' UUIDs, of their features and logs",
        "Show the UUID List.",
        (OUTPUT_FORMAT, RAW_BINARY),
        _uuids,
    ),
    Row(
        "id-iocs",
        "list combinations of command sets",
        "Show the I/O Command Set data: which command sets a controller has together.",
        (
            Option(
                "controller-id",
                "c",
                "the controller's identifier (default: that which is asked)",
                number(16),
                0xFFFF,
            ),
            OUTPUT_FORMAT,
        ),
        _command_sets,
    ),
    Row(
        "show-regs",
        "show a controller's properties (registers)",
        "Show the properties of a controller, which PCI has as registers.",
        (OUTPUT_FORMAT, HUMAN_READABLE),
        _show_regs,
    ),
)
