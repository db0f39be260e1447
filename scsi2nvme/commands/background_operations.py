"""BACKGROUND CONTROL: a disk that refreshes its medium when it is asked to.

NVMe's Host-Initiated Refresh is the one advanced background operation that a host can begin: the
controller reads its medium, and writes anew what has become hard to read. It runs as a device
self-test, though it is none, and of the whole NVM subsystem.

Spec: SBC-4 4.33; NVMe Base 2.2 8.1.11.
"""

from __future__ import annotations

from collections.abc import Generator
from enum import IntEnum
from typing import Any

from scsi2nvme.command import Command, Data, Task
from scsi2nvme.commands.diagnostics import POLL_S, Start, operation_under_way
from scsi2nvme.commands.immediate import in_background
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.scsi.result import GOOD, Progress, Translation
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

_TIME_S = 0.1  # the unit of BO_TIME


class Control(IntEnum):
    """BO_CTL. Spec: SBC-4 5.3."""

    NO_CHANGE = 0b00
    START = 0b01
    STOP = 0b10


def _command(lu: LogicalUnit, start: Start) -> NvmeCommand:
    """Return the command for an operation whose NSID is not looked at."""
    return NvmeCommand(AdminOpcode.DEVICE_SELF_TEST, nsid=lu.nsid, cdw10=start, admin=True)


def _refreshing(lu: LogicalUnit) -> Generator[NvmeCommand, Any, bool]:
    return (yield from operation_under_way(lu)) == Start.REFRESH


def _stop(lu: LogicalUnit) -> Translation:
    """Abort the operation, and nothing else that is under way."""
    if (yield from _refreshing(lu)):
        yield _command(lu, Start.ABORT)
    return GOOD


def _stop_later(lu: LogicalUnit, seconds: float, number: int) -> Translation:
    """Stop it after some time, unless it has ended before, or was begun anew since."""
    while seconds > 0:
        step = min(seconds, POLL_S)
        yield Progress(lu.progress or 0, step)  # which is that of a format
        seconds -= step
        if lu.refreshes != number or not (yield from _refreshing(lu)):
            return GOOD
    return (yield from _stop(lu))


def _count(lu: LogicalUnit) -> int:
    """Have nobody's time end what this one wants: the operation is that of the whole subsystem.

    Returns which request it is: others may be counted while it is begun.
    """
    for each in {lu, *lu.controller_units}:
        each.refreshes += 1
    return lu.refreshes


def background_control(task: Task) -> Translation:
    """Spec: SBC-4 5.3, 4.33; NVMe Base 2.2 5.1.5 (Device Self-test, STC 3h)."""
    lu, cdb = task.lu, task.cdb
    seconds = cdb.bo_time * _TIME_S
    if cdb.bo_ctl not in tuple(Control):
        raise task.invalid_field("bo_ctl")
    if cdb.bo_ctl == Control.NO_CHANGE:
        return GOOD
    number = _count(lu)
    if cdb.bo_ctl == Control.STOP:
        return (yield from _stop(lu))
    if not (yield from _refreshing(lu)):
        yield _command(lu, Start.REFRESH)
    if not seconds:
        return GOOD
    return in_background(task, _stop_later(lu, seconds, number))


COMMANDS = (
    Command(
        "BACKGROUND CONTROL",
        0x9E,
        16,
        "SBC-4 5.3",
        background_control,
        (
            Field("bo_ctl", 2, 6, 2, "00b nothing, 01b start, 10b stop"),
            Field("bo_time", 3, 0, 8, "most time, in tenths of a second; 0: to its end"),
        ),
        service_action=0x15,
        data=Data.NONE,
        access=Access.WRITE,
        supported=lambda lu: lu.facts.refreshes,
        nvme=("Device Self-test", "Get Log Page"),
        doc="The medium is refreshed (Host-Initiated Refresh), of all namespaces.",
    ),
)
