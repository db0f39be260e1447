"""Get Log Page, and the log that tells which commands there are.

Spec: NVMe Base 2.0c 5.16.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capabilities.events import Events
from scsi2nvme.drivers.emulated.capability import AdminCommand, Capability, Controller, LogPage
from scsi2nvme.drivers.emulated.model import (
    MAXIMUM_TRANSFER_BYTES,
    CommandFailed,
    invalid_field,
)
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode
from scsi2nvme.nvme.status import StatusCode

_CSUPP = 1
_EFFECTS_LOG, _OFFSETS = 1 << 1, 1 << 2  # LPA
_OF_THE_CONTROLLER = (0, BROADCAST_NSID)  # LPA bit 0 is clear: no SMART log per namespace


def _get_log_page(controller: Controller, command: Values) -> int:
    lid = command.cdw10 & 0xFF
    length = 4 * ((command.cdw10 >> 16 | (command.cdw11 & 0xFFFF) << 16) + 1)
    offset = command.cdw12 | command.cdw13 << 32
    page = controller.tables.log_pages.get(lid)
    if page is None:
        raise CommandFailed(StatusCode.INVALID_LOG_PAGE, 40)
    if page.controller_only and command.nsid not in _OF_THE_CONTROLLER:
        raise invalid_field(4)
    page.asked(controller, command)
    data = page.build(controller)
    if length > MAXIMUM_TRANSFER_BYTES:
        raise invalid_field(42)
    if offset % 4 or offset > len(data):
        raise invalid_field(48)
    if page.taken is not None:
        page.taken(controller)
    controller.to_host(command, data[offset : offset + length].ljust(length, b"\0"))
    page.answered(controller, command)
    if not command.cdw10 >> 15 & 1:  # RAE
        controller.part(Events).acknowledge(lid)
    return 0


def _effects(controller: Controller) -> bytes:
    tables = controller.tables
    data = bytearray(4096)
    admin = {opcode: row.effects for opcode, row in tables.commands.items()}
    for base, effects in ((0, admin), (1024, tables.io_commands)):
        for opcode, effect in effects.items():
            at = base + 4 * opcode
            data[at : at + 4] = (_CSUPP | effect).to_bytes(4, "little")
    return bytes(data)


CAPABILITY = Capability(
    "log pages",
    commands=(AdminCommand(AdminOpcode.GET_LOG_PAGE, _get_log_page),),
    log_pages=(LogPage(0x05, _effects),),
    controller=lambda controller: {"lpa": _EFFECTS_LOG | _OFFSETS},
)
