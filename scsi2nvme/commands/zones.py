"""REPORT ZONES, and what opens, closes, finishes and resets zones.

A zone of NVMe is one of SCSI. Where its capacity is less than its size, the rest is a gap zone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import chain

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.zone_access import with_room
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.namespace import Zones
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.zoned import (
    LIST_CLOSED,
    LIST_EXPLICITLY_OPENED,
    SEQUENTIAL_WRITE_REQUIRED,
    ZoneAction,
    ZoneState,
    manage_zone,
    number_of,
    report_zones,
    zones_of,
)
from scsi2nvme.scsi.result import GOOD, CheckCondition, NvmeError, Result, Translation
from scsi2nvme.scsi.sense import (
    INSUFFICIENT_ZONE_RESOURCES,
    INTERNAL_TARGET_FAILURE,
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    ZONE_IS_OFFLINE,
    ZONE_IS_READ_ONLY,
    Sense,
)
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

HEADER = Structure(
    "REPORT ZONES parameter data header",
    64,
    (
        Field("zone_list_length", 0, 0, 32, "bytes of descriptors"),
        Field("same", 4, 0, 4, "0h: types and lengths may differ, 1h: they do not"),
        Field("maximum_lba", 8, 0, 64),
        Field("granularity", 16, 0, 64, "logical blocks from zone start to zone start"),
    ),
    spec="ZBC-2 (REPORT ZONES)",
)
DESCRIPTOR = Structure(
    "Zone descriptor",
    64,
    (
        Field("zone_type", 0, 0, 4, "2h: sequential write required, 5h: gap"),
        Field("zone_condition", 1, 4, 4),
        Field("puep", 1, 2, 1),
        Field("non_seq", 1, 1, 1, "obsolete"),
        Field("reset", 1, 0, 1, "to reset its write pointer is recommended"),
        Field("zone_length", 8, 0, 64),
        Field("zone_start_lba", 16, 0, 64),
        Field("write_pointer_lba", 24, 0, 64, "all ones: not valid"),
    ),
    spec="ZBC-2 (REPORT ZONES)",
)
GAP = 0x5
NOT_WRITE_POINTER = 0x0
_NO_POINTER = (1 << 64) - 1
_WITHOUT_POINTER = frozenset({ZoneState.FULL, ZoneState.READ_ONLY, ZoneState.OFFLINE})
# Of one Zone Management Receive: what others of the loop wait for to be translated.
_ZONES_AT_ONCE = 512
_LONGEST = 0xFFFFFFFF // DESCRIPTOR.size * DESCRIPTOR.size  # that ZONE LIST LENGTH can tell
_MOST_DESCRIPTORS = (MAXIMUM_TRANSFER_BYTES - HEADER.size) // DESCRIPTOR.size

Descriptor = dict[str, int]


def _condition(option: int) -> Callable[[Descriptor], bool]:
    return lambda zone: zone["zone_condition"] == option


# REPORTING OPTIONS: which zones are reported.
_EVERY, _BUT_GAPS = 0x00, 0x3E
SELECTED: dict[int, Callable[[Descriptor], bool]] = {
    _EVERY: lambda zone: True,
    **{int(state): _condition(state) for state in (1, 2, 3, 4)},
    0x05: _condition(ZoneState.FULL),
    0x06: _condition(ZoneState.READ_ONLY),
    0x07: _condition(ZoneState.OFFLINE),
    0x10: lambda zone: bool(zone["reset"]),
    0x11: lambda zone: False,  # NON_SEQ is that of zones in which any block may be written
    _BUT_GAPS: lambda zone: zone["zone_type"] != GAP,
    0x3F: _condition(NOT_WRITE_POINTER),
}


def _descriptors(zones: Zones, zone: Values) -> Iterator[Descriptor]:
    """Yield what a zone is in SCSI, and the gap behind it.

    One that was opened and closed again, but never written, is empty. Spec: ZBC-2 (CLOSE ZONE).
    """
    unwritten = zone.zs == ZoneState.CLOSED and zone.wp == zone.zslba
    yield {
        "zone_type": SEQUENTIAL_WRITE_REQUIRED,
        "zone_condition": ZoneState.EMPTY if unwritten else zone.zs,
        "reset": zone.rzr,
        "zone_length": zones.capacity,
        "zone_start_lba": zone.zslba,
        "write_pointer_lba": _NO_POINTER if zone.zs in _WITHOUT_POINTER else zone.wp,
    }
    if zones.gaps:
        yield {
            "zone_type": GAP,
            "zone_condition": NOT_WRITE_POINTER,
            "reset": 0,
            "zone_length": zones.size - zones.capacity,
            "zone_start_lba": zone.zslba + zones.capacity,
            "write_pointer_lba": _NO_POINTER,
        }


def _list(
    task: Task, zones: Zones, most: int, *, counts: bool
) -> Generator[NvmeCommand, Completion, tuple[int, bytes]]:
    """Return how many are selected from ZONE START LBA on, and the first `most` of them.

    They are looked for until there are `most`, or with `counts` up to the end.
    """
    lu, start = task.lu, task.cdb["zone_start_lba"]
    selected = SELECTED[task.cdb["reporting_options"]]
    at, end = zones.start(start), lu.capacity_blocks
    number, shown = 0, bytearray()
    while at < end and (counts or number < most):
        count = min((end - at) // zones.size, _ZONES_AT_ONCE, _room(lu))
        if not counts:
            count = min(count, most - number + 1)
        listed = tuple(zones_of((yield report_zones(lu.nsid, at, count)).data))
        if not listed or any(zone.zslba != at + n * zones.size for n, zone in enumerate(listed)):
            raise CheckCondition(Sense(INTERNAL_TARGET_FAILURE))  # it is no list of these zones
        at += len(listed) * zones.size
        for each in chain.from_iterable(_descriptors(zones, zone) for zone in listed):
            if selected(each) and _reaches(each, start):
                number += 1
                shown += DESCRIPTOR.build(**each) if number <= most else b""
    return number, bytes(shown)


def _room(lu: LogicalUnit) -> int:
    """Return how many descriptors of NVMe's one command has room for."""
    return max(lu.facts.maximum_transfer_bytes // DESCRIPTOR.size - 1, 1)


def _reaches(zone: Descriptor, start: int) -> bool:
    return zone["zone_start_lba"] + zone["zone_length"] > start


def _count(task: Task, zones: Zones) -> int | None:
    """Return how many there are from ZONE START LBA on; None: only the zones themselves tell."""
    start, option = task.cdb["zone_start_lba"], task.cdb["reporting_options"]
    left = (task.lu.capacity_blocks - zones.start(start)) // zones.size
    in_gap = start - zones.start(start) >= zones.capacity
    if option == _BUT_GAPS:
        return left - in_gap
    if option == _EVERY:
        return 2 * left - in_gap if zones.gaps else left
    return None


def report_zones_of_unit(task: Task) -> Translation:
    """Spec: ZBC-2 (REPORT ZONES); ZNS Command Set 1.1b 3.4.2 (Zone Management Receive)."""
    lu, zones = task.lu, task.lu.zones
    assert zones is not None
    if task.cdb["zone_start_lba"] >= lu.capacity_blocks:
        raise CheckCondition(Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))
    if task.cdb["reporting_options"] not in SELECTED:
        raise task.invalid_field("reporting_options")
    room = (task.cdb["allocation_length"] - HEADER.size) // DESCRIPTOR.size
    fitting = max(0, min(room, _MOST_DESCRIPTORS))
    partial = task.cdb["partial"]
    count = None if partial else _count(task, zones)
    # One more than fits whole is cut off by the allocation length, as any data are.
    most = fitting if partial else fitting + 1
    found, shown = yield from _list(task, zones, most, counts=count is None and not partial)
    if count is None:
        count = min(found, most) if partial else found
    header = HEADER.build(
        zone_list_length=min(DESCRIPTOR.size * count, _LONGEST),
        same=0 if zones.gaps else 1,
        maximum_lba=lu.capacity_blocks - 1,
        granularity=zones.size,
    )
    return Result(data_in=header + shown)


