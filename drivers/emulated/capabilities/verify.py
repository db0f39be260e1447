"""Verify. Spec: NVM Command Set 1.0c 3.2.5."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability
from scsi2nvme.nvme.command import Opcode

_ONCS_VERIFY = 1 << 7

CAPABILITY = Capability(
    "Verify",
    io_commands={Opcode.VERIFY: 0},
    controller=lambda controller: {"oncs": _ONCS_VERIFY},
    lackable="verify",
)
