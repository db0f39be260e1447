"""Write Uncorrectable, on request: blocks that cannot be read until they are written.

Spec: NVM Command Set 1.0c 3.2.7.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller
from scsi2nvme.drivers.emulated.model import LBCC
from scsi2nvme.drivers.scheme import Option, parse_switch
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.nvme.command import Opcode

UNCORRECTABLE = Option(
    "uncorrectable",
    "on|off",
    "emulated only, of emulated:memory: whether blocks can be marked as unreadable (default off)",
    parse_switch,
    64,
    "uncorrectable",
    subject="a choice",
)
_ONCS_WRITE_UNCORRECTABLE = 1 << 1


def _start(controller: Controller) -> None:
    model = controller.model
    if model.image.path is not None:
        raise TransportError(f"{model.image.name}: uncorrectable is only for emulated:memory")
    model.marks_blocks = True
    for namespace in model.state.namespaces:
        model.attach(namespace)


CAPABILITY = Capability(
    "Write Uncorrectable",
    io_commands={Opcode.WRITE_UNCORRECTABLE: LBCC},
    controller=lambda controller: {"oncs": _ONCS_WRITE_UNCORRECTABLE},
    options=(UNCORRECTABLE,),
    settings={UNCORRECTABLE.keyword: False},
    start=_start,
    offered=lambda settings: bool(settings[UNCORRECTABLE.keyword]),
)
