"""Power states: one that works, one that rests. Spec: NVMe Base 2.0c 5.27.1.2."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Feature, Fields
from scsi2nvme.drivers.emulated.model import invalid_field
from scsi2nvme.nvme.structures import POWER_STATE

_STATES = (
    POWER_STATE.build(mp=500, aps=2, actp=400),
    POWER_STATE.build(mp=50, nops=1, enlat=2000, exlat=5000, rrt=1, rrl=1, rwt=1, rwl=1),
)


def _check(controller: Controller, value: int) -> int:
    if value & 0x1F >= len(_STATES):
        raise invalid_field(44)
    return value & 0xFF


def _controller(controller: Controller) -> Fields:
    return {"npss": len(_STATES) - 1, "psds": b"".join(_STATES)}


CAPABILITY = Capability(
    "Power Management", features=(Feature(0x02, check=_check),), controller=_controller
)
