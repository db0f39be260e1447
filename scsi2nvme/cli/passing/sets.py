"""What a subsystem's memory is divided into, how worn that is, and how soon it answers.

JSON has the keys of nvme-cli 2.3. Spec: NVMe Base 2.0c 5.3, 5.16.1, 5.17.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Callable
from functools import partial

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, log_pages, succeed
from scsi2nvme.cli.passing.row import (
    FORCE,
    OUTPUT_FORMAT,
    RAW_BINARY,
    RETAIN,
    Option,
    Row,
    always,
    number,
)
from scsi2nvme.fields import Structure
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.sets import (
    DOMAIN,
    ENDURANCE_EVENTS_LOG,
    LIST_HEADER_BYTES,
    NVM_SET,
    PREDICTABLE_LATENCY,
    PREDICTABLE_LATENCY_EVENTS_LOG,
    PREDICTABLE_LATENCY_LOG,
)
from scsi2nvme.nvme.structures import IDENTIFY_BYTES

_CNS_NVM_SETS, _CNS_DOMAINS, _CNS_ENDURANCE_GROUPS = 0x04, 0x18, 0x19
_MOST_EVENTS = 2044  # that are read: a page of 4 KiB


def _identified(cns: int, first: int, verb: str) -> Conversation[bytes]:
    """Return a list of Identify from an identifier on, which stands in CDW11."""
    command = NvmeCommand(
        AdminOpcode.IDENTIFY, cdw10=cns, cdw11=first, data_in=IDENTIFY_BYTES, admin=True
    )
    return (yield from succeed(command, verb)).data


def _entries(
    cns: int, entry: Structure, keys: tuple[str, str], first: str, given: argparse.Namespace
) -> Conversation[Shown]:
    """Show a list whose entries are structures."""
    raw = yield from _identified(cns, getattr(given, first), given.subcommand)
    most = (len(raw) - LIST_HEADER_BYTES) // entry.size
    places = (LIST_HEADER_BYTES + index * entry.size for index in range(min(raw[0], most)))
    rows = [dict(entry.parse(raw[at : at + entry.size]).items()) for at in places]
    lines = [f"{keys[0]}: {raw[0]}"]
    for place, row in enumerate(rows):
        lines.append(f"[{place}]:")
        lines += [f"  {name:<22}: {value}" for name, value in row.items()]
    return Shown(tuple(lines), {keys[0]: raw[0], keys[1]: rows}, raw)


def _groups(given: argparse.Namespace) -> Conversation[Shown]:
    raw = yield from _identified(_CNS_ENDURANCE_GROUPS, given.endgrp_id, "list-endgrp")
    count = min(int.from_bytes(raw[:2], "little"), len(raw) // 2 - 1)
    found = struct.unpack_from(f"<{count}H", raw, 2)
    lines = [f"num of endurance group ids: {count}"]
    lines += [f"[{place:4}]:{each:#x}" for place, each in enumerate(found)]
    rows = [{"endgrp_id": each} for each in found]
    return Shown(tuple(lines), {"num_endgrp_id": count, "endgrp_list": rows}, raw)


def _latency(given: argparse.Namespace) -> Conversation[Shown]:
    more = {"cdw11": given.nvmset_id << 16}
    size = PREDICTABLE_LATENCY.size
    raw = yield from log_pages(PREDICTABLE_LATENCY_LOG, size, nsid=0, more=more)
    values = PREDICTABLE_LATENCY.parse(raw)
    lines = tuple(f"{name:<24}: {value}" for name, value in values.items())
    return Shown(lines, dict(values.items()), raw)


def _events(lid: int, given: argparse.Namespace) -> Conversation[Shown]:
    """Show a list of those that have had an event, which are no more in it after."""
    if not 0 < given.log_entries <= _MOST_EVENTS:
        raise UsageError(f"{given.subcommand}: --log-entries is between 1 and {_MOST_EVENTS}")
    size = 8 + 2 * given.log_entries
    raw = yield from log_pages(lid, size, nsid=0, retain=given.rae)
    (there,) = struct.unpack_from("<Q", raw)
    count = min(there, given.log_entries)
    found = struct.unpack_from(f"<{count}H", raw, 8)
    lines = [f"Number of Entries Available: {there}"]
    lines += [f"Entry[{place}]: {each}" for place, each in enumerate(found, 1)]
    rows = [{"entry": each} for each in found]
    return Shown(tuple(lines), {"num_entries_avail": there, "list_of_entries": rows}, raw)


def _capacity(given: argparse.Namespace) -> Conversation[Shown]:
    command = NvmeCommand(
        AdminOpcode.CAPACITY_MANAGEMENT,
        cdw10=given.operation | given.element_id << 16,
        cdw11=given.cap_lower,
        cdw12=given.cap_upper,
        admin=True,
    )
    created = (yield from succeed(command, "capacity-mgmt")).dw0 & 0xFFFF
    lines = ("Capacity Management Command is Success", f"Created Element Identifier: {created}")
    return Shown(lines[: 1 + bool(created)], {"element_id": created})


def _list(
    name: str, doc: str, option: Option, show: Callable[[argparse.Namespace], Conversation[Shown]]
) -> Row:
    return Row(name, doc[:1].lower() + doc[1:], f"{doc}.", (option, OUTPUT_FORMAT), show)


_EVENTS = (
    Option("log-entries", "e", "how many are read", default=_MOST_EVENTS),
    RETAIN,
    OUTPUT_FORMAT,
    RAW_BINARY,
)

ROWS = (
    _list(
        "id-nvmset",
        "List the NVM sets of a controller",
        Option("nvmset_id", "i", "the least that is listed (default: 0)", number(16)),
        partial(_entries, _CNS_NVM_SETS, NVM_SET, ("nid", "NVMSet"), "nvmset_id"),
    ),
    _list(
        "id-domain",
        "List the domains of an NVM subsystem",
        Option("dom-id", "d", "the least that is listed (default: 0)", number(16)),
        partial(_entries, _CNS_DOMAINS, DOMAIN, ("num_dom_entries", "domain_list"), "dom_id"),
    ),
    _list(
        "list-endgrp",
        "List the endurance groups of a controller",
        Option("endgrp-id", "i", "the least that is listed (default: 0)", number(16)),
        _groups,
    ),
    Row(
        "predictable-lat-log",
        "show how soon an NVM set answers, and for how long",
        "Show the Predictable Latency Per NVM Set log.",
        (Option("nvmset-id", "i", "NVM set (default: 0)", number(16)), OUTPUT_FORMAT, RAW_BINARY),
        _latency,
    ),
    Row(
        "pred-lat-event-agg-log",
        "list NVM sets that answer later than they should",
        "Show the Predictable Latency Event Aggregate log: NVM sets that have had an event.",
        _EVENTS,
        partial(_events, PREDICTABLE_LATENCY_EVENTS_LOG),
    ),
    Row(
        "endurance-event-agg-log",
        "list endurance groups that have had an event",
        "Show the Endurance Group Event Aggregate log: groups that have had an event.",
        _EVENTS,
        partial(_events, ENDURANCE_EVENTS_LOG),
    ),
    Row(
        "capacity-mgmt",
        "create and delete endurance groups and NVM sets",
        "Send Capacity Management: 0 select a configuration, 1 create an endurance group, 2 "
        "delete one, 3 create an NVM set, 4 delete one. While a daemon serves the controller it "
        "wants --force.",
        (
            Option("operation", "o", "0 to 4, as above", number(4)),
            Option("element-id", "i", "configuration, endurance group or NVM set", number(16)),
            Option("cap-lower", "l", "bytes of what is created, dword 0"),
            Option("cap-upper", "u", "bytes of what is created, dword 1"),
            FORCE,
        ),
        _capacity,
        always,
    ),
)
