"""Firmware: one slot, which cannot be written. Spec: NVMe Base 2.0c 5.16."""

from __future__ import annotations

from scsi2nvme import __version__
from scsi2nvme.drivers.emulated.capability import Capability, Controller, LogPage

_REVISION = f"{__version__:<8}"[:8].encode()
_ACTIVE_SLOT = 1
_FIRST_SLOT_READ_ONLY, _ONE_SLOT = 1, 1 << 1  # FRMW


def _log(controller: Controller) -> bytes:
    return (bytes([_ACTIVE_SLOT]).ljust(8, b"\0") + _REVISION).ljust(512, b"\0")


CAPABILITY = Capability(
    "firmware slots",
    log_pages=(LogPage(0x03, _log),),
    controller=lambda controller: {"fr": _REVISION, "frmw": _FIRST_SLOT_READ_ONLY | _ONE_SLOT},
)
