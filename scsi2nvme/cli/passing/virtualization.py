"""Secondary controllers, which are virtual functions (SR-IOV), and what they have.

Spec: NVMe Base 2.0c 5.31 (Virtualization Management), 8.22 (Virtualization Enhancements).
"""

from __future__ import annotations

import argparse

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, succeed
from scsi2nvme.cli.passing.row import (
    FORCE,
    HUMAN_READABLE,
    OUTPUT_FORMAT,
    Option,
    Row,
    always,
    number,
)
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.structures import PRIMARY_CONTROLLER_CAPABILITIES, SECONDARY_CONTROLLER

_CNS_PRIMARY_CAPABILITIES, _CNS_SECONDARIES = 0x14, 0x15
_HEADER_BYTES, _MOST_ENTRIES = 32, 127
_FOR_PRIMARY, _OFFLINE, _ASSIGN, _ONLINE = 1, 7, 8, 9
_ACTIONS = (_FOR_PRIMARY, _OFFLINE, _ASSIGN, _ONLINE)
_STATES = ("Offline", "Online")
# nvme-cli's names in JSON.
_ENTRY = {
    "secondary-controller-identifier": "scid",
    "primary-controller-identifier": "pcid",
    "secondary-controller-state": "scs",
    "virtual-function-number": "vfn",
    "num-virtual-queues": "nvq",
    "num-virtual-interrupts": "nvi",
}


def _capabilities(given: argparse.Namespace) -> Conversation[Shown]:
    command = admin.identify(_CNS_PRIMARY_CAPABILITIES, cntid=given.cntlid)
    raw = (yield from succeed(command, "primary-ctrl-caps")).data
    values = PRIMARY_CONTROLLER_CAPABILITIES.parse(raw)
    fields = PRIMARY_CONTROLLER_CAPABILITIES.by_name
    lines = ["NVME Identify Primary Controller Capabilities:"]
    for name, field in fields.items():
        doc = f" ({field.doc})" if given.human_readable and field.doc else ""
        lines.append(f"{name:<7}: {values[name]}{doc}")
    return Shown(tuple(lines), {name: values[name] for name in fields}, raw)


def _secondaries(given: argparse.Namespace) -> Conversation[Shown]:
    command = admin.identify(_CNS_SECONDARIES, cntid=given.cntid)
    raw = (yield from succeed(command, "list-secondary")).data
    count = min(raw[0], given.num_entries, _MOST_ENTRIES)
    size = SECONDARY_CONTROLLER.size
    starts = range(_HEADER_BYTES, _HEADER_BYTES + count * size, size)
    rows = [SECONDARY_CONTROLLER.parse(raw[at : at + size]) for at in starts]
    lines = [
        f"[{place:4}]:{row.scid:#x} {_STATES[row.scs & 1]}, of primary {row.pcid:#x}, virtual "
        f"function {row.vfn}, {row.nvq} queues, {row.nvi} interrupts"
        for place, row in enumerate(rows)
    ]
    entries = [{name: row[field] for name, field in _ENTRY.items()} for row in rows]
    json = {"num": count, "secondary-controllers": entries}
    return Shown((f"num of secondary ctrls: {count}", *lines), json, raw)


def _manage(given: argparse.Namespace) -> Conversation[Shown]:
    if given.act not in _ACTIONS:
        known = "1 (the primary's flexible resources), 7 (offline), 8 (assign), 9 (online)"
        raise UsageError(f"virt-mgmt: action {given.act} is unknown; known: {known}")
    command = NvmeCommand(
        AdminOpcode.VIRTUALIZATION_MANAGEMENT,
        cdw10=given.act | given.rt << 8 | given.cntlid << 16,
        cdw11=given.nr,
        admin=True,
    )
    modified = (yield from succeed(command, "virt-mgmt")).dw0 & 0xFFFF
    line = f"success, Number of Controller Resources Modified (NRM):{modified:#x}"
    return Shown((line,), {"nrm": modified})


ROWS = (
    Row(
        "primary-ctrl-caps",
        "show what a primary controller can give to secondary ones",
        "Show how many queues and interrupts a primary controller has for its secondary ones.",
        (
            Option("cntlid", "c", "the controller's identifier (default: 0)", number(16)),
            OUTPUT_FORMAT,
            HUMAN_READABLE,
        ),
        _capabilities,
    ),
    Row(
        "list-secondary",
        "list secondary controllers, and whether they are online",
        "List the secondary controllers of a primary one, which are its virtual functions: with "
        "how many queues and interrupts, online or offline.",
        (
            Option("cntid", "c", "the least that is listed (default: 0)", number(16)),
            Option("num-entries", "e", "at most so many (default: all)", number(16), _MOST_ENTRIES),
            OUTPUT_FORMAT,
        ),
        _secondaries,
    ),
    Row(
        "virt-mgmt",
        "give a secondary controller what it needs, and bring it online",
        "Give flexible queues (RT 0) and interrupts (RT 1) to a secondary controller (action 8), "
        "bring it online (9) or offline (7), or say how many of them the primary one has after its "
        "next function level reset (1). While a daemon serves the controller, it wants --force.",
        (
            Option("cntlid", "c", "the controller's identifier", number(16)),
            Option("rt", "r", "which resources: 0 queues, 1 interrupts", number(3)),
            Option("act", "a", "1, 7, 8 or 9, as above", number(4), None, required=True),
            Option("nr", "n", "how many of them", number(16)),
            FORCE,
        ),
        _manage,
        always,
    ),
)
