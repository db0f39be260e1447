"""Log page 07h."""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import Linking, Log, LogPage, Logs, Parameter
from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY
from scsi2nvme.unit.logical_unit import LogicalUnit

_EVENTS = 16  # of the controller's newest entries
ERROR_LOG = Log("ERROR", 0x01, _EVENTS * ERROR_LOG_ENTRY.size)


def _error_events(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """The controller lists the newest first, SCSI the oldest. Spec: SPC-4 7.3.10."""
    log, size = logs[ERROR_LOG], ERROR_LOG_ENTRY.size
    entries = [ERROR_LOG_ENTRY.parse(log[at : at + size]) for at in range(0, len(log), size)]
    events = [
        f"SQ {entry.sqid} CID {entry.cmdid} STATUS {entry.status_field & 0x7FF:03X}h"
        for entry in reversed(entries)
        if entry.error_count
    ] or [""]  # nothing has happened
    return tuple(
        Parameter(code, text.encode(), Linking.ASCII_LIST) for code, text in enumerate(events)
    )


PAGES = (
    LogPage(
        0x07,
        "Last n Error Events",
        "SPC-4 7.3.10",
        _error_events,
        (ERROR_LOG,),
        supported=lambda lu: lu.facts.controller.elpe + 1 >= _EVENTS,
    ),
)
