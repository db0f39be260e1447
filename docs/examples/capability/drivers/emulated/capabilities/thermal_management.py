"""Host Controlled Thermal Management. Spec: NVMe Base 2.0c 5.27, 8.14.5."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Feature, Fields
from scsi2nvme.drivers.emulated.model import invalid_field

_LEAST_K, _MOST_K = 323, 343
_TMT1_BYTE, _TMT2_BYTE = 46, 44  # of the submission queue entry


def _check(controller: Controller, value: int) -> int:
    """Spec: TMT1 lies below TMT2, and each where Identify says or is zero."""
    light, heavy = value >> 16, value & 0xFFFF
    if light and (not _LEAST_K <= light <= _MOST_K or (heavy and light >= heavy)):
        raise invalid_field(_TMT1_BYTE)
    if heavy and not _LEAST_K <= heavy <= _MOST_K:
        raise invalid_field(_TMT2_BYTE)
    return value


def _controller(controller: Controller) -> Fields:
    return {"hctma": 1, "mntmt": _LEAST_K, "mxtmt": _MOST_K}


CAPABILITY = Capability(
    "Host Controlled Thermal Management",
    features=(Feature(0x10, check=_check, saveable=True),),
    controller=_controller,
)
