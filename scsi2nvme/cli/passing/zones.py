"""Zoned namespaces: the verbs of `nvme zns`, whose names begin with `zns-` here.

JSON has the keys of nvme-cli 2.3. Spec: ZNS Command Set 1.1b.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.passing.conversation import (
    Conversation,
    Done,
    Shown,
    identify_namespace,
    log_pages,
    succeed,
)
from scsi2nvme.cli.passing.row import (
    FORCE,
    HUMAN_READABLE,
    OUTPUT_FORMAT,
    RETAIN,
    TIMEOUT,
    Option,
    Row,
    always,
    flag,
    namespace_id,
    number,
)
from scsi2nvme.cli.passing.shown import fields_of
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.fields import Structure, Values
from scsi2nvme.nvme.command import NvmeCommand
from scsi2nvme.nvme.namespace import format_index
from scsi2nvme.nvme.zoned import (
    CHANGED_ZONES,
    CHANGED_ZONES_LOG,
    IDENTIFY_ZONED_CONTROLLER,
    IDENTIFY_ZONED_NAMESPACE,
    LBA_FORMAT_EXTENSION,
    ZONED_COMMAND_SET,
    ZoneAction,
    ZoneState,
    manage_zone,
    number_of,
    report_zones,
    zones_of,
)

_ZONES_AT_A_TIME = 63  # with the header a page of 4 KiB, which every controller moves
_STATES = 8  # of --state: all, and each of the seven
_SEQUENTIAL = 2
_NAMES: dict[int, str] = {
    ZoneState.EMPTY: "EMPTY",
    ZoneState.IMPLICITLY_OPENED: "IMP_OPENED",
    ZoneState.EXPLICITLY_OPENED: "EXP_OPENED",
    ZoneState.CLOSED: "CLOSED",
    ZoneState.READ_ONLY: "READONLY",
    ZoneState.FULL: "FULL",
    ZoneState.OFFLINE: "OFFLINE",
}
_DONE = {
    ZoneAction.CLOSE: "closed",
    ZoneAction.FINISH: "finished",
    ZoneAction.OPEN: "opened",
    ZoneAction.RESET: "reset",
    ZoneAction.OFFLINE: "offline",
}


def _zone(one: Values) -> dict[str, Any]:
    state = _NAMES.get(one.zs, f"{one.zs:#x}")
    kind = "SEQWRITE_REQ" if one.zt == _SEQUENTIAL else f"{one.zt:#x}"
    attributes = one.raw[2]
    numbers = {"slba": one.zslba, "wp": one.wp, "cap": one.zcap}
    return {**numbers, "state": state, "type": kind, "attrs": attributes}


def _report(given: argparse.Namespace) -> Conversation[Shown]:
    """Show zones, a page at a time; each page goes on behind the zone that the last one ended with.

    A zone is as long as the format says, so that no page is asked for again.
    """
    if given.state >= _STATES:
        raise UsageError(f"zns-report-zones: --state is between 0 and {_STATES - 1}")
    nsid, states = given.namespace_id, given.state
    size = max((yield from zone_format(nsid)).zsze, 1)  # whatever it tells
    asked = report_zones(nsid, given.start_lba, 0, states=states)
    there = number_of((yield from succeed(asked, "zns-report-zones")).data)
    wanted = there if given.descs is None else min(given.descs, there)
    found: list[Values] = []
    at = given.start_lba
    while len(found) < wanted:
        most = min(_ZONES_AT_A_TIME, wanted - len(found))
        command = report_zones(nsid, at, most, states=states)
        page = list(zones_of((yield from succeed(command, "zns-report-zones")).data))
        found += page
        if len(page) < most:
            break  # others have changed their state meanwhile
        if page[-1].zslba + size <= at:
            raise OperationError("zns-report-zones: the controller tells of the same zones again")
        at = page[-1].zslba + size
        yield Done(len(found) / wanted)
    rows = [_zone(one) for one in found]
    lines = [f"nr_zones: {there}"]
    lines += [
        f"SLBA: {row['slba']:#x} WP: {row['wp']:#x} Cap: {row['cap']:#x} State: {row['state']} "
        f"Type: {row['type']} Attrs: {row['attrs']:#x}"
        for row in rows
    ]
    raw = b"".join(bytes(one.raw) for one in found)
    return Shown(tuple(lines), {"nr_zones": there, "zone_list": rows}, raw)


def zone_format(nsid: int) -> Conversation[Values]:
    """Return what the format that a namespace has says of its zones."""
    index = format_index((yield from identify_namespace(nsid)))
    raw = (yield from succeed(_identify_namespace(nsid), "zoned namespace")).data
    extensions = IDENTIFY_ZONED_NAMESPACE.parse(raw).bytes("lbafes")
    size = LBA_FORMAT_EXTENSION.size
    extension = extensions[index * size : (index + 1) * size]
    return LBA_FORMAT_EXTENSION.parse(extension.ljust(size, b"\0"))


def _identify_namespace(nsid: int) -> NvmeCommand:
    return admin.identify(admin.CNS_COMMAND_SET_NAMESPACE, nsid, csi=ZONED_COMMAND_SET)


def _identified(
    given: argparse.Namespace, command: NvmeCommand, layout: Structure
) -> Conversation[Shown]:
    raw = (yield from succeed(command, given.subcommand)).data
    values = layout.parse(raw)
    json = {name: value for name, value in values.items() if name != "lbafes"}
    lines = tuple(f"{name:<5}: {value}" for name, value in json.items())
    if "lbafes" not in layout.by_name:
        return Shown(lines, json, raw)
    size, every = LBA_FORMAT_EXTENSION.size, values.bytes("lbafes")
    parts = (LBA_FORMAT_EXTENSION.parse(every[at : at + size]) for at in range(0, len(every), size))
    formats = [dict(one.items()) for one in parts]
    while formats and not formats[-1]["zsze"]:  # their places are the formats' numbers
        formats.pop()
    if given.human_readable:
        lines = tuple(line for line in fields_of(values) if not line.startswith("\tlbafes"))
    lines += tuple(f"lbafe {n}: {one}" for n, one in enumerate(formats))
    return Shown(lines, {**json, "lbafe": formats}, raw)


def _id_ns(given: argparse.Namespace) -> Conversation[Shown]:
    command = _identify_namespace(given.namespace_id)
    return (yield from _identified(given, command, IDENTIFY_ZONED_NAMESPACE))


def _id_ctrl(given: argparse.Namespace) -> Conversation[Shown]:
    command = admin.identify(admin.CNS_COMMAND_SET_CONTROLLER, csi=ZONED_COMMAND_SET)
    return (yield from _identified(given, command, IDENTIFY_ZONED_CONTROLLER))


def _changed(given: argparse.Namespace) -> Conversation[Shown]:
    size, nsid = CHANGED_ZONES.size, given.namespace_id
    raw = yield from log_pages(CHANGED_ZONES_LOG, size, nsid=nsid, retain=given.rae)
    values = CHANGED_ZONES.parse(raw)
    every = values.bytes("zids")
    zones = [int.from_bytes(every[at : at + 8], "little") for at in range(0, len(every), 8)]
    zones = zones[: values.nrzid]
    lines = (
        f"nrzid: {values.nrzid:#x}",
        *(f"zid {place}: {z:#x}" for place, z in enumerate(zones)),
    )
    return Shown(lines, {"nrzid": values.nrzid, "zone_list": [{"slba": z} for z in zones]}, raw)


def _manage(action: ZoneAction) -> Callable[[argparse.Namespace], Conversation[Shown]]:
    """Return the conversation of a verb that changes the state of zones."""

    def converse(given: argparse.Namespace) -> Conversation[Shown]:
        if given.select_all == (given.start_lba is not None):
            raise UsageError(f"{given.subcommand}: give --start-lba of a zone, or --select-all")
        lba, nsid = given.start_lba or 0, given.namespace_id
        command = manage_zone(nsid, lba, action, every=given.select_all)
        command = replace(command, timeout_s=given.timeout / 1000 or None)
        yield from succeed(command, given.subcommand)
        which = "every zone that it suits" if given.select_all else f"zone at {lba:#x}"
        return Shown((f"{given.subcommand}: Success, {which} is {_DONE[action]}",))

    return converse


def _management(action: ZoneAction) -> Row:
    verb = action.name.lower()
    told = "take zones offline" if action is ZoneAction.OFFLINE else f"{verb} zones"
    return Row(
        f"zns-{verb}-zone",
        told,
        f"{told.capitalize()}. While a daemon serves the namespace it wants --force.",
        (
            namespace_id(),
            Option("start-lba", "s", "first block of the zone", number(64), None),
            flag("select-all", "a", "every zone that it suits"),
            TIMEOUT,
            FORCE,
        ),
        _manage(action),
        always,
    )


ROWS = (
    Row(
        "zns-report-zones",
        "list zones, with their states and write pointers",
        "List the zones of a namespace.",
        (
            namespace_id(),
            Option("start-lba", "s", "from the zone of this block on", number(64)),
            Option("descs", "d", "at most so many (default: all)", default=None),
            Option(
                "state",
                "S",
                "0 all, 1 empty, 2 implicitly and 3 explicitly opened, 4 closed, 5 full, "
                "6 read only, 7 offline",
                number(8),
            ),
            OUTPUT_FORMAT,
        ),
        _report,
    ),
    *map(_management, ZoneAction),
    Row(
        "zns-id-ns",
        "show what a zoned namespace tells of its zones",
        "Show Identify Namespace of the Zoned Namespace Command Set.",
        (namespace_id(), OUTPUT_FORMAT, HUMAN_READABLE),
        _id_ns,
    ),
    Row(
        "zns-id-ctrl",
        "show what limits appends to zones",
        "Show Identify Controller of the Zoned Namespace Command Set.",
        (OUTPUT_FORMAT,),
        _id_ctrl,
    ),
    Row(
        "zns-changed-zone-list",
        "list zones that the controller has changed",
        "Show the Changed Zone List of a namespace, which begins anew when it is read; but a "
        "daemon reads it itself.",
        (namespace_id(), OUTPUT_FORMAT, RETAIN),
        _changed,
    ),
)
