"""Write Zeroes. Spec: NVM Command Set 1.0c 3.2.8."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability
from scsi2nvme.drivers.emulated.model import LBCC
from scsi2nvme.nvme.command import Opcode

_ONCS_WRITE_ZEROES = 1 << 3

CAPABILITY = Capability(
    "Write Zeroes",
    io_commands={Opcode.WRITE_ZEROES: LBCC},
    controller=lambda controller: {"oncs": _ONCS_WRITE_ZEROES},
    lackable="write-zeroes",
)
