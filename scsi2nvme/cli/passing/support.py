"""What a controller supports, wears and reserves: logs and Identify data as nvme-cli shows them.

JSON has the keys of nvme-cli 2.3, which are the names of the structures' fields.
Spec: NVMe Base 2.0c 5.16, 5.17, 7.5.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, log_pages, succeed
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
from scsi2nvme.fields import Structure, Values
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.log_structures import ENDURANCE_GROUP, ENDURANCE_GROUP_LOG
from scsi2nvme.nvme.reservations import (
    EXTENDED_STATUS_BYTES,
    REGISTERED_CONTROLLER,
    REGISTERED_CONTROLLER_EXTENDED,
    RESERVATION_NOTIFICATION,
    RESERVATION_NOTIFICATION_LOG,
    RESERVATION_STATUS,
)
from scsi2nvme.nvme.structures import IDENTIFY_INDEPENDENT_NAMESPACE, IDENTIFY_NVM_CONTROLLER

_CNS_INDEPENDENT = 0x08
_SUPPORTED_LOGS, _FEATURE_EFFECTS, _MI_EFFECTS = 0x00, 0x12, 0x13
_ENTRIES = 256
_SUPPORTED = 1 << 0
_PAGE_DWORDS, _MOST_DWORDS = 1024, (2 << 20) // 4
_NOTICES = {"count": "lpc", "rn_log_type": "type", "num_logs": "nalp", "NSID": "nsid"}


def _lines(values: Values, *, human: bool) -> tuple[str, ...]:
    if human:
        return fields_of(values)
    return tuple(f"{name:<26}: {value}" for name, value in values.items())


def _structure(
    command: NvmeCommand, layout: Structure, name: str, *, human: bool
) -> Conversation[Shown]:
    """Ask for a structure; return it as it is shown."""
    raw = (yield from succeed(command, name)).data
    values = layout.parse(raw)
    return Shown(_lines(values, human=human), dict(values.items()), raw)


def _nvm_controller(given: argparse.Namespace) -> Conversation[Shown]:
    command = admin.identify(admin.CNS_COMMAND_SET_CONTROLLER)
    return (yield from _structure(command, IDENTIFY_NVM_CONTROLLER, "nvm-id-ctrl", human=False))


def _independent(given: argparse.Namespace) -> Conversation[Shown]:
    command = admin.identify(_CNS_INDEPENDENT, given.namespace_id)
    layout, name = IDENTIFY_INDEPENDENT_NAMESPACE, "cmdset-ind-id-ns"
    return (yield from _structure(command, layout, name, human=given.human_readable))


def _effects_of(
    lid: int, head: str, key: str, entry: Callable[[int], str], given: argparse.Namespace
) -> Conversation[Shown]:
    """Show a log of 256 dwords, those of what is supported."""
    raw = yield from log_pages(lid, 4 * _ENTRIES, nsid=0)
    found = [
        (index, effects)
        for index, effects in enumerate(struct.unpack(f"<{_ENTRIES}I", raw))
        if effects & _SUPPORTED
    ]
    lines = (head, *(f"{index:02X}h: {effects:#010x}" for index, effects in found))
    return Shown(lines, {key: [{entry(index): effects} for index, effects in found]}, raw)


def _endurance(given: argparse.Namespace) -> Conversation[Shown]:
    more = {"cdw11": given.group_id << 16}
    raw = yield from log_pages(ENDURANCE_GROUP_LOG, ENDURANCE_GROUP.size, nsid=0, more=more)
    values = ENDURANCE_GROUP.parse(raw)
    return Shown(_lines(values, human=False), dict(values.items()), raw)


def _notification(given: argparse.Namespace) -> Conversation[Shown]:
    raw = yield from log_pages(RESERVATION_NOTIFICATION_LOG, RESERVATION_NOTIFICATION.size, nsid=0)
    values = RESERVATION_NOTIFICATION.parse(raw)
    json = {key: values[name] for key, name in _NOTICES.items()}
    return Shown(tuple(f"{key:<12}: {value:#x}" for key, value in json.items()), json, raw)


def _report(given: argparse.Namespace) -> Conversation[Shown]:
    dwords = given.numd or _PAGE_DWORDS
    start = EXTENDED_STATUS_BYTES if given.eds else RESERVATION_STATUS.size
    if not start <= 4 * dwords <= 4 * _MOST_DWORDS:
        raise UsageError(f"resv-report: --numd is between {start // 4} and {_MOST_DWORDS}")
    command = NvmeCommand(
        Opcode.RESERVATION_REPORT,
        given.namespace_id,
        cdw10=dwords - 1,
        cdw11=int(given.eds),
        data_in=4 * dwords,
    )
    raw = (yield from succeed(command, "resv-report")).data
    status = RESERVATION_STATUS.parse(raw[: RESERVATION_STATUS.size])
    layout = REGISTERED_CONTROLLER_EXTENDED if given.eds else REGISTERED_CONTROLLER
    places = range(start, len(raw) - layout.size + 1, layout.size)[: status.regctl]
    found = [layout.parse(raw[at : at + layout.size]) for at in places]
    holders = [_registered(each, extended=given.eds) for each in found]
    head = {name: status[name] for name in ("gen", "rtype", "regctl", "ptpls")}
    lines = [f"{name:<8}: {value}" for name, value in head.items()]
    for place, holder in enumerate(holders):
        lines.append(f"regctl[{place}]:")
        lines += [f"  {name:<8}: {value}" for name, value in holder.items()]
    key = "regctlext" if given.eds else "regctls"
    return Shown(tuple(lines), {**head, key: holders}, raw)


def _registered(one: Values, *, extended: bool) -> dict[str, Any]:
    shown = {"cntlid": one.cntlid, "rcsts": one.raw[2]}
    if extended:
        return {**shown, "rkey": one.rkey, "hostid": one.bytes("hostid").hex()}
    return {**shown, "hostid": one.hostid, "rkey": one.rkey}


ROWS = (
    Row(
        "nvm-id-ctrl",
        "show what limits commands of the NVM command set",
        "Show Identify Controller of the NVM Command Set.",
        (OUTPUT_FORMAT,),
        _nvm_controller,
    ),
    Row(
        "cmdset-ind-id-ns",
        "show what namespaces of all command sets tell",
        "Show Identify Namespace as far as it is independent of the command set.",
        (namespace_id(), OUTPUT_FORMAT, HUMAN_READABLE, RAW_BINARY),
        _independent,
    ),
    Row(
        "supported-log-pages",
        "show which log pages there are",
        "Show the log of supported log pages.",
        (OUTPUT_FORMAT,),
        partial(
            _effects_of,
            *(_SUPPORTED_LOGS, "Supported log pages:", "supported_logs"),
            lambda index: f"lid_0x{index:x} ",
        ),
    ),
    Row(
        "fid-support-effects-log",
        "show which features there are, and what they change",
        "Show the Feature Identifiers Supported and Effects log.",
        (OUTPUT_FORMAT,),
        partial(
            _effects_of,
            *(_FEATURE_EFFECTS, "Supported features:", "fid_support"),
            lambda index: f"fid_{index}",
        ),
    ),
    Row(
        "mi-cmd-support-effects-log",
        "show which management commands there are",
        "Show the NVMe-MI Commands Supported and Effects log.",
        (OUTPUT_FORMAT,),
        partial(
            _effects_of,
            *(_MI_EFFECTS, "Supported NVMe-MI commands:", "mi_command_support"),
            lambda index: f"mi_cmd_{index}",
        ),
    ),
    Row(
        "endurance-log",
        "show how worn an endurance group is",
        "Show the Endurance Group Information log.",
        (Option("group-id", "g", "endurance group (default: 0)", number(16)), OUTPUT_FORMAT),
        _endurance,
    ),
    Row(
        "resv-notif-log",
        "show what has happened to reservations",
        "Show the next entry of the Reservation Notification log, which goes by that; but a "
        "daemon reads it itself.",
        (OUTPUT_FORMAT,),
        _notification,
    ),
    Row(
        "resv-report",
        "show who is registered, and who holds a reservation",
        "Show the reservations that a namespace keeps itself (Reservation Report).",
        (
            namespace_id(),
            Option("numd", "d", "dwords to read (default: 1024)"),
            flag("eds", "e", "with host identifiers of 128 bits"),
            OUTPUT_FORMAT,
            RAW_BINARY,
        ),
        _report,
    ),
)
