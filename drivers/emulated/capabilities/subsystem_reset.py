"""NVM Subsystem Reset, on request. Spec: NVMe Base 2.0c 3.7.1, 3.1.3.8 (NSSR).

The register is the transport's (`drivers/emulated/transport.py`), as all are.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capabilities.subsystem import CONTROLLER
from scsi2nvme.drivers.emulated.capability import Capability
from scsi2nvme.drivers.scheme import Option, parse_switch

SUBSYSTEM_RESET = Option(
    "nssr",
    "on|off",
    "emulated only: whether the NVM subsystem can be reset as a whole (default off)",
    parse_switch,
    36,
    "subsystem_reset",
    subject="a choice",
)

CAPABILITY = Capability(
    "NVM subsystem reset",
    cap={"nssrs": 1},
    options=(SUBSYSTEM_RESET,),
    settings={SUBSYSTEM_RESET.keyword: False},
    offered=lambda settings: (
        settings[SUBSYSTEM_RESET.keyword] and not settings[CONTROLLER.keyword]  # of one alone
    ),
)
