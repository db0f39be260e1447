"""The commands that every controller of the NVM command set has. Spec: NVM Command Set 1.0c 3.2."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Fields
from scsi2nvme.drivers.emulated.model import ATOMIC_BLOCKS, LBCC, MDTS
from scsi2nvme.nvme.command import Opcode


def _controller(controller: Controller) -> Fields:
    return {"mdts": MDTS, "acwu": ATOMIC_BLOCKS - 1}


CAPABILITY = Capability(
    "NVM command set",
    io_commands={
        Opcode.WRITE: LBCC,
        Opcode.READ: 0,
    },
    controller=_controller,
)