# ---- ZBC OUT ----


def _read(lu: LogicalUnit, start: int) -> Generator[NvmeCommand, Completion, Values]:
    """Return what a zone is now."""
    for zone in zones_of((yield report_zones(lu.nsid, start, 1)).data):
        if zone.zslba == start:
            return zone
    raise CheckCondition(Sense(INTERNAL_TARGET_FAILURE))


# What does not change these is done. Spec: ZBC-2 (zone condition transitions).
_AS_THEY_ARE = {
    ZoneAction.CLOSE: (ZoneState.EMPTY, ZoneState.CLOSED, ZoneState.FULL),
    ZoneAction.OPEN: (ZoneState.EXPLICITLY_OPENED, ZoneState.FULL),
    ZoneAction.FINISH: (ZoneState.FULL,),
    ZoneAction.RESET: (ZoneState.EMPTY,),
}
_UNUSABLE = {ZoneState.READ_ONLY: ZONE_IS_READ_ONLY, ZoneState.OFFLINE: ZONE_IS_OFFLINE}


def _manage_one(lu: LogicalUnit, start: int, action: ZoneAction) -> Translation:
    """Do to one zone what the initiator wants; what it is already stays.

    Closing a zone that was never written leaves it empty, which in NVMe is a reset.
    """
    if action is ZoneAction.CLOSE:
        zone = yield from _read(lu, start)
        if zone.zs == ZoneState.EXPLICITLY_OPENED and zone.wp == start:
            action = ZoneAction.RESET
    try:
        return (yield from with_room(lu, manage_zone(lu.nsid, start, action)))
    except NvmeError as error:
        if error.completion.status != StatusCode.INVALID_ZONE_TRANSITION:
            raise
        refused = error
    zone = yield from _read(lu, start)
    if zone.zs in _AS_THEY_ARE[action]:
        return GOOD
    if zone.zs in _UNUSABLE:
        raise CheckCondition(Sense(_UNUSABLE[ZoneState(zone.zs)]))
    raise refused


