"""Arbitration: round robin, in bursts without limit. Spec: NVMe Base 2.0c 5.27."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Feature

CAPABILITY = Capability(
    "Arbitration",
    features=(Feature(0x01, default=0x07),),
    controller=lambda controller: {"rab": 6},
)
