"""How tests open the VFIO transport: over a kernel that is played, in either of its ways."""

from __future__ import annotations

from typing import Any

import pytest

from scsi2nvme.drivers.vfio.transport import VfioTransport
from tests.drivers.machine import ADDRESS, Machine

GROUP, CDEV = "group", "cdev"
# What the kernel offers makes no difference.
either_way = pytest.mark.parametrize("kernel", [GROUP, CDEV], indirect=True)


def opened(machine: Machine, vectors: int = 66, **options: Any) -> VfioTransport:
    return VfioTransport(ADDRESS, system=machine.system, vectors=vectors, **options)