def _number(lu: LogicalUnit, states: int) -> Generator[NvmeCommand, Completion, int]:
    """Return how many zones of the namespace are in a state."""
    return number_of((yield report_zones(lu.nsid, 0, 0, states=states)).data)


def _check_room_for_all(lu: LogicalUnit, zones: Zones) -> Translation:
    """Refuse to open all that are closed where not all could be. Spec: ZBC-2 (OPEN ZONE)."""
    if zones.most_open is not None:
        closed = yield from _number(lu, LIST_CLOSED)
        if closed + (yield from _number(lu, LIST_EXPLICITLY_OPENED)) > zones.most_open:
            raise CheckCondition(Sense(INSUFFICIENT_ZONE_RESOURCES))
    return GOOD


def _empty_unwritten(lu: LogicalUnit) -> Translation:
    """Reset what was opened and never written, before all that are open are closed."""
    at = 0
    while at < lu.capacity_blocks:
        command = report_zones(
            lu.nsid, at, min(_ZONES_AT_ONCE, _room(lu)), states=LIST_EXPLICITLY_OPENED
        )
        listed = tuple(zone for zone in zones_of((yield command).data) if zone.zslba >= at)
        if not listed:
            break
        for zone in listed:
            if zone.wp == zone.zslba:
                yield manage_zone(lu.nsid, zone.zslba, ZoneAction.RESET)
        at = max(zone.zslba for zone in listed) + 1
    return GOOD


def _manage_all(lu: LogicalUnit, zones: Zones, action: ZoneAction) -> Translation:
    if action is ZoneAction.OPEN:
        yield from _check_room_for_all(lu, zones)
    if action is ZoneAction.CLOSE:
        yield from _empty_unwritten(lu)
    return (yield from with_room(lu, manage_zone(lu.nsid, 0, action, every=True)))


def _manage(task: Task, action: ZoneAction) -> Translation:
    """Spec: ZBC-2 (ZONE ID, ZONE COUNT, ALL); ZNS Command Set 1.1b 3.4.3."""
    lu, zones = task.lu, task.lu.zones
    assert zones is not None
    if task.cdb["all"]:
        if lu.capacity_blocks < lu.facts.capacity_blocks:
            raise task.invalid_field("all")  # which would be those beyond what is served, too
        return (yield from _manage_all(lu, zones, action))
    start, count = task.cdb["zone_id"], max(task.cdb["zone_count"], 1)
    if start >= lu.capacity_blocks:
        raise CheckCondition(Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))
    if start != zones.start(start):
        raise task.invalid_field("zone_id")
    if start + count * zones.size > lu.capacity_blocks:
        raise task.invalid_field("zone_count")
    for index in range(count):
        yield from _manage_one(lu, start + index * zones.size, action)
    return GOOD


def _zbc_out(name: str, action: ZoneAction) -> Command:
    return Command(
        name,
        0x94,
        16,
        "ZBC-2",
        lambda task: _manage(task, action),
        (
            Field("zone_id", 2, 0, 64, "the first block of a zone"),
            Field("zone_count", 12, 0, 16, "zones from there on, 0: one"),
            Field("all", 14, 0, 1, "every zone that it suits"),
        ),
        service_action=action,
        access=Access.WRITE,
        modifies_medium=True,
        supported=lambda lu: lu.zones is not None,
        nvme=("Zone Management Send", "Zone Management Receive"),
        timeout_s=120,
    )


COMMANDS = (
    _zbc_out("CLOSE ZONE", ZoneAction.CLOSE),
    _zbc_out("FINISH ZONE", ZoneAction.FINISH),
    _zbc_out("OPEN ZONE", ZoneAction.OPEN),
    _zbc_out("RESET WRITE POINTER", ZoneAction.RESET),
    Command(
        "REPORT ZONES",
        0x95,
        16,
        "ZBC-2",
        report_zones_of_unit,
        (
            Field("zone_start_lba", 2, 0, 64, "of the first zone, or in it"),
            Field("allocation_length", 10, 0, 32),
            Field("partial", 14, 7, 1, "tell the length of what is returned, not of all there is"),
            Field("reporting_options", 14, 0, 6, "which zones"),
        ),
        service_action=0x00,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.READ,
        supported=lambda lu: lu.zones is not None,
        nvme=("Zone Management Receive",),
    ),
)
