"""The NVM command set's commands that the native side executes. Spec: NVM Command Set 1.0c 3.2."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Fields
from scsi2nvme.drivers.emulated.model import ATOMIC_BLOCKS, LBCC, MDTS
from scsi2nvme.nvme.command import Opcode

_ONCS_COMPARE, _ONCS_WRITE_ZEROES, _ONCS_VERIFY = 1 << 0, 1 << 3, 1 << 7
_FUSED_COMPARE_AND_WRITE = 1


def _controller(controller: Controller) -> Fields:
    return {
        "mdts": MDTS,
        "oncs": _ONCS_COMPARE | _ONCS_WRITE_ZEROES | _ONCS_VERIFY,
        "fuses": _FUSED_COMPARE_AND_WRITE,
        "acwu": ATOMIC_BLOCKS - 1,
    }


CAPABILITY = Capability(
    "NVM command set",
    io_commands={
        Opcode.WRITE: LBCC,
        Opcode.READ: 0,
        Opcode.COMPARE: 0,
        Opcode.WRITE_ZEROES: LBCC,
        Opcode.VERIFY: 0,
    },
    controller=_controller,
)
