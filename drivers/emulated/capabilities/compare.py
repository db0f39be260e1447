"""Compare, also fused with a Write. Spec: NVM Command Set 1.0c 3.2.1."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability
from scsi2nvme.nvme.command import Opcode

_ONCS_COMPARE = 1 << 0
_FUSED_COMPARE_AND_WRITE = 1 << 0

CAPABILITY = Capability(
    "Compare",
    io_commands={Opcode.COMPARE: 0},
    controller=lambda controller: {"oncs": _ONCS_COMPARE, "fuses": _FUSED_COMPARE_AND_WRITE},
    lackable="compare",
)
