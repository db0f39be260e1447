"""The Error Information log. Spec: NVMe Base 2.0c 5.16."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, LogPage
from scsi2nvme.drivers.emulated.model import ERROR_LOG_ENTRIES
from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY


def _log(controller: Controller) -> bytes:
    entries = b"".join(bytes.fromhex(entry) for entry in controller.model.state.errors)
    return entries.ljust(ERROR_LOG_ENTRIES * ERROR_LOG_ENTRY.size, b"\0")


CAPABILITY = Capability(
    "error log",
    log_pages=(LogPage(0x01, _log),),
    controller=lambda controller: {"elpe": ERROR_LOG_ENTRIES - 1},
)
