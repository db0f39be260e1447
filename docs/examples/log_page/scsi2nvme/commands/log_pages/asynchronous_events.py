"""Log page 0Bh."""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import Linking, Log, LogPage, Logs, Parameter
from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY
from scsi2nvme.unit.logical_unit import LogicalUnit

_EVENTS = 16  # of the controller's newest entries
_NO_COMMAND = 0xFFFF
ERROR_LOG = Log("ERROR", 0x01, _EVENTS * ERROR_LOG_ENTRY.size)


def _asynchronous_events(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """The controller lists the newest first, SCSI the oldest. Spec: SPC-4 7.3.9."""
    log, size = logs[ERROR_LOG], ERROR_LOG_ENTRY.size
    entries = [ERROR_LOG_ENTRY.parse(log[at : at + size]) for at in range(0, len(log), size)]
    events = [
        f"ERROR {entry.error_count} STATUS {entry.status_field & 0x7FF:03X}h"
        for entry in reversed(entries)
        if entry.error_count and entry.cmdid == _NO_COMMAND
    ] or [""]  # nothing has happened
    return tuple(
        Parameter(code, text.encode(), Linking.ASCII_LIST) for code, text in enumerate(events)
    )


PAGES = (
    LogPage(
        0x0B,
        "Last n Deferred Errors or Asynchronous Events",
        "SPC-4 7.3.9",
        _asynchronous_events,
        (ERROR_LOG,),
        supported=lambda lu: lu.facts.controller.elpe + 1 >= _EVENTS,
    ),
)
