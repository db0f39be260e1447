"""Error Recovery, without errors for deallocated blocks. Spec: NVMe Base 2.0c 5.27."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Feature
from scsi2nvme.drivers.emulated.model import invalid_field

_DULBE = 1 << 16


def _check(controller: Controller, value: int) -> int:
    if value & _DULBE:
        raise invalid_field(46)
    return value & 0xFFFF


CAPABILITY = Capability(
    "Error Recovery", features=(Feature(0x05, check=_check, per_namespace=True),)
)
