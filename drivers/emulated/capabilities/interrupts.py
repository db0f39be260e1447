"""Interrupt Coalescing and Vector Configuration: kept, and without effect."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Feature
from scsi2nvme.drivers.emulated.model import invalid_field


def _vector(controller: Controller, value: int) -> int:
    if value & 0xFFFF >= controller.vectors:
        raise invalid_field(44)
    return value & 0x1FFFF


CAPABILITY = Capability(
    "interrupts",
    features=(
        Feature(0x08, check=lambda _, value: value & 0xFFFF),
        Feature(0x09, check=_vector, key=lambda value: value & 0xFFFF),
    ),
)
