"""Log page 07h: the newest errors, in words. Spec: SPC-4 7.3.10."""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import (
    ERROR_LOG_ENTRIES,
    Linking,
    Log,
    LogPage,
    Logs,
    Parameter,
)
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import BROADCAST_NSID
from scsi2nvme.nvme.status import BY_VALUE
from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY
from scsi2nvme.unit.logical_unit import LogicalUnit

_EVENTS = 16
_STATUS, _NO_BLOCK = 0x7FF, (1 << 64) - 1
ERROR_LOG = Log("ERROR", 0x01, ERROR_LOG_ENTRIES * ERROR_LOG_ENTRY.size)


def entries(lu: LogicalUnit, logs: Logs) -> list[Values]:
    """Return the entries of the logical unit, or of the controller as a whole, the newest first."""
    log, size = logs[ERROR_LOG], ERROR_LOG_ENTRY.size
    whole = range(0, len(log) - size + 1, size)
    all_entries = [ERROR_LOG_ENTRY.parse(log[at : at + size]) for at in whole]
    mine = (0, BROADCAST_NSID, lu.nsid)
    return [entry for entry in all_entries if entry.error_count and entry.nsid in mine]


def _words(entry: Values) -> str:
    value = entry.status_field & _STATUS
    status = BY_VALUE.get(value)
    text = f"{entry.error_count}: {value:03X}h {status.text if status is not None else ''}".strip()
    return f"{text}, queue {entry.sqid}, command {entry.cmdid}, LBA {entry.lba}"


def _error_events(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """The controller lists the newest first, SCSI the oldest. Spec: SPC-4 7.3.10."""
    newest = entries(lu, logs)[:_EVENTS]
    events = [_words(entry) for entry in reversed(newest)] or [""]  # nothing has happened
    return tuple(
        Parameter(code, text.encode("ascii", "replace"), Linking.ASCII_LIST)
        for code, text in enumerate(events)
    )


PAGES = (
    LogPage(
        0x07,
        "Last n Error Events",
        "SPC-4 7.3.10",
        _error_events,
        (ERROR_LOG,),
        supported=lambda lu: lu.facts.controller.elpe + 1 >= ERROR_LOG_ENTRIES,
    ),
)
