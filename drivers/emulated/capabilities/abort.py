"""Abort: of what hangs or waits, and of event requests. Spec: NVMe Base 2.0c 5.1."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capabilities.events import Events
from scsi2nvme.drivers.emulated.capability import AdminCommand, Capability, Controller
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode

_AT_ONCE = 4
_NOT_FOUND = 1  # DW0: the command was not aborted


def _abort(controller: Controller, command: Values) -> int:
    sqid, cid = command.cdw10 & 0xFFFF, command.cdw10 >> 16
    if sqid:
        found = controller.model.emulator.abort(sqid, cid)
    else:
        found = controller.part(Events).abort(cid)
    return 0 if found else _NOT_FOUND


CAPABILITY = Capability(
    "Abort",
    commands=(AdminCommand(AdminOpcode.ABORT, _abort),),
    controller=lambda controller: {"acl": _AT_ONCE - 1},
)
